package cli_test

import (
	"database/sql"
	"encoding/json"
	"net"
	"os"
	"strings"
	"testing"

	_ "modernc.org/sqlite"
)

// found is one check of doctor or config validate.
type found struct{ Check, Status, Saw, Cure string }

// examined runs a command that reports checks, and returns them by name, the worst of each.
func (h *house) examined(args string, env ...string) (result, map[string]found) {
	h.t.Helper()
	r := h.run(call{program: "latchkey", args: args + " --json", env: env})
	var report struct {
		OK     bool
		Checks []found
	}
	if err := json.Unmarshal([]byte(r.out), &report); err != nil {
		h.t.Fatalf("%s: %v: %s%s", args, err, r.out, r.err)
	}
	worst, rank := map[string]found{}, map[string]int{"ok": 1, "warn": 2, "fail": 3}
	for _, c := range report.Checks {
		if rank[c.Status] == 0 || c.Saw == "" || (c.Cure == "") != (c.Status == "ok") {
			h.t.Errorf("%s: a check without its words: %+v", args, c)
		}
		if rank[c.Status] > rank[worst[c.Check].Status] {
			worst[c.Check] = c
		}
	}
	if report.OK != (r.code == 0) {
		h.t.Errorf("%s: ok is %t and it ended with %d", args, report.OK, r.code)
	}
	for _, trace := range []string{"panic", "goroutine", ".go:"} {
		if strings.Contains(r.out+r.err, trace) {
			h.t.Errorf("%s: a stack trace: %s%s", args, r.out, r.err)
		}
	}
	return r, worst
}

