package cli_test

import (
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
