package cli_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/scenarios/stage"
)

// writeCertificate makes NAME.pem and NAME-key.pem for localhost, signed by itself, and returns the certificate.
func (h *house) writeCertificate(name string, life time.Duration) tls.Certificate {
	h.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		h.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		h.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		h.t.Fatal(err)
	}
	h.write(name+"-key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	h.write(name+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		h.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// TestHTTPS serves from files: modern TLS only, clients may show any certificate, new files are taken without a restart.
func TestHTTPS(t *testing.T) {
	h := newHouse(t)
	first := h.writeCertificate("server/tls", 90*24*time.Hour)
	address := freePort(t, "tcp")
	_, port, _ := net.SplitHostPort(address)
	issuer := "https://localhost:" + port
	h.write("server/latchkey.toml", "issuer = '"+issuer+"'\nhttp = '"+address+"'\ncoap = '"+freePort(t, "udp")+"'\ntls_cert = 'tls.pem'\ntls_key = 'tls-key.pem'\n")
	p := h.start(call{program: "latchkey", args: "serve --json"}, `"https"`)
	if !strings.Contains(p.out.String(), `"https":"`+address+`"`) {
		t.Errorf("it says %s", p.out.String())
	}
	pool := x509.NewCertPool()
	pool.AddCert(first.Leaf)
	app := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{h.writeCertificate("app", time.Hour)}}, ForceAttemptHTTP2: true}}
	response, err := app.Get(issuer + "/.well-known/oauth-authorization-server")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if response.Proto != "HTTP/2.0" || !strings.Contains(string(body), `"issuer":"`+issuer+`"`) {
		t.Errorf("%s %s", response.Proto, body)
	}
	if got := response.Header.Get("Strict-Transport-Security"); got != "max-age=31536000" {
		t.Errorf("Strict-Transport-Security %q", got)
	}
	if conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		_ = conn.Close()
		t.Error("TLS 1.1 is served")
	}
	if response, err := http.Get("http://" + address + "/jwks"); err == nil {
		_ = response.Body.Close()
		if response.StatusCode != http.StatusBadRequest {
			t.Errorf("plain HTTP is answered with %s", response.Status)
		}
	}
	r := h.run(call{program: "latchkey", args: "doctor", env: []string{"SSL_CERT_FILE=" + h.path("server", "tls.pem")}})
	if r.code != 0 || !strings.Contains(r.out, issuer+" answers") || !strings.Contains(r.out, "is served") || strings.Contains(r.out, "warn") {
		t.Errorf("doctor ended with %d: %s%s", r.code, r.out, r.err)
	}
	second := h.writeCertificate("server/tls", 20*24*time.Hour)
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if !conn.ConnectionState().PeerCertificates[0].Equal(second.Leaf) {
		t.Error("the old certificate is still served")
	}
	r = h.run(call{program: "latchkey", args: "doctor", env: []string{"SSL_CERT_FILE=" + h.path("server", "tls.pem")}})
	if r.code != 0 || !strings.Contains(r.out, "it ends in 20 days") {
		t.Errorf("doctor ended with %d: %s%s", r.code, r.out, r.err)
	}
}

// from makes requests whose source is one of this machine's own addresses.
func from(address string) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
}

// TestBehindAProxy: with a declared proxy, plain HTTP on all addresses is for that proxy alone.
func TestBehindAProxy(t *testing.T) {
	h := newHouse(t)
	_, port, _ := net.SplitHostPort(freePort(t, "tcp"))
	h.start(call{program: "latchkey", args: "serve --issuer https://home.example --http 0.0.0.0:" + port + " --proxies 127.0.0.2 --proxies 10.0.0.0/8"}, "serving ")
	for source, want := range map[string]int{"127.0.0.1": http.StatusForbidden, "127.0.0.2": http.StatusOK, "127.0.0.3": http.StatusForbidden} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+port+"/jwks", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Forwarded-For", "127.0.0.2")
		response, err := from(source).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("from %s: %s, want %d", source, response.Status, want)
		}
		if hsts := response.Header.Get("Strict-Transport-Security"); want == http.StatusOK && hsts == "" {
			t.Error("the proxy is not told to stay with https")
		}
	}
}

// sockets are the local addresses on which a process listens or receives, from /proc.
func sockets(t *testing.T, pid int) []string {
	t.Helper()
	mine := map[string]bool{}
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if to, err := os.Readlink(f); err == nil && strings.HasPrefix(to, "socket:[") {
			mine[strings.Trim(strings.TrimPrefix(to, "socket:"), "[]")] = true
		}
	}
	open := map[string]bool{}
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			continue // no IPv6 here
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) < 10 || !mine[f[9]] || strings.HasPrefix(table, "tcp") && f[3] != "0A" {
				continue
			}
			var port int
			if _, err := fmt.Sscanf(f[1][strings.LastIndex(f[1], ":")+1:], "%X", &port); err != nil {
				t.Fatal(err)
			}
			open[fmt.Sprintf("%s:%d", strings.TrimSuffix(table, "6"), port)] = true
		}
	}
	return slices.Sorted(maps.Keys(open))
}

// TestOpenPorts: a plain start opens the two doors that it names and no other (F119).
func TestOpenPorts(t *testing.T) {
	h := newHouse(t)
	p, address, coap := h.serve("")
	_, web, _ := net.SplitHostPort(address)
	_, devices, _ := net.SplitHostPort(coap)
	if got, want := sockets(t, p.cmd.Process.Pid), []string{"tcp:" + web, "udp:" + devices}; !slices.Equal(got, want) {
		t.Errorf("open: %v, want %v", got, want)
	}
	if code := p.terminate(); code != 0 {
		t.Fatalf("ended with %d", code)
	}
	watched := freePort(t, "tcp")
	_, third, _ := net.SplitHostPort(watched)
	p, _, _ = h.serve("--admin " + watched)
	want := []string{"tcp:" + web, "tcp:" + third, "udp:" + devices}
	slices.Sort(want)
	if got := sockets(t, p.cmd.Process.Pid); !slices.Equal(got, want) {
		t.Errorf("open with --admin: %v, want %v", got, want)
	}
	for path, status := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 200, "/api/v1/grants/0/revoke": 404, "/token": 404, "/": 404} {
		if got, _ := ask(t, "http://"+watched+path); got != status {
			t.Errorf("%s: %d, want %d", path, got, status)
		}
	}
	overSocket := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", h.path(serverFolder, "admin.sock"))
	}}}
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		response, err := overSocket.Get("http://latchkey" + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s over the socket: %s", path, response.Status)
		}
	}
}

// ask gets a page and returns its status and content.
func ask(t *testing.T, address string) (int, string) {
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
	return response.StatusCode, string(body)
}

// eventually waits for a status and, unless it is "", a first line.
func eventually(t *testing.T, address string, status int, line string) {
	t.Helper()
	var got int
	var body string
	err := stage.Eventually(startTime, func() bool {
		response, err := http.Get(address)
		if err != nil {
			return false
		}
		defer response.Body.Close()
		got = response.StatusCode
		body, _ = bufio.NewReader(response.Body).ReadString('\n')
		return got == status && (line == "" || strings.TrimSpace(body) == line)
	})
	if err != nil {
		t.Fatalf("%s: last %d %q, want %d %q", address, got, body, status, line)
	}
}