// TestDoctor breaks a healthy folder in one way after another; each is seen and has its cure.
func TestDoctor(t *testing.T) {
	h := newHouse(t)
	r, all := h.examined("doctor")
	if r.code != 0 || all["issuer"].Status != "warn" || len(all) != 12 {
		t.Fatalf("of a healthy folder it says %+v", all)
	}
	for _, row := range []struct {
		name   string
		spoil  func(h *house)
		env    string
		check  string
		status string
		says   []string
	}{
		{name: "a folder that others change", spoil: func(h *house) { h.chmod("server", 0o770) }, check: "folder", status: "fail", says: []string{"chmod 700"}},
		{name: "a folder that others see", spoil: func(h *house) { h.chmod("server", 0o755) }, check: "folder", status: "warn", says: []string{"chmod 700"}},
		{name: "no configuration", spoil: func(h *house) { h.remove("server/latchkey.toml") }, check: "config", status: "fail", says: []string{"latchkey init"}},
		{name: "a broken configuration", spoil: func(h *house) { h.write("server/latchkey.toml", "{") }, check: "config", status: "fail", says: []string{"latchkey.toml"}},
		{name: "a configuration of zero bytes", spoil: func(h *house) { h.write("server/latchkey.toml", "\x00\xff") }, check: "config", status: "fail", says: []string{"latchkey.toml"}},
		{name: "an unsafe configuration", env: "LATCHKEY_HTTP=0.0.0.0:80", check: "config", status: "fail", says: []string{"loopback"}},
		{name: "a configuration that others change", spoil: func(h *house) { h.chmod("server/latchkey.toml", 0o666) }, check: "config", status: "fail", says: []string{"chmod 600"}},
		{name: "a password that others read", spoil: func(h *house) {
			h.write("server/latchkey.toml", "db = 'postgres://latchkey:hunter22@127.0.0.1:1/x'\n")
			h.chmod("server/latchkey.toml", 0o644)
		}, check: "config", status: "fail", says: []string{"password", "chmod 600"}},
		{name: "attesters that are not there", env: "LATCHKEY_ATTESTERS=none.toml", check: "attesters", status: "fail", says: []string{"no such file"}},
		{name: "an attester that is away", env: "LATCHKEY_ATTESTERS=attesters.toml", spoil: func(h *house) {
			h.write("server/attesters.toml", "[attester.a]\nkeys = \"http://127.0.0.1:1/jwks\"\n")
		}, check: "attesters", status: "warn", says: []string{"cannot be had now"}},
		{name: "an attester for development", env: "LATCHKEY_ATTESTERS=attesters.toml", spoil: func(h *house) {
			h.write("server/attesters.toml", "[attester.a]\nkeys = \"http://127.0.0.1:1/jwks\"\nkind = \"development\"\n")
		}, check: "attesters", status: "warn", says: []string{"proves nothing"}},
		{name: "attesters that others change", env: "LATCHKEY_ATTESTERS=attesters.toml", spoil: func(h *house) {
			h.write("server/attesters.toml", "[attester.a]\nkeys = \"http://127.0.0.1:1/jwks\"\n")
			h.chmod("server/attesters.toml", 0o666)
		}, check: "attesters", status: "fail", says: []string{"chmod 644"}},
		{name: "a database that is away", env: "LATCHKEY_DB=postgres://latchkey:hunter22@127.0.0.1:1/x", check: "store", status: "fail", says: []string{"start the database"}},
		{name: "a database of no known kind", env: "LATCHKEY_DB=mysql://127.0.0.1/x", check: "store", status: "fail", says: []string{"mysql"}},
		{name: "no key", spoil: func(h *house) { h.remove("server/store.key") }, check: "store.key", status: "fail", says: []string{"copy"}},
		{name: "a key that others read", spoil: func(h *house) { h.chmod("server/store.key", 0o644) }, check: "store.key", status: "fail", says: []string{"chmod 600"}},
		{name: "half a key", spoil: func(h *house) { h.write("server/store.key", "half") }, check: "store.key", status: "fail", says: []string{"4 bytes"}},
		{name: "a key that is a folder", spoil: func(h *house) { h.remove("server/store.key"); h.mkdir("server/store.key") }, check: "store.key", status: "fail", says: []string{"not a file"}},
		{name: "another key", spoil: func(h *house) { h.write("server/store.key", strings.Repeat("x", 32)) }, check: "store", status: "fail", says: []string{"store.key"}},
		{name: "no store", spoil: func(h *house) { h.remove("server/latchkey.db") }, check: "store", status: "warn", says: []string{"none yet", "restore"}},
		{name: "a damaged store", spoil: func(h *house) { h.write("server/latchkey.db", strings.Repeat("x", 8192)) }, check: "store", status: "fail", says: []string{"backup"}},
		{name: "a store of a newer program", spoil: func(h *house) {
			h.statement("INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)")
		}, check: "store", status: "fail", says: []string{"999", "newer program"}},
		{name: "a clock that went back", spoil: func(h *house) { h.statement("UPDATE audit SET at = at + 1000000000000000") }, check: "store", status: "fail", says: []string{"set the clock"}},
		{name: "a certificate that is not there", env: "LATCHKEY_TLS_CERT=x.pem", spoil: func(h *house) {
			h.write("server/latchkey.toml", "issuer = 'https://localhost'\ntls_key = 'y.pem'\n")
		}, check: "certificate", status: "fail", says: []string{"y.pem"}},
		{name: "an address of another machine", env: "LATCHKEY_COAP=192.0.2.1:5683", check: "coap", status: "fail", says: []string{"this machine"}},
		{name: "an issuer that leads nowhere", env: "LATCHKEY_ISSUER=https://nowhere.invalid", check: "issuer", status: "warn", says: []string{"latchkey serve"}},
		{name: "an address that is taken", env: "LATCHKEY_HTTP=" + taken(t), check: "http", status: "fail", says: []string{"is taken", "ss -lnptu"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := newHouse(t)
			if row.spoil != nil {
				row.spoil(h)
			}
			r, all := h.examined("doctor", "X=", row.env)
			got := all[row.check]
			if got.Status != row.status || (r.code == 1) != (row.status == "fail") {
				t.Fatalf("ended with %d and says %+v, want %s", r.code, all, row.status)
			}
			for _, text := range row.says {
				if !strings.Contains(got.Saw+" "+got.Cure, text) {
					t.Errorf("it says %+v, want %q in it", got, text)
				}
			}
			if strings.Contains(r.out+r.err, "hunter22") {
				t.Error("a password is shown")
			}
		})
	}
}

