package cli_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestMediatorRefuses: a mediator that could let nobody through, or would show a secret to others, does not start.
func TestMediatorRefuses(t *testing.T) {
	h := newHouse(t)
	for name, content := range map[string]string{"app.secret": "a long secret of the app\n", "open.secret": "another\n", "empty.secret": "\n"} {
		h.write(name, content)
	}
	h.chmod("open.secret", 0o644)
	const token = "--token https://as.example/token "
	for _, row := range []struct {
		name, args string
		says       []string
	}{
		{"before nobody", "--secret phone=app.secret", []string{"--token https://as.example/token"}},
		{"without a secret", "--token https://as.example/token", []string{"--secret CLIENT=FILE"}},
		{"an address that is none", "--token as.example --secret phone=app.secret", []string{"--token", "https://as.example/token"}},
		{"an address with a password", "--token https://app:hunter22@as.example/token --secret phone=app.secret", []string{"--token", "without user and password"}},
		{"a secret over plain http", "--token http://as.example/token --secret phone=app.secret", []string{"http://as.example/token", "https"}},
		{"other endpoints over plain http", token + "--device-authorization http://as.example/d --secret phone=app.secret", []string{"--device-authorization", "https"}},
		{"a secret without a client", token + "--secret app.secret", []string{`--secret "app.secret"`, "CLIENT=FILE"}},
		{"a client twice", token + "--secret phone=app.secret --secret phone=app.secret", []string{"each client once"}},
		{"a secret that is not there", token + "--secret phone=none.secret", []string{"--secret phone", "none.secret", "no such file"}},
		{"a secret that others read", token + "--secret phone=open.secret", []string{"open.secret", "chmod 600"}},
		{"an empty secret", token + "--secret phone=empty.secret", []string{"empty.secret", "empty"}},
		{"an argument", token + "--secret phone=app.secret now", []string{"no arguments", "latchkey mediator --help"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			within(h, t).refused(call{program: "latchkey", args: "mediator " + row.args}, row.says...)
		})
	}
	if r := h.run(call{program: "latchkey", args: "mediator --token https://app:hunter22@as.example/token --secret phone=app.secret"}); strings.Contains(r.err, "hunter22") {
		t.Errorf("the password is shown: %s", r.err)
	}
	for name, row := range map[string]struct {
		args string
		says []string
	}{
		"a client that nobody registered":       {"--secret app=app.secret", []string{"--secret app", "not found", "latchkey client add app --auth-method integrity_token"}},
		"a client that does not show itself":    {"--secret phone=app.secret", []string{"--secret phone", "does not show itself", "--auth-method integrity_token"}},
		"a client with a secret of its own too": {"--secret gateway=app.secret", []string{"--secret gateway", "does not show itself"}},
	} {
		t.Run(name, func(t *testing.T) {
			complains(t, within(h, t).run(call{program: "latchkey", args: "mediator " + token + row.args}), "latchkey", row.says...)
		})
	}
}

// TestMediatorServes: the program starts, refuses an app for which nobody vouches, and stops when it is told to.
func TestMediatorServes(t *testing.T) {
	h := newHouse(t)
	h.write("app.secret", "a long secret of the app\n")
	h.write("server/attesters.toml", "[attester.acme]\nsymmetric = true\nsecret = \"acme.secret\"\n")
	h.write("server/acme.secret", "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U=\n")
	h.must("", "latchkey", "client", "add", "app", "--auth-method", "integrity_token", "--attester", "acme", "--redirect-uri", "http://127.0.0.1/callback")
	h.env = append(h.env, "LATCHKEY_ATTESTERS=attesters.toml")
	p := h.start(call{program: "latchkey", args: "mediator --token http://127.0.0.1:1/token --secret app=app.secret"}, "before http://127.0.0.1:1/token")
	answer, err := http.PostForm("http://"+h.http+"/token", url.Values{"client_id": {"app"}, "grant_type": {"refresh_token"}})
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a token: %s", answer.Status)
	}
	if code := p.terminate(); code != 0 {
		t.Errorf("it ended with %d after SIGTERM: %s", code, p.err.String())
	}
}
