package cli_test

import (
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/provision"
)

// TestOperatorKeepsKeys: what there is to see and to do about the keys, and that a device is provisioned with the one that signs
// and the next.
func TestOperatorKeepsKeys(t *testing.T) {
	h := newHouse(t)
	if out := h.must("", "latchkey", "keys", "list"); !strings.HasPrefix(out, "2  signs from ") || !strings.Contains(out, "\n1  signs until ") {
		t.Errorf("got %s", out)
	}
	device, err := provision.Parse([]byte(h.read("front-door.lkp")))
	if err != nil || len(device.ASKeys) != 2 || string(device.ASKeys[0].ID()) != "1" || string(device.ASKeys[1].ID()) != "2" {
		t.Errorf("the device has %d keys, %v", len(device.ASKeys), err)
	}
	if out := h.must("", "latchkey", "keys", "rotate"); !strings.HasPrefix(out, "key 2 signs from ") {
		t.Errorf("got %s", out)
	}
	var c struct {
		Withdrawn, Devices, Mute []string
		Signs                    string
		Tokens                   int
	}
	if err := json.Unmarshal([]byte(h.must("", "latchkey", "keys", "compromise", "1", "--json")), &c); err != nil || c.Signs != "2" || c.Tokens != 0 || len(c.Withdrawn) != 1 || c.Devices == nil {
		t.Errorf("got %+v, %v", c, err)
	}
	if out := h.must("", "latchkey", "keys", "list"); !strings.Contains(out, "\n2  signs until ") || !strings.Contains(out, "\n1  withdrawn ") {
		t.Errorf("got %s", out)
	}
	if r := h.run(call{program: "latchkey", args: "keys compromise 9"}); r.code != 1 || !strings.Contains(r.err, "keys list") {
		t.Errorf("ended with %d: %s", r.code, r.err)
	}
	if tail := h.must("", "latchkey", "audit", "tail"); !strings.Contains(tail, "key.compromise") || !strings.Contains(tail, "key.rotate") {
		t.Errorf("not on record:\n%s", tail)
	}
}

// TestKeysThatPeersHave: material is taken over from a file that nobody else can read, belongs to one peer, and shows nowhere.
func TestKeysThatPeersHave(t *testing.T) {
	h := newHouse(t)
	secret := strings.Repeat("0123456789abcdef", 2)
	files := map[string]string{
		"door.json":  `{"master_secret":"` + secret + `","master_salt":"0a0b","client_id":"a1a2a3","server_id":"01"}`,
		"again.json": `{"psk":"` + secret + `","psk_identity":"gateway"}`,
		"psk.json":   `{"psk":"` + strings.Repeat("fedcba9876543210", 2) + `","psk_identity":"gateway"}`,
		"zero.json":  `{"psk":"` + strings.Repeat("00", 16) + `","psk_identity":"zero"}`,
		"short.json": `{"psk":"` + strings.Repeat("01", 15) + `","psk_identity":"short"}`,
	}
	for name, content := range files {
		h.write(name, content)
		h.chmod(name, 0o600)
	}
	lock := []string{"--owner", "alice", "--kind", "lock", "--action", "unlock=/door/unlock:POST"}
	h.must("", "latchkey", append([]string{"device", "add", "old-door", "--import", h.path("door.json"), "--out", h.path("old.lkp")}, lock...)...)
	device, err := provision.Parse([]byte(h.read("old.lkp")))
	if err != nil {
		t.Fatal(err)
	}
	p, err := device.ChannelParams()
	if err != nil || hex.EncodeToString(p.MasterSecret) != secret || hex.EncodeToString(p.MasterSalt) != "0a0b" || hex.EncodeToString(p.SenderID) != "a1a2a3" || hex.EncodeToString(p.RecipientID) != "01" {
		t.Errorf("the device has another channel, %v", err)
	}
	h.must("", "latchkey", "client", "add", "meter", "--auth-method", "dtls", "--import", h.path("psk.json"))
	h.chmod("door.json", 0o644)
	for args, says := range map[string]string{
		"client add two --auth-method dtls --import again.json":    "exists already",
		"client add three --auth-method dtls --import zero.json":   "one byte repeated",
		"client add four --auth-method dtls --import short.json":   "16 to 64 bytes",
		"client add five --auth-method oscore --import again.json": "master_secret",
		"client add six --auth-method oscore --import door.json":   "chmod 600",
	} {
		if r := h.run(call{program: "latchkey", args: args}); r.code != 1 || !strings.Contains(r.err, says) || strings.Contains(r.out+r.err, secret[:16]) {
			t.Errorf("%s: ended with %d: %s", args, r.code, r.err)
		}
	}
	if tail := h.must("", "latchkey", "audit", "tail"); strings.Contains(tail, secret) {
		t.Error("the key is on record")
	}
}
