package cli_test

import (
	"database/sql"
	"os"
	"strings"
	"testing"

	_ "github.com/latchkey-ace/latchkey/storage" // the drivers
	"github.com/latchkey-ace/latchkey/storage/storagetest/pgtest"
)

// TestOperatorSuspends: what an operator suspends is on record with the reason, beside everything that was set up.
func TestOperatorSuspends(t *testing.T) {
	h := newHouse(t)
	grant := h.firstGrant()
	for _, c := range []struct{ args, says string }{
		{"user suspend mum", "user mum is suspended"},
		{"client suspend gateway --end", "0 tokens ended"},
		{"device suspend front-door", "device front-door is suspended"},
		{"grant suspend " + grant, "is suspended"},
		{"grant resume " + grant, "goes on"},
		{"user resume mum", "user mum goes on"},
	} {
		if out := h.must("", "latchkey", append(strings.Fields(c.args), "--reason", "because of "+c.args)...); !strings.Contains(out, c.says) {
			t.Errorf("%s: got %q, want %q", c.args, out, c.says)
		}
	}
	for _, args := range []string{"user suspend nobody", "client resume nobody", "device suspend nothing", "grant suspend 0000000000000009", "grant suspend x"} {
		if r := h.run(call{program: "latchkey", args: args}); r.code != 1 || r.err == "" {
			t.Errorf("%s: ended with %d: %s", args, r.code, r.err)
		}
	}
	tail := h.must("", "latchkey", "audit", "tail")
	for _, event := range []string{"user.add", "client.add", "device.add", "grant.add", "user.suspend", "client.suspend", "client.end", "device.suspend", "grant.suspend", "grant.resume", "user.resume"} {
		if !strings.Contains(tail, "  "+event+" ") {
			t.Errorf("%s is not on record:\n%s", event, tail)
		}
	}
	for args, want := range map[string]int{
		"--user mum": 3, "--client gateway": 3, "--device front-door": 3, "--grant " + grant: 3, "--event grant.suspend": 1, "--since 1h --event user.add": 2,
		"--event user.add --user mum": 1, "--user nobody": 0, "-n 2": 2,
	} {
		out := h.must("", "latchkey", strings.Fields("audit tail "+args)...)
		got := strings.Count(out, "granted")
		if got != want {
			t.Errorf("audit tail %s: %d lines, want %d:\n%s", args, got, want, out)
		}
	}
}

// TestAuditFollow: a decision is shown while the command runs, once.
func TestAuditFollow(t *testing.T) {
	h := newHouse(t)
	p := h.start(call{program: "latchkey", args: "audit tail -f --event user.suspend -n 5"}, "")
	h.must("", "latchkey", "user", "suspend", "mum", "--reason", "first")
	h.must("", "latchkey", "user", "suspend", "alice", "--reason", "second")
	if !p.says("second") || !p.says("first") {
		t.Errorf("not shown: %s%s", p.out.String(), p.err.String())
	}
	if code := p.terminate(); code != 0 {
		t.Errorf("ended with %d", code)
	}
	if n := strings.Count(p.out.String(), "first"); n != 1 {
		t.Errorf("shown %d times:\n%s", n, p.out.String())
	}
}

// TestAuditVerify: the whole log verifies on both stores; one entry changed, and the command says which and ends with 1; the
// heads that were kept show what the tables no longer do.
func TestAuditVerify(t *testing.T) {
	for name, db := range map[string]string{"sqlite": "", "postgres": pgtest.Start(t)} {
		t.Run(name, func(t *testing.T) {
			var env []string
			if db != "" {
				env = append(env, "LATCHKEY_DB="+db)
			}
			h := newHouseOn(t, env...)
			if out := h.must("", "latchkey", "audit", "verify"); !strings.Contains(out, "whole: 7 entries") {
				t.Errorf("got %q", out)
			}
			h.write("heads.txt", h.must("", "latchkey", "audit", "verify", "--head"))
			h.must("", "latchkey", "user", "suspend", "mum")
			h.must("", "latchkey", "audit", "verify", "--against", "heads.txt")
			driver, source := "pgx", db
			if db == "" {
				driver, source = "sqlite", "file:"+h.path(serverFolder, "latchkey.db")
			}
			raw, err := sql.Open(driver, source)
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			broken := func(statement, args, says string) {
				t.Helper()
				if _, err := raw.Exec(statement); err != nil {
					t.Fatal(err)
				}
				if r := h.run(call{program: "latchkey", args: args}); r.code != 1 || !strings.Contains(r.err, says) {
					t.Errorf("%s: ended with %d: %s", statement, r.code, r.err)
				}
			}
			broken(`UPDATE audit SET user_name = 'alice' WHERE event = 'user.suspend'`, "audit verify", "audit entry 8 ")
			if _, err := raw.Exec(`UPDATE audit SET user_name = 'mum' WHERE event = 'user.suspend'`); err != nil {
				t.Fatal(err)
			}
			h.must("", "latchkey", "audit", "verify")
			broken(`DELETE FROM audit WHERE id > 5`, "audit verify", "gone")
			for _, statement := range []string{`DELETE FROM audit_chains WHERE number > 5`, `UPDATE counters SET value = 5 WHERE name = 'audit'`} {
				if _, err := raw.Exec(statement); err != nil {
					t.Fatal(err)
				}
			}
			h.must("", "latchkey", "audit", "verify")
			broken(`DELETE FROM audit WHERE id > 1000`, "audit verify --against heads.txt", "gone")
			if err := os.Remove(h.path("heads.txt")); err != nil {
				t.Fatal(err)
			}
			if r := h.run(call{program: "latchkey", args: "audit verify --against heads.txt"}); r.code != 1 {
				t.Errorf("without its file: ended with %d", r.code)
			}
		})
	}
}
