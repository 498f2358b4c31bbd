package cli_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// TestPhoneRefreshes: a public app renews its token with the key that it made at the login; a copy of the refresh token in a session
// with another key is worth nothing.
func TestPhoneRefreshes(t *testing.T) {
	h := newHouseOn(t, "LATCHKEY_DPOP_NONCE=true")
	h.must("", "latchkey", "client", "add", "pocket", "--public", "--redirect-uri", "http://127.0.0.1/callback",
		"--grant-type", "authorization_code", "--grant-type", "refresh_token")
	_, address, _ := h.serve("")
	issuer := "http://localhost" + address[strings.LastIndex(address, ":"):]
	login := strings.Fields("login --issuer " + issuer + " --client pocket --user mum --password-stdin --device front-door --session ")
	token := func(session string) string {
		return h.must("", "phone", "token", "--no-upload", "--print", "--session", session)
	}
	h.must(mumPassword, "phone", append(login, "mine")...)
	first := token("mine")
	if second := token("mine"); second == first {
		t.Error("the same token again")
	}
	h.must(mumPassword, "phone", append(login, "thief")...)
	token("thief")
	mine, thief := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	for name, into := range map[string]*map[string]json.RawMessage{"mine": &mine, "thief": &thief} {
		text, err := os.ReadFile(h.path("phone-state", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, into); err != nil {
			t.Fatal(err)
		}
	}
	thief["session"] = mine["session"]
	stolen, err := json.Marshal(thief)
	if err != nil {
		t.Fatal(err)
	}
	h.write("phone-state/thief.json", string(stolen))
	if r := h.run(call{program: "phone", args: "token --no-upload --session thief"}); r.code == 0 || !strings.Contains(r.err, "invalid_grant") {
		t.Errorf("a stolen refresh token: %d %s", r.code, r.err)
	}
	token("mine")
	thief["dpop_key"] = json.RawMessage(`"AAAA"`)
	damaged, err := json.Marshal(thief)
	if err != nil {
		t.Fatal(err)
	}
	h.write("phone-state/thief.json", string(damaged))
	if r := h.run(call{program: "phone", args: "token --session thief"}); r.code == 0 || !strings.Contains(r.err, "log in again") {
		t.Errorf("a damaged key: %d %s", r.code, r.err)
	}
}
