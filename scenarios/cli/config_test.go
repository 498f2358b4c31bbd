package cli_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// TestPrecedence: a flag comes before the environment, which comes before the file.
func TestPrecedence(t *testing.T) {
	h := newHouse(t)
	var addresses [4]string
	for i := range addresses {
		addresses[i] = freePort(t, "tcp")
	}
	fromFile, fromEnv, fromFlag, coap := addresses[0], addresses[1], addresses[2], freePort(t, "udp")
	h.write("server/latchkey.toml", "http = '"+fromFile+"'\ncoap = '"+coap+"'\n")
	env := "LATCHKEY_HTTP=" + fromEnv
	for _, row := range []struct {
		name, args string
		env        []string
		want       string
	}{
		{name: "the file alone", want: fromFile},
		{name: "the environment over the file", env: []string{env}, want: fromEnv},
		{name: "a flag over both", args: "--http " + fromFlag, env: []string{env}, want: fromFlag},
		{name: "a flag over the file", args: "--http " + fromFlag, want: fromFlag},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, http, _ := within(h, t).serve(row.args, row.env...)
			if http != row.want {
				t.Errorf("served on %s, want %s", http, row.want)
			}
			if code := p.terminate(); code != 0 {
				t.Errorf("ended with %d, want 0: %s", code, p.err.String())
			}
		})
	}
}

// TestPrecedenceOfInit: init writes down what flags and environment say.
func TestPrecedenceOfInit(t *testing.T) {
	h := &house{t: t, dir: t.TempDir()}
	for _, row := range []struct {
		name, args, env, issuer string
	}{
		{"neither", "", "", "http://localhost:8080"},
		{"the environment", "", "LATCHKEY_ISSUER=https://env.example", "https://env.example"},
		{"a flag", "--issuer https://flag.example", "", "https://flag.example"},
		{"a flag over the environment", "--issuer https://flag.example", "LATCHKEY_ISSUER=https://env.example", "https://flag.example"},
		{"another port, from which the issuer follows", "--http 127.0.0.1:9090", "", "http://localhost:9090"},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := within(h, t)
			folder := strings.ReplaceAll(row.name, " ", "-")
			r := h.run(call{program: "latchkey", args: "init --json --data " + folder + " " + row.args, env: []string{"X=", row.env}})
			var answer struct{ Issuer string }
			if err := json.Unmarshal([]byte(r.out), &answer); err != nil || answer.Issuer != row.issuer {
				t.Errorf("issuer %q, want %q (%v, %s)", answer.Issuer, row.issuer, err, r.err)
			}
			file, err := os.ReadFile(h.path(folder, "latchkey.toml"))
			if err != nil || !strings.Contains(string(file), `"`+row.issuer+`"`) {
				t.Errorf("the file has %q (%v), want issuer %s", file, err, row.issuer)
			}
		})
	}
}

// TestBadConfiguration breaks the environment, the file and the key in turn.
func TestBadConfiguration(t *testing.T) {
	h := newHouse(t)
	original, err := os.ReadFile(h.path("server", "latchkey.toml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name string
		file string // added to latchkey.toml
		env  string
		key  os.FileMode // of store.key
		args string
		says []string
	}{
		{name: "an unknown variable", env: "LATCHKEY_HTP=127.0.0.1:80", says: []string{"LATCHKEY_HTP", "did you mean LATCHKEY_HTTP?"}},
		{name: "a variable like no other", env: "LATCHKEY_PASSWORD_OF_THE_HOUSE=x", says: []string{"LATCHKEY_PASSWORD_OF_THE_HOUSE", "LATCHKEY_ACME, ", "LATCHKEY_DATA"}},
		{name: "an unknown variable at init", env: "LATCHKEY_HTP=127.0.0.1:80", args: "init --data new", says: []string{"LATCHKEY_HTP", "did you mean LATCHKEY_HTTP?"}},
		{name: "an unknown variable at the first serve", env: "LATCHKEY_HTP=127.0.0.1:80", args: "serve --data new", says: []string{"LATCHKEY_HTP", "did you mean LATCHKEY_HTTP?"}},
		{name: "a variable that is no address", env: "LATCHKEY_HTTP=everywhere", says: []string{`http "everywhere"`, "127.0.0.1:8080"}},
		{name: "an unknown key in the file", file: "htp = '127.0.0.1:80'", says: []string{"latchkey.toml, line 5", "htp", "did you mean http?"}},
		{name: "a table in the file", file: "[tls]\ncert = 'x'", says: []string{"latchkey.toml, line 5", "unknown key tls"}},
		{name: "a number for a list", file: "proxies = 1", says: []string{"latchkey.toml", "proxies"}},
		{name: "a time without unit", file: "drain = 30", says: []string{"latchkey.toml", "drain", "30s"}},
		{name: "a word for a switch", env: "LATCHKEY_ADMIN_REMOTE=perhaps", says: []string{"LATCHKEY_ADMIN_REMOTE", "true nor false"}},
		{name: "a file that is no TOML", file: "{", says: []string{"latchkey.toml"}},
		{name: "a key that everybody can read", key: 0o644, says: []string{"store.key", "chmod 600"}},
		{name: "a key that the group can read", key: 0o640, args: "serve", says: []string{"store.key", "chmod 600"}},
		{name: "a store that is not there", env: "LATCHKEY_DB=postgres://latchkey:hunter22@127.0.0.1:1/x", says: []string{"open store"}},
		{name: "a store of no known kind", env: "LATCHKEY_DB=mysql://127.0.0.1/x", says: []string{"mysql", "postgres://"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := within(h, t)
			h.write("server/latchkey.toml", string(original)+row.file+"\n")
			h.chmod("server/store.key", max(row.key, 0o600))
			if row.args == "" {
				row.args = "device list"
			}
			c := call{program: "latchkey", args: row.args, env: []string{"X=", row.env}}
			h.refused(c, row.says...)
			if r := h.run(c); strings.Contains(r.err, "hunter22") {
				t.Errorf("the password of the store is shown: %s", r.err)
			}
		})
	}
}
