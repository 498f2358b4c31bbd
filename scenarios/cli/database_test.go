package cli_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/storage/storagetest/pgtest"
)

// TestDatabaseAway starts the server before its database (F10), and takes the database away from it (F11).
func TestDatabaseAway(t *testing.T) {
	pg := pgtest.Own(t)
	h := newHouseOn(t, "LATCHKEY_DB="+pg.URL)
	h.must("", "latchkey", "grant", "add", "--owner", "alice", "--to-client", "gateway", "--device", "front-door", "--allow", "unlock")
	pg.Stop()

	watched := "http://" + freePort(t, "tcp")
	p := h.start(call{program: "latchkey", args: "serve --admin " + strings.TrimPrefix(watched, "http://")}, "waiting for it")
	eventually(t, watched+"/healthz", http.StatusOK, "ok")
	eventually(t, watched+"/readyz", http.StatusServiceUnavailable, "starting")
	address := h.http
	status, header, _, err := h.gateway(address)
	if err != nil || status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
		t.Errorf("before the database: %d %v (%v), want 503 with Retry-After", status, header, err)
	}
	if !p.running() {
		t.Fatalf("it has ended: %s", p.err.String())
	}
	r := h.run(call{program: "latchkey", args: "doctor"})
	if r.code != 1 || !strings.Contains(r.out, "fail  store") || !strings.Contains(r.out, "start the database") {
		t.Errorf("doctor ended with %d: %s", r.code, r.out)
	}
	pg.Start()
	if !p.says("serving ") {
		t.Fatalf("it does not serve: %s", p.err.String())
	}
	eventually(t, watched+"/readyz", http.StatusOK, "ok")
	if status, _, body, err := h.gateway(address); err != nil || status != http.StatusOK {
		t.Fatalf("with the database: %d %s (%v)", status, body, err)
	}

	pg.Stop()
	eventually(t, watched+"/readyz", http.StatusServiceUnavailable, "store")
	for _, path := range []string{"/jwks", "/.well-known/oauth-authorization-server"} {
		if status, _ := ask(t, "http://"+address+path); status != http.StatusOK {
			t.Errorf("%s without the database: %d, want 200", path, status)
		}
	}
	for range 3 {
		status, header, body, err := h.gateway(address)
		if err != nil || status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" || !strings.Contains(body, "temporarily_unavailable") {
			t.Errorf("token without the database: %d %s (%v), want 503", status, body, err)
		}
	}
	if out := h.run(call{program: "latchkey", args: "grant revoke 0123456789abcdef"}); out.code == 0 || strings.Contains(out.out, "revoked") {
		t.Errorf("a revocation without the database ended with %d: %s", out.code, out.out)
	}
	pg.Start()
	eventually(t, watched+"/readyz", http.StatusOK, "ok")
	if status, _, body, err := h.gateway(address); err != nil || status != http.StatusOK {
		t.Errorf("with the database again: %d %s (%v)", status, body, err)
	}
	if code := p.terminate(); code != 0 {
		t.Errorf("ended with %d: %s", code, p.err.String())
	}
	if strings.Contains(p.err.String(), "panic") {
		t.Errorf("it panicked: %s", p.err.String())
	}
}

// TestFirstServeBeforeTheDatabase: a new folder is made, and waits too.
func TestFirstServeBeforeTheDatabase(t *testing.T) {
	pg := pgtest.Own(t)
	pg.Stop()
	h := &house{t: t, dir: t.TempDir(), env: []string{"LATCHKEY_DB=" + pg.URL}}
	address := freePort(t, "tcp")
	args := "serve --data new --http " + address + " --coap " + freePort(t, "udp")
	p := h.start(call{program: "latchkey", args: args}, "waiting for it")
	if status, body := ask(t, "http://"+address+"/jwks"); status != http.StatusServiceUnavailable {
		t.Errorf("before the database: %d %s, want 503", status, body)
	}
	pg.Start()
	if !p.says("serving ") {
		t.Fatalf("it does not serve: %s", p.err.String())
	}
	if status, body := ask(t, "http://"+address+"/jwks"); status != http.StatusOK {
		t.Errorf("with the database: %d %s, want 200", status, body)
	}
	pg.Stop()
	if code := p.terminate(); code != 0 {
		t.Errorf("ended with %d without the database, want 0: %s", code, p.err.String())
	}
	if r := h.run(call{program: "latchkey", args: args, env: []string{"LATCHKEY_DB=postgres://%zz"}}); r.code != 1 || !strings.Contains(r.err, "postgres://") {
		t.Errorf("an address that cannot be read is waited for: %d %s", r.code, r.err)
	}
}
