package cli_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
)

// apply sends one request and decodes what comes back, if that is JSON.
func (h *house) apply(method, address, body string, headers map[string]string) (status int, answer map[string]any) {
	h.t.Helper()
	request, err := http.NewRequestWithContext(h.t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		h.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	if len(text) > 0 && json.Unmarshal(text, &answer) != nil {
		answer = map[string]any{"text": string(text)}
	}
	return response.StatusCode, answer
}

// TestAnAppRegistersItself: the operator opens the door, invites; the app registers, gets a token for what alice gives it, and goes.
func TestAnAppRegistersItself(t *testing.T) {
	h := newHouse(t)
	if out := h.must("", "latchkey", "client", "invitations"); out != "no invitations\n" {
		t.Errorf("got %s", out)
	}
	if out := h.must("", "latchkey", "client", "invite"); !strings.Contains(out, "keep registration closed") {
		t.Errorf("a closed server does not say so: %s", out)
	}
	h.env = append(h.env, "LATCHKEY_REGISTRATION=invited")
	_, address, _ := h.serve("")
	base := "http://" + address
	if _, m := h.apply("GET", base+"/.well-known/oauth-authorization-server", "", nil); m["registration_endpoint"] == nil {
		t.Errorf("not in the metadata: %v", m)
	}
	var i struct {
		Invitation, Token string
		Uses              int
	}
	if err := json.Unmarshal([]byte(h.must("", "latchkey", "client", "invite", "--grant-type", "client_credentials", "--note", "the meter", "--json")), &i); err != nil || i.Uses != 1 || len(i.Token) < 43 {
		t.Fatalf("got %+v, %v", i, err)
	}
	if out := h.must("", "latchkey", "client", "invitations"); !strings.HasPrefix(out, i.Invitation) || !strings.Contains(out, "the meter") || strings.Contains(out, i.Token) {
		t.Errorf("got %s", out)
	}
	invited := map[string]string{"Authorization": "Bearer " + i.Token, "Content-Type": "application/json"}
	status, told := h.apply("POST", base+"/register", `{"grant_types":["client_credentials"],"client_name":"Meter"}`, invited)
	if status != http.StatusCreated {
		t.Fatalf("status %d: %v", status, told)
	}
	if status, again := h.apply("POST", base+"/register", `{"grant_types":["client_credentials"]}`, invited); status != http.StatusUnauthorized {
		t.Errorf("a second time: status %d: %v", status, again)
	}
	id, secret := told["client_id"].(string), told["client_secret"].(string)
	h.must("", "latchkey", "grant", "add", "--owner", "alice", "--to-client", id, "--device", "front-door", "--allow", "unlock")
	form := url.Values{"grant_type": {"client_credentials"}, "audience": {"front-door"}, "client_id": {id}, "client_secret": {secret}}.Encode()
	asForm := map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
	if status, answer := h.apply("POST", base+"/token", form, asForm); status != http.StatusOK || answer["access_token"] == nil {
		t.Errorf("status %d: %v", status, answer)
	}
	management := told["registration_access_token"].(string)
	if status, answer := h.apply("DELETE", told["registration_client_uri"].(string), "", map[string]string{"Authorization": "Bearer " + management}); status != http.StatusNoContent {
		t.Errorf("status %d: %v", status, answer)
	}
	if status, answer := h.apply("POST", base+"/token", form, asForm); status != http.StatusUnauthorized {
		t.Errorf("after it has gone: status %d: %v", status, answer)
	}
	tail := h.must("", "latchkey", "audit", "tail")
	for _, event := range []string{"client.invite", "client.register", "client.unregister"} {
		if !strings.Contains(tail, event) {
			t.Errorf("%s is not on record:\n%s", event, tail)
		}
	}
	h.nowhere("an invitation's token", i.Token)
	h.nowhere("a client's secret", secret)
	h.nowhere("a registration token", management)
}

// nowhere wants no file of the server to hold a secret.
func (h *house) nowhere(what, secret string) {
	h.t.Helper()
	entries, err := os.ReadDir(h.path(serverFolder))
	if err != nil {
		h.t.Fatal(err)
	}
	read := 0
	for _, e := range entries {
		data, err := os.ReadFile(h.path(serverFolder, e.Name()))
		if err != nil {
			continue // a socket
		}
		read++
		if strings.Contains(string(data), secret) {
			h.t.Errorf("%s stands in %s", what, e.Name())
		}
	}
	if read < 3 {
		h.t.Errorf("only %d files were looked at", read)
	}
}

// TestInvitations: an invitation is taken back by its name, and what could never be used is not made.
func TestInvitations(t *testing.T) {
	h := newHouse(t)
	name, _, _ := strings.Cut(strings.TrimPrefix(h.must("", "latchkey", "client", "invite", "--uses", "3", "--expires-in", "1h", "--auth-method", "none"), "invitation "), ",")
	if out := h.must("", "latchkey", "client", "uninvite", name); !strings.Contains(out, name) {
		t.Errorf("got %s", out)
	}
	if out := h.must("", "latchkey", "client", "invitations"); out != "no invitations\n" {
		t.Errorf("got %s", out)
	}
	for args, says := range map[string]string{
		"client uninvite " + name:                            "client invitations",
		"client uninvite nothing":                            "client invitations",
		"client invite --uses 0":                             "1 to 1000",
		"client invite --uses 1001":                          "1 to 1000",
		"client invite --expires-in 0s":                      "1m to 720h",
		"client invite --expires-in 721h":                    "1m to 720h",
		"client invite --grant-type password":                `"password"`,
		"client invite --auth-method oscore":                 `"oscore"`,
		"client invite --auth-method attest_jwt_client_auth": `"attest_jwt_client_auth"`,
		"client invite --scope ö":                            "scope",
		"serve --registration open":                          "closed and invited",
		"config validate --registration anything":            "closed and invited",
	} {
		r := h.run(call{program: "latchkey", args: args})
		if r.code != 1 || !strings.Contains(r.err+r.out, says) {
			t.Errorf("%s ended with %d: %s%s", args, r.code, r.out, r.err)
		}
	}
}
