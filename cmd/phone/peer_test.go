package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/cmd/internal/keyfile"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
)

const (
	// RFC 8613 C.1: the client's Sender ID is empty.
	keysC1   = `{"master_secret":"0102030405060708090a0b0c0d0e0f10","master_salt":"9e7ca92223786340","client_id":"","server_id":"01"}`
	keysC3   = `{"master_secret":"0102030405060708090a0b0c0d0e0f10","master_salt":"9e7ca92223786340","client_id":"","server_id":"01","id_context":"37cbf3210017a2d3"}`
	keysPSK  = `{"psk_identity":"alice","psk":"7369787465656e2062797465206b6579"}`
	textPSK  = "sixteen byte key"
	greeting = "hello from latchkey"
)

func keyFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// phoneSays runs the command and returns what it printed on standard output and standard error.
func phoneSays(t *testing.T, args ...string) (out, trace string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var stdout, stderr bytes.Buffer
	c := root()
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetOut(&stdout)
	c.SetErr(&stderr)
	c.SetArgs(args)
	err = c.ExecuteContext(ctx)
	return stdout.String(), stderr.String(), err
}

func mustSay(t *testing.T, want string, args ...string) {
	t.Helper()
	out, _, err := phoneSays(t, args...)
	if err != nil || out != want {
		t.Fatalf("phone %.100q: got %.100q, %v; want %.100q", args, out, err, want)
	}
}

// lines hands on what a running command prints.
type lines struct {
	once  sync.Once
	first chan string
}

func (l *lines) Write(p []byte) (int, error) {
	l.once.Do(func() { l.first <- string(p) })
	return len(p), nil
}

// peerServes runs peer serve and returns its address. stop ends it and waits.
func peerServes(t *testing.T, args ...string) (uri string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, ended := &lines{first: make(chan string, 1)}, make(chan error, 1)
	c := root()
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetOut(out)
	c.SetErr(&bytes.Buffer{})
	c.SetArgs(append([]string{"peer", "serve", "--json"}, args...))
	go func() { ended <- c.ExecuteContext(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("peer serve: %v", err)
		}
	})
	select {
	case line := <-out.first:
		var said serving
		if err := json.Unmarshal([]byte(line), &said); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
		return said.Address, stop
	case err := <-ended:
		t.Fatalf("peer serve: %v", err)
	}
	return "", nil
}

func TestPeer(t *testing.T) {
	long := strings.Repeat("0123456789", 1024)
	for name, keys := range map[string]string{"OSCORE": keysC1, "OSCORE with ID context": keysC3, "DTLS": keysPSK} {
		t.Run(name, func(t *testing.T) {
			file := keyFile(t, keys)
			uri, _ := peerServes(t, "--import", file, "--listen", "127.0.0.1:0")
			mustSay(t, "Content "+greeting+"\n", "peer", "get", uri+"/hello", "--import", file)
			mustSay(t, "Changed 10240 bytes\n", "peer", "put", uri+"/echo", "--import", file, "--data", long)
			mustSay(t, "Content "+long+"\n", "peer", "get", uri+"/echo", "--import", file)
			mustSay(t, `{"code":"Content","text":"`+greeting+"\"}\n", "peer", "get", uri+"/hello", "--import", file, "--json")
			if out, _, err := phoneSays(t, "peer", "post", uri+"/hello", "--import", file); err == nil || out != "MethodNotAllowed \n" {
				t.Errorf("POST /hello: got %q, %v", out, err)
			}
			if out, _, err := phoneSays(t, "peer", "get", uri+"/nothing", "--import", file); err == nil || out != "NotFound \n" {
				t.Errorf("GET /nothing: got %q, %v", out, err)
			}
		})
	}
}

func TestPeerNonConfirmable(t *testing.T) {
	file := keyFile(t, keysC1)
	uri, _ := peerServes(t, "--import", file, "--listen", "127.0.0.1:0")
	mustSay(t, "Content "+greeting+"\n", "peer", "get", uri+"/hello", "--import", file, "--non")

	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(t.Context())
	c, ended := root(), make(chan error, 1)
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetArgs([]string{"peer", "get", "coap://" + conn.LocalAddr().String(), "--import", file, "--non"})
	go func() { ended <- c.ExecuteContext(ctx) }()
	datagram := make([]byte, 100)
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, _, err := conn.ReadFrom(datagram)
	cancel()
	if err != nil || n < 2 || datagram[0]&0xf0 != 0x50 {
		t.Errorf("got %x, %v; want version 1, type NON", datagram[:n], err)
	}
	if err := <-ended; err == nil {
		t.Error("no error without an answer")
	}
}

