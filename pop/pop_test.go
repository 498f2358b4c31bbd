package pop_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop"
)

func TestMasterSalt(t *testing.T) {
	n1, n2 := []byte{0x01, 0x8a, 0x27, 0x8f, 0x7f, 0xaa, 0xb5, 0x5a}, []byte{0x25, 0xa8, 0x99, 0x1c, 0xd7, 0x00, 0xac, 0x01}
	for name, tt := range map[string]struct {
		salt []byte
		want string
	}{
		"a salt of 16 bytes": {[]byte{0xf9, 0xaf, 0x83, 0x83, 0x68, 0xe3, 0x53, 0xe7, 0x88, 0x88, 0xe1, 0x42, 0x6b, 0xd9, 0x4e, 0x6f},
			"50f9af838368e353e78888e1426bd94e6f48018a278f7faab55a4825a8991cd700ac01"},
		"no salt":             {nil, "4048018a278f7faab55a4825a8991cd700ac01"},
		"a salt of 23 bytes":  {make([]byte, 23), "57" + strings.Repeat("00", 23) + "48018a278f7faab55a4825a8991cd700ac01"},
		"a salt of 24 bytes":  {make([]byte, 24), "5818" + strings.Repeat("00", 24) + "48018a278f7faab55a4825a8991cd700ac01"},
		"a salt of 255 bytes": {make([]byte, 255), "58ff" + strings.Repeat("00", 255) + "48018a278f7faab55a4825a8991cd700ac01"},
	} {
		if got := pop.MasterSalt(tt.salt, n1, n2); hex.EncodeToString(got) != tt.want {
			t.Errorf("%s: got %x, want %s", name, got, tt.want)
		}
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	secret := []byte("a secret of mine")
	c := pop.Claims{Subject: "alice", Confirmation: pop.Confirmation{OSCORE: &pop.InputMaterial{ID: []byte{1}, MasterSecret: secret}}}
	text, err := json.Marshal(c.Confirmation.OSCORE)
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		text = fmt.Appendf(text, verb, *c.Confirmation.OSCORE)
		text = fmt.Appendf(text, verb, c.Confirmation.OSCORE)
	}
	for _, leak := range []string{string(secret), hex.EncodeToString(secret), fmt.Sprint(secret), "97, 0x20"} {
		if bytes.Contains(text, []byte(leak)) {
			t.Errorf("prints %s", text)
		}
	}
}

func TestLabelsSayWhatTheyAre(t *testing.T) {
	for label, want := range map[pop.ClaimLabel]string{{}: "0", {Number: -70001}: "-70001", {Name: "foo"}: `"foo"`, {Name: "a\n"}: `"a\n"`} {
		if got := label.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for profile, want := range map[pop.Profile]string{pop.ProfileCoAPDTLS: "coap_dtls", pop.ProfileCoAPOSCORE: "coap_oscore", 0: "unknown", 9: "unknown"} {
		if got := profile.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
