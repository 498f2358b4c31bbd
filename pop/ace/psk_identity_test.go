package ace

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/cose"
)

// pskVector is the example of RFC 9202 §3.3.2.
func pskVector(t testing.TB) (kid, identity []byte) {
	t.Helper()
	data, err := os.ReadFile("testdata/ace-examples.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Vectors []struct {
			ID       string
			KID      string
			Identity string `json:"psk_identity"`
		}
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	for _, v := range file.Vectors {
		if v.ID == "rfc9202-psk-identity" {
			return unhex(t, v.KID), unhex(t, v.Identity)
		}
	}
	t.Fatal("no vector rfc9202-psk-identity")
	return nil, nil
}

func TestRFC9202PSKIdentity(t *testing.T) {
	kid, want := pskVector(t)
	got, err := PSKIdentity{KeyID: kid}.Encode()
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("encode: got %x, %v, want %x", got, err, want)
	}
	parsed, err := ParsePSKIdentity(want)
	if err != nil || !bytes.Equal(parsed.KeyID, kid) || parsed.Token != nil {
		t.Errorf("parse: got %+v, %v, want key id %x", parsed, err, kid)
	}
	for n := range want {
		if got, err := ParsePSKIdentity(want[:n]); err == nil {
			t.Errorf("truncated after %d bytes: got %+v", n, got)
		}
	}
}

func TestPSKIdentityToken(t *testing.T) {
	for name, text := range map[string]string{
		"tagged CWT":        "d83dd08344a1010a0da0581c" + strings.Repeat("5a", 28),
		"COSE_Encrypt0":     "d08343a10101a0410a",
		"untagged COSE":     "8343a10101a0410a",
		"as long as it may": "d83d5a00000ff9" + strings.Repeat("00", MaxPSKIdentity-7),
	} {
		t.Run(name, func(t *testing.T) {
			token := unhex(t, text)
			got, err := ParsePSKIdentity(token)
			if err != nil || !bytes.Equal(got.Token, token) || got.KeyID != nil {
				t.Errorf("got %+v, %v", got, err)
			}
			if encoded, err := got.Encode(); err != nil || !bytes.Equal(encoded, token) {
				t.Errorf("encode: got %d bytes, %v", len(encoded), err)
			}
		})
	}
}

func TestPSKIdentityRefused(t *testing.T) {
	for name, text := range map[string]string{
		"empty":                      "",
		"a byte after a key id":      "a108a101a2010402483d027833fc6267ce00",
		"a byte after a token":       "d08343a10101a0410a00",
		"truncated token":            "d08343a10101a0410a"[:16],
		"too long":                   "d83d5a00000ffa" + strings.Repeat("00", MaxPSKIdentity-6),
		"text":                       "65616c696365",
		"byte string":                "43d08343",
		"number":                     "08",
		"null":                       "f6",
		"empty map":                  "a0",
		"token in a map":             "a101a0",
		"key id with a key":          "a108a101a30104024101205000112233445566778899aabbccddeeff",
		"key id of no bytes":         "a108a101a201040240",
		"key id of 65 bytes":         "a108a101a20104025841" + strings.Repeat("00", 65),
		"key id as text":             "a108a101a20104026161",
		"kty EC2":                    "a108a101a20102024101",
		"kty missing":                "a108a101a1024101",
		"kid as confirmation method": "a108a1034101",
		"another claim beside":       "a2080104a101a20104024101",
		"cnf twice":                  "a208a101a2010402410108a101a20104024102",
		"kid twice":                  "a108a101a30104024101024102",
		"members in wrong order":     "a108a101a20241010104",
		"long form of a number":      "a11808a101a20104024101",
		"indefinite map":             "bf08a101a20104024101ff",
		"indefinite array":           "9f43a10101a0410aff",
		"deep":                       "d83d" + strings.Repeat("81", 10) + "00",
	} {
		if got, err := ParsePSKIdentity(unhex(t, text)); err == nil {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	long := make([]byte, cose.MaxKeyID+1)
	for name, p := range map[string]PSKIdentity{
		"nothing": {}, "both": {KeyID: []byte{1}, Token: []byte{0x80}}, "no bytes": {KeyID: []byte{}},
		"key id too long": {KeyID: long}, "not a token": {Token: []byte{0xa0}},
		"key id as token": {Token: unhex(t, "a108a101a20104024101")},
	} {
		if got, err := p.Encode(); err == nil {
			t.Errorf("encode %s: got %x", name, got)
		}
	}
}

func FuzzParsePSKIdentity(f *testing.F) {
	_, identity := pskVector(f)
	f.Add(identity)
	for _, seed := range []string{"d08343a10101a0410a", "8343a10101a0410a", "a108a101a20104026161", "bf08a101a20104024101ff"} {
		b, _ := hex.DecodeString(seed)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := ParsePSKIdentity(data)
		if err != nil {
			return
		}
		if (got.KeyID == nil) == (got.Token == nil) {
			t.Fatalf("got %+v", got)
		}
		again, err := got.Encode()
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("got %x, %v, want %x", again, err, data)
		}
	})
}
