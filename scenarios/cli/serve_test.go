package cli_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFirstServe: on a folder that does not exist serve works at once, and says what it did.
func TestFirstServe(t *testing.T) {
	h := &house{t: t, dir: t.TempDir()}
	http, coap := freePort(t, "tcp"), freePort(t, "udp")
	args := "--data new --http " + http + " --coap " + coap
	p, served, _ := h.serve(args)
	_, port, _ := net.SplitHostPort(http)
	for _, text := range []string{"ran init", "new", "http://localhost:" + port} {
		if !strings.Contains(p.err.String(), text) {
			t.Errorf("standard error has %q, want %q in it", p.err.String(), text)
		}
	}
	if body := get(t, "http://"+served+"/.well-known/oauth-authorization-server"); !strings.Contains(body, `"issuer":"http://localhost:`+port+`"`) {
		t.Errorf("the metadata has another issuer: %s", body)
	}
	h.must(alicePassword, "latchkey", "user", "add", "alice", "--password-stdin", "--data", "new")
	if code := p.terminate(); code != 0 {
		t.Errorf("ended with %d after SIGTERM, want 0: %s", code, p.err.String())
	}
	again := h.start(call{program: "latchkey", args: "serve --json " + args}, `"issuer"`)
	if strings.Contains(again.err.String(), "ran init") {
		t.Error("it ran init again")
	}
	if n, err := values(again.out.String()); err != nil || n != 1 {
		t.Errorf("serve --json printed %d values (%v): %s", n, err, again.out.String())
	}
	modes(t, h.path("new"))
}

func get(t *testing.T, address string) string {
	t.Helper()
	response, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestSecondServer: one folder has one server, on whatever ports the second would be.
func TestSecondServer(t *testing.T) {
	h := newHouse(t)
	first, http, coap := h.serve("")
	for name, args := range map[string]string{
		"on the same ports": "serve",
		"on other ports":    "serve --http " + freePort(t, "tcp") + " --coap " + freePort(t, "udp"),
	} {
		t.Run(name, func(t *testing.T) {
			r := within(h, t).run(call{program: "latchkey", args: args})
			complains(t, r, "latchkey", serverFolder, "another server runs", "stop it first")
			get(t, "http://"+http+"/jwks")
		})
	}
	other := &house{t: t, dir: t.TempDir()}
	t.Run("another folder on a port that is taken", func(t *testing.T) {
		other := within(other, t)
		other.must("", "latchkey", "init", "--http", http, "--coap", freePort(t, "udp"))
		complains(t, other.run(call{program: "latchkey", args: "serve"}), "latchkey", "serve HTTP", http)
	})
	t.Run("another folder on a CoAP port that is taken", func(t *testing.T) {
		other := within(other, t)
		complains(t, other.run(call{program: "latchkey", args: "serve --http " + freePort(t, "tcp") + " --coap " + coap}), "latchkey", "serve CoAP", coap)
	})
	// A server that lost its power leaves its socket and its lock file behind, and they stop nobody.
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-first.done
	h.serve("")
}

// TestDrain: a request that has begun is answered after SIGTERM, and the server ends with 0.
func TestDrain(t *testing.T) {
	h := newHouse(t)
	p, address, _ := h.serve("")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := "grant_type=client_credentials&client_id=nobody"
	fmt.Fprintf(conn, "POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", len(body), body[:10])
	time.Sleep(100 * time.Millisecond) // for the server to have begun to read
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond) // for the server to have heard
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("it still takes new connections")
	}
	if _, err := io.WriteString(conn, body[10:]); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("the request that had begun was not answered: %v", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusUnauthorized {
		t.Errorf("answered %s, want 401", response.Status)
	}
	<-p.done
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("ended with %d, want 0: %s", code, p.err.String())
	}
	if _, err := os.Stat(h.path(serverFolder, "admin.sock")); err == nil {
		t.Error("the operator's socket is left behind")
	}
}

// TestRevokeWithoutServer: minting has stopped, and nothing is claimed about the lock.
func TestRevokeWithoutServer(t *testing.T) {
	h := newHouse(t)
	grant := h.firstGrant()
	out := h.must("", "latchkey", "grant", "revoke", grant)
	for _, text := range []string{"revoked", "NOT confirmed", "front-door", "no server is running"} {
		if !strings.Contains(out, text) {
			t.Errorf("it says %q, want %q in it", out, text)
		}
	}
	if list := h.must("", "latchkey", "grant", "list"); !strings.Contains(list, "not confirmed") {
		t.Errorf("the list says %q, want not confirmed", list)
	}
	out = h.must("", "latchkey", "grant", "revoke", grant, "--json")
	if !strings.Contains(out, `"confirmed":false`) {
		t.Errorf("it says %s, want confirmed false", out)
	}
}