func TestPeerObserve(t *testing.T) {
	file := keyFile(t, keysC1)
	uri, _ := peerServes(t, "--import", file, "--listen", "127.0.0.1:0")
	out, _, err := phoneSays(t, "peer", "get", uri+"/time", "--import", file, "--observe", "3")
	if err != nil || strings.Count(out, "Content 20") != 3 {
		t.Fatalf("got %q, %v; want three times", out, err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(out) {
		seen[line] = true
	}
	if len(seen) != 3 {
		t.Errorf("got %q, want three different times", out)
	}
	if _, _, err := phoneSays(t, "peer", "get", uri+"/hello", "--import", file, "--observe", "2"); err == nil || !strings.Contains(err.Error(), "after 1 answers") {
		t.Errorf("observing what cannot be observed: got %v", err)
	}
}

var airborne = regexp.MustCompile(`out: [^\n]* OSCORE:h'([0-9a-f]+)'`)

// TestPeerRestarts: neither end uses a sequence number twice, whatever ends and begins again, and the server trusts no
// request that may be a replay.
func TestPeerRestarts(t *testing.T) {
	file, used := keyFile(t, keysC1), map[string]bool{}
	for range 3 {
		uri, stop := peerServes(t, "--import", file, "--listen", "127.0.0.1:0")
		for range 2 {
			out, trace, err := phoneSays(t, "peer", "get", uri+"/hello", "--import", file, "-vv")
			if err != nil || out != "Content "+greeting+"\n" {
				t.Fatalf("got %q, %v", out, err)
			}
			sent := airborne.FindAllStringSubmatch(trace, -1)
			if len(sent) == 0 {
				t.Fatalf("no request in the trace: %s", trace)
			}
			for _, option := range sent {
				if used[option[1]] {
					t.Fatalf("OSCORE option %s was sent twice: nonce and key repeat", option[1])
				}
				used[option[1]] = true
			}
		}
		stop()
	}
	if len(used) != 8 { // six requests, two of them repeated with an Echo by a client that found a server without window
		t.Errorf("got %d different options, want 8: %v", len(used), used)
	}
}

func TestPeerOneRunAtATime(t *testing.T) {
	file := keyFile(t, keysC1)
	uri, _ := peerServes(t, "--import", file, "--listen", "127.0.0.1:0")
	if _, _, err := phoneSays(t, "peer", "serve", "--import", file, "--listen", "127.0.0.1:0"); err == nil || !strings.Contains(err.Error(), "another run") {
		t.Errorf("a second server with the same keys: got %v", err)
	}
	if err := os.WriteFile(file+".client.seq", []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := phoneSays(t, "peer", "get", uri+"/hello", "--import", file); err == nil || !strings.Contains(err.Error(), "journal") {
		t.Errorf("a damaged journal: got %v", err)
	}
}

func TestPeerRefuses(t *testing.T) {
	file := keyFile(t, keysC1)
	uri, _ := peerServes(t, "--import", file, "--listen", "127.0.0.1:0")
	other := keyFile(t, strings.Replace(keysC1, "0f10", "0f11", 1))
	stranger := keyFile(t, strings.Replace(keysC1, `"client_id":""`, `"client_id":"05"`, 1))
	psk, open := keyFile(t, keysPSK), keyFile(t, keysC1)
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name string
		args []string
		says string
	}{
		{"another secret", []string{"get", uri + "/hello", "--import", other}, "unprotected answer"},
		{"another client id", []string{"get", uri + "/hello", "--import", stranger}, "unprotected answer 4.01"},
		{"a file that others can read", []string{"get", uri + "/hello", "--import", open}, "chmod 600"},
		{"no file", []string{"get", uri + "/hello", "--import", file + "x"}, "no such file"},
		{"no keys", []string{"get", uri + "/hello"}, "--import FILE"},
		{"serve without keys", []string{"serve"}, "--import FILE"},
		{"a psk for coap", []string{"get", uri + "/hello", "--import", psk}, "coaps://"},
		{"a context for coaps", []string{"get", "coaps://127.0.0.1/hello", "--import", file}, "psk_identity"},
		{"non over DTLS", []string{"get", "coaps://127.0.0.1/hello", "--import", psk, "--non"}, "--non"},
		{"another scheme", []string{"get", "http://127.0.0.1/hello", "--import", file}, "coap://HOST"},
		{"a slash inside a segment", []string{"get", uri + "/a%2Fb", "--import", file}, "segment"},
		{"too much data", []string{"put", uri + "/echo", "--import", file, "--data", strings.Repeat("x", 65537)}, "at most 65536"},
	} {
		t.Run(row.name, func(t *testing.T) {
			out, _, err := phoneSays(t, append([]string{"peer"}, row.args...)...)
			if err == nil || !strings.Contains(err.Error(), row.says) || out != "" {
				t.Errorf("got %q, %v; want an error with %q", out, err, row.says)
			}
		})
	}
}

// fresh is a server that makes its contexts by RFC 8613 appendix B.2, as latchkey serve does.
type fresh struct{ *coapsec.Channel }

func (f fresh) Find([]byte, []byte, bool) (coapsec.Association, bool) { return f.Channel, true }

func TestPeerRenews(t *testing.T) {
	file := keyFile(t, keysC1)
	keys, err := keyfile.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	table := fresh{coapsec.NewChannel(keys.Server(), coapsec.ChannelOptions{})}
	hello := &peerThings{stopping: t.Context().Done()}
	e := coapsec.NewEndpoint(conn, coapsec.NewSecurity(table, coapsec.HandlerFunc(unprotected), hello, coapsec.SecurityOptions{}), coapsec.EndpointOptions{})
	go func() { _ = e.Serve(context.Background()) }() // ends with Close
	defer e.Close()
	uri := "coap://" + e.LocalAddr().String() + "/hello"
	for range 2 {
		mustSay(t, "Content "+greeting+"\n", "peer", "get", uri, "--import", file, "--b2")
	}
	if _, err := os.Stat(file + ".client.seq"); err == nil {
		t.Error("fresh contexts need no journal")
	}
	if _, _, err := phoneSays(t, "peer", "get", uri, "--import", file); err == nil || !strings.Contains(err.Error(), "unprotected answer 4.01") {
		t.Errorf("without --b2: got %v, want 4.01", err)
	}
}

// libcoap runs its client, which has DTLS and no OSCORE as Debian builds it.
func libcoap(t *testing.T, program string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%s is missing: install Debian's libcoap3-bin, as make test does", program)
	}
	out, err := exec.CommandContext(t.Context(), path, append([]string{"-B", "5"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", program, args, err, out)
	}
	return string(out)
}

func TestLibcoapAgainstPeer(t *testing.T) {
	uri, _ := peerServes(t, "--import", keyFile(t, keysPSK), "--listen", "127.0.0.1:0")
	body := strings.Repeat("0123456789", 1024)
	file := keyFile(t, body)
	alice := []string{"-u", "alice", "-k", textPSK}
	ask := func(args ...string) string { return libcoap(t, "coap-client-openssl", append(alice, args...)...) }
	if got := ask(uri + "/hello"); got != greeting+"\n" {
		t.Errorf("GET /hello: got %q", got)
	}
	if got := ask("-m", "put", "-f", file, uri+"/echo"); got != "10240 bytes\n" {
		t.Errorf("PUT /echo: got %q", got)
	}
	if got := ask(uri + "/echo"); got != body+"\n" {
		t.Errorf("GET /echo: got %d bytes, want 10240", len(got)-1)
	}
	if got := ask("-s", "2", "-w", uri+"/time"); strings.Count(got, "T") < 2 {
		t.Errorf("observe /time: got %q, want two times or more", got)
	}
	if got := libcoap(t, "coap-client-openssl", "-u", "alice", "-k", "sixteen byte kex", "-B", "2", uri+"/hello"); strings.Contains(got, greeting) {
		t.Errorf("with a wrong key: got %q", got)
	}
	plain, _ := peerServes(t, "--import", keyFile(t, keysC1), "--listen", "127.0.0.1:0")
	if got := libcoap(t, "coap-client-notls", plain+"/hello"); !strings.HasPrefix(got, "4.01") {
		t.Errorf("unprotected: got %q, want 4.01", got)
	}
}
