package ace

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop/cose"
)

const upload = "a3" + "0142d83d" + "182848018a278f7faab55a" + "182b421645"

func TestAuthzInfo(t *testing.T) {
	want := AuthzInfo{Token: []byte{0xd8, 0x3d}, Nonce1: unhex(t, "018a278f7faab55a"), ClientRecipientID: unhex(t, "1645")}
	got, err := ParseAuthzInfo(unhex(t, upload))
	if err != nil || !reflect.DeepEqual(got, want) || got.Update() {
		t.Errorf("got %x, %v, want the upload", got.Token, err)
	}
	again, err := got.Encode()
	if err != nil || fmt.Sprintf("%x", again) != upload {
		t.Errorf("got %x, %v, want %s", again, err, upload)
	}
	update, err := ParseAuthzInfo(unhex(t, "a10142d83d"))
	if err != nil || !update.Update() {
		t.Errorf("got %v, want an update", err)
	}
}

func TestAuthzInfoWithAnEmptyID(t *testing.T) {
	got, err := ParseAuthzInfo(unhex(t, "a3"+"0142d83d"+"182848018a278f7faab55a"+"182b40"))
	if err != nil || got.ClientRecipientID == nil || len(got.ClientRecipientID) != 0 {
		t.Errorf("got %v, %v, want an id of no bytes", got.ClientRecipientID, err)
	}
}

func TestRefusedAuthzInfo(t *testing.T) {
	const token, nonce, id = "0142d83d", "182848018a278f7faab55a", "182b421645"
	tests := []struct{ name, cbor string }{
		{"nothing", ""},
		{"the bare token", "d83dd0"},
		{"no token", "a2" + nonce + id},
		{"no nonce", "a2" + token + id},
		{"no id", "a2" + token + nonce},
		{"token in text", "a3" + "01626161" + nonce + id},
		{"token null", "a3" + "01f6" + nonce + id},
		{"token empty", "a3" + "0140" + nonce + id},
		{"token of 2049 bytes", "a3" + "01590801" + strings.Repeat("00", 2049) + nonce + id},
		{"nonce of 7 bytes", "a3" + token + "182847" + strings.Repeat("00", 7) + id},
		{"nonce of 33 bytes", "a3" + token + "18285821" + strings.Repeat("00", 33) + id},
		{"nonce null", "a3" + token + "1828f6" + id},
		{"id of 8 bytes", "a3" + token + nonce + "182b48" + strings.Repeat("00", 8)},
		{"a nonce twice", "a4" + token + nonce + nonce + id},
		{"the answer's nonce", "a4" + token + nonce + "182a48018a278f7faab55a" + id},
		{"an unknown number", "a4" + token + nonce + id + "1863f5"},
		{"updated_rights by name", "a2" + token + "6e" + hexOf("updated_rights") + "f5"},
		{"bytes after", "a3" + token + nonce + id + "00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := ParseAuthzInfo(unhex(t, tt.cbor)); err == nil {
				t.Error("it was accepted")
			}
		})
	}
}

func TestRefusedToRS(t *testing.T) {
	for name, hex := range map[string]string{
		"with a token": upload,
		"empty":        "a0",
		"no id":        "a1182848018a278f7faab55a",
		"no map":       "40",
	} {
		if _, err := ParseToRS(unhex(t, hex)); err == nil {
			t.Errorf("%s: it was accepted", name)
		}
		if _, err := UploadPayload(unhex(t, hex), []byte{1}); err == nil {
			t.Errorf("%s: a payload was made of it", name)
		}
	}
	if _, err := UploadPayload(unhex(t, vectorNamed(t, "workflow-08-to_rs").ToRS), nil); err == nil {
		t.Error("a payload was made without a token")
	}
}

func TestRefusedAuthzInfoAnswers(t *testing.T) {
	const nonce, id = "182a4825a8991cd700ac01", "182c420000"
	for name, hex := range map[string]string{
		"no nonce":          "a1" + id,
		"no id":             "a1" + nonce,
		"the client's id":   "a3" + nonce + "182b421645" + id,
		"nonce of 7 bytes":  "a2" + "182a47" + strings.Repeat("00", 7) + id,
		"id of 8 bytes":     "a2" + nonce + "182c48" + strings.Repeat("00", 8),
		"id null":           "a2" + nonce + "182cf6",
		"an unknown number": "a3" + nonce + id + "186300",
	} {
		if _, err := ParseAuthzInfoAnswer(unhex(t, hex)); err == nil {
			t.Errorf("%s: it was accepted", name)
		}
	}
}