// taken is an address that somebody listens on until the test ends.
func taken(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func (h *house) remove(name string) {
	h.t.Helper()
	if err := os.Remove(h.path(name)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) mkdir(name string) {
	h.t.Helper()
	if err := os.Mkdir(h.path(name), 0o700); err != nil {
		h.t.Fatal(err)
	}
}

// statement changes the store behind the server's back.
func (h *house) statement(text string) {
	h.t.Helper()
	db, err := sql.Open("sqlite", h.path(serverFolder, "latchkey.db"))
	if err != nil {
		h.t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(text); err != nil {
		h.t.Fatal(err)
	}
}

// TestDoctorWithoutFolder says one thing when there is nothing to look at.
func TestDoctorWithoutFolder(t *testing.T) {
	h := &house{t: t, dir: t.TempDir()}
	h.write("file", "x")
	for _, folder := range []string{"nowhere", "file"} {
		r, all := h.examined("doctor --data " + folder)
		if r.code != 1 || len(all) != 1 || all["folder"].Status != "fail" {
			t.Errorf("%s: ended with %d and says %+v", folder, r.code, all)
		}
	}
}

// TestDoctorBesideAServer: what runs is served, and another configuration than the running one is seen.
func TestDoctorBesideAServer(t *testing.T) {
	h := newHouse(t)
	h.serve("")
	r, all := h.examined("doctor")
	if r.code != 0 || !strings.HasSuffix(all["http"].Saw, "is served") || !strings.HasSuffix(all["coap"].Saw, "is served") || all["issuer"].Status != "ok" {
		t.Errorf("ended with %d and says %+v", r.code, all)
	}
	r, all = h.examined("doctor", "LATCHKEY_COAP="+freePort(t, "udp"))
	if r.code != 0 || all["coap"].Status != "warn" || !strings.Contains(all["coap"].Cure, "restart") {
		t.Errorf("ended with %d and says %+v", r.code, all)
	}
	_, port, _ := net.SplitHostPort(h.http)
	r, all = h.examined("doctor", "LATCHKEY_ISSUER=http://127.0.0.1:"+port)
	if r.code != 1 || !strings.Contains(all["issuer"].Saw, "another server answers") {
		t.Errorf("ended with %d and says %+v", r.code, all)
	}
}

// TestConfigValidate says what serve would refuse, all at once, and that the rest is fine.
func TestConfigValidate(t *testing.T) {
	h := newHouse(t)
	if r, all := h.examined("config validate"); r.code != 0 || len(all) != 8 {
		t.Errorf("ended with %d and says %+v", r.code, all)
	}
	r := h.run(call{program: "latchkey", args: "config validate --http 0.0.0.0:80 --coap x --token-life 2h"})
	for _, text := range []string{`http "0.0.0.0:80"`, `coap "x"`, "token_life 2h0m0s"} {
		if !strings.Contains(r.out, text) {
			t.Errorf("it says %s, want %s in it", r.out, text)
		}
	}
	if r.code != 1 || strings.Contains(r.err, "\n\n") {
		t.Errorf("ended with %d: %s", r.code, r.err)
	}
}

// TestConfigExplain tells where each value is from and keeps the password to itself.
func TestConfigExplain(t *testing.T) {
	h := newHouse(t)
	r := h.run(call{program: "latchkey", args: "config explain --coap 127.0.0.1:1 --json", env: []string{"LATCHKEY_DB=postgres://latchkey:hunter22@127.0.0.1/x"}})
	var all []struct{ Setting, Value, From, Default, Variable, Flag, Means string }
	if err := json.Unmarshal([]byte(r.out), &all); err != nil || r.code != 0 {
		t.Fatalf("ended with %d: %v %s", r.code, err, r.err)
	}
	from := map[string]string{}
	for _, s := range all {
		from[s.Setting] = s.From
		if s.Means == "" || s.Variable != "LATCHKEY_"+strings.ToUpper(s.Setting) {
			t.Errorf("%+v", s)
		}
	}
	for setting, want := range map[string]string{"http": "latchkey.toml", "coap": "--coap", "db": "LATCHKEY_DB", "drain": "the default"} {
		if from[setting] != want {
			t.Errorf("%s is from %q, want %q", setting, from[setting], want)
		}
	}
	if strings.Contains(r.out, "hunter22") {
		t.Errorf("the password is shown: %s", r.out)
	}
}