func TestEveryTruncationIsRefused(t *testing.T) {
	for name, m := range decoders {
		whole := unhex(t, m.seed)
		if err := m.decode(whole); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for n := range whole {
			if err := m.decode(whole[:n]); err == nil {
				t.Errorf("%s: %d of %d bytes were accepted", name, n, len(whole))
			}
		}
	}
}

// decoders are all that read CBOR, each with a message to begin from.
var decoders = map[string]struct {
	decode func([]byte) error
	seed   string
}{
	"token request":       {func(b []byte) error { _, err := ParseTokenRequestCBOR(b); return err }, requests[0].cbor},
	"token response":      {func(b []byte) error { _, err := ParseTokenResponseCBOR(b); return err }, responses[0].cbor},
	"error":               {func(b []byte) error { _, err := ParseErrorCBOR(b); return err }, "a2181e03181f6161"},
	"authz-info":          {func(b []byte) error { _, err := ParseAuthzInfo(b); return err }, upload},
	"authz-info answer":   {func(b []byte) error { _, err := ParseAuthzInfoAnswer(b); return err }, "a2182a4825a8991cd700ac01182c420000"},
	"to_rs":               {func(b []byte) error { _, err := ParseToRS(b); return err }, "a2182848018a278f7faab55a182b421645"},
	"creation hints":      {func(b []byte) error { _, err := ParseCreationHints(b); return err }, "a20163613a62056161"},
	"registration":        {func(b []byte) error { _, err := ParseRegister(b); return err }, registration},
	"registration answer": {func(b []byte) error { _, err := ParseRegisterAnswer(b); return err }, "a300190e10011a65000000021a65000001"},
}

const registration = "a5" + "00190e10" + "0181" + "73636f61703a2f2f3139322e302e322e323a3536" + "021a65000001" + "0305" + "0407"

func TestRegistration(t *testing.T) {
	want := Register{
		Lifetime: time.Hour, LocalURIs: []string{"coap://192.0.2.2:56"}, Epoch: 0x65000001, HighestExpired: 5, NewestNews: 7,
	}
	got, err := ParseRegister(unhex(t, registration))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	again, err := got.Encode()
	if err != nil || fmt.Sprintf("%x", again) != registration {
		t.Errorf("got %x, %v, want %s", again, err, registration)
	}
	if _, err := (Register{Lifetime: time.Hour}).Encode(); err != nil {
		t.Errorf("without an address: %v", err)
	}
}

func TestRegistrationAnswer(t *testing.T) {
	for _, want := range []RegisterAnswer{
		{Lifetime: time.Hour, Time: time.Unix(0x65000000, 0).UTC(), Epoch: 9},
		{Lifetime: time.Hour, Time: time.Unix(0x65000000, 0).UTC(), Epoch: 9, TRLPath: "/revoke/trl", MaxN: 4},
	} {
		encoded, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseRegisterAnswer(encoded)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
}

func TestRefusedRegistrations(t *testing.T) {
	tests := []struct{ name, cbor, want string }{
		{"no epoch", "a4" + "0001" + "0180" + "0300" + "0400", "epoch"},
		{"addresses null", "a5" + "0001" + "01f6" + "0200" + "0300" + "0400", "local URIs"},
		{"epoch negative", "a5" + "0001" + "0180" + "0220" + "0300" + "0400", "epoch"},
		{"lifetime of centuries", "a5" + "001b00ffffffffffffff" + "0180" + "0200" + "0300" + "0400", "lifetime"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseRegister(unhex(t, tt.cbor))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error about %s", err, tt.want)
			}
		})
	}
	if _, err := ParseRegisterAnswer(unhex(t, "a30001011b7fffffffffffffff0200")); err == nil {
		t.Error("an answer from the far future was accepted")
	}
	if _, err := (RegisterAnswer{Time: time.Unix(-1, 0)}).Encode(); err == nil {
		t.Error("a time before 1970 was written")
	}
}

func TestCreationHints(t *testing.T) {
	want := CreationHints{AS: "coap://as.example/token", CNonce: []byte{}, KID: cose.KeyID{1}}
	encoded, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseCreationHints(encoded); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if empty, err := (CreationHints{}).Encode(); err != nil || !bytes.Equal(empty, []byte{0xa0}) {
		t.Errorf("no hints: got %x, %v, want a0", empty, err)
	}
	for name, hex := range map[string]string{
		"AS relative":      "a101662f746f6b656e",
		"AS in bytes":      "a1014161",
		"cnonce too long":  "a118275841" + strings.Repeat("00", 65),
		"audience a map":   "a105a0",
		"scope too clever": "a109626109",
	} {
		if got, err := ParseCreationHints(unhex(t, hex)); err == nil {
			t.Errorf("%s: got %+v, want an error", name, got)
		}
	}
}
