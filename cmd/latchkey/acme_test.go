package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// authority is a certificate authority with the part of ACME (RFC 8555) that one certificate needs, and the challenge of
// RFC 8737. It does not verify signatures of requests.
type authority struct {
	t      *testing.T
	http   *httptest.Server
	root   *x509.Certificate
	key    *ecdsa.PrivateKey
	serves string // address of the server that asks, where its names would lead

	mu         sync.Mutex
	thumbprint string
	proven     bool
	issued     []byte
	orders     int
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.root, a.key = newRoot(t)
	mux := http.NewServeMux()
	a.http = httptest.NewTLSServer(mux)
	t.Cleanup(a.http.Close)
	mux.HandleFunc("/directory", func(w http.ResponseWriter, _ *http.Request) {
		a.answer(w, 200, map[string]string{"newNonce": a.at("nonce"), "newAccount": a.at("account"), "newOrder": a.at("order"), "revokeCert": a.at("revoke"), "keyChange": a.at("change")})
	})
	mux.HandleFunc("/nonce", func(w http.ResponseWriter, _ *http.Request) { a.answer(w, 200, nil) })
	for path, serve := range map[string]func(http.ResponseWriter, envelope){
		"/account": a.account, "/order": a.order, "/order/1": a.orderState, "/authz/1": a.authz, "/challenge/1": a.challenge,
		"/finalize/1": a.finalize, "/cert/1": a.certificate,
	} {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) { serve(w, a.open(r)) })
	}
	return a
}

func (a *authority) at(name string) string { return a.http.URL + "/" + name }

// envelope is a request without its signature.
type envelope struct {
	JWK     struct{ Crv, Kty, X, Y string }
	Payload []byte
}

func (a *authority) open(r *http.Request) (e envelope) {
	var jws struct{ Protected, Payload string }
	if err := json.NewDecoder(r.Body).Decode(&jws); err != nil {
		a.t.Errorf("%s: %v", r.URL, err)
	}
	head, err1 := base64.RawURLEncoding.DecodeString(jws.Protected)
	var err2 error
	e.Payload, err2 = base64.RawURLEncoding.DecodeString(jws.Payload)
	if err := errors.Join(err1, err2, json.Unmarshal(head, &e)); err != nil {
		a.t.Errorf("%s: %v", r.URL, err)
	}
	return e
}

func (a *authority) answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Replay-Nonce", fmt.Sprint(time.Now().UnixNano()))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if body != nil {
		_ = json.NewEncoder(w).Encode(body)
	}
}

func (a *authority) account(w http.ResponseWriter, e envelope) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e.JWK.Kty != "" {
		sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":%q,"kty":%q,"x":%q,"y":%q}`, e.JWK.Crv, e.JWK.Kty, e.JWK.X, e.JWK.Y))
		a.thumbprint = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	w.Header().Set("Location", a.at("account/1"))
	a.answer(w, 201, map[string]string{"status": "valid"})
}

func (a *authority) state() map[string]any {
	status := "pending"
	if a.proven {
		status = "ready"
	}
	s := map[string]any{"identifiers": []any{map[string]string{"type": "dns", "value": "home.example"}}, "authorizations": []string{a.at("authz/1")}, "finalize": a.at("finalize/1")}
	if a.issued != nil {
		status = "valid"
		s["certificate"] = a.at("cert/1")
	}
	s["status"] = status
	return s
}

func (a *authority) order(w http.ResponseWriter, e envelope) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.orders++
	if !bytes.Contains(e.Payload, []byte(`"home.example"`)) {
		a.t.Errorf("an order for %s", e.Payload)
	}
	w.Header().Set("Location", a.at("order/1"))
	a.answer(w, 201, a.state())
}

func (a *authority) orderState(w http.ResponseWriter, _ envelope) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w.Header().Set("Location", a.at("order/1"))
	a.answer(w, 200, a.state())
}

const challengeToken = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ"

func (a *authority) authz(w http.ResponseWriter, _ envelope) {
	a.mu.Lock()
	defer a.mu.Unlock()
	status := "pending"
	if a.proven {
		status = "valid"
	}
	a.answer(w, 200, map[string]any{"status": status, "identifier": map[string]string{"type": "dns", "value": "home.example"},
		"challenges": []any{map[string]string{"type": "tls-alpn-01", "url": a.at("challenge/1"), "token": challengeToken, "status": status}}})
}

// challenge calls the name as RFC 8737 §3 says.
func (a *authority) challenge(w http.ResponseWriter, _ envelope) {
	err := a.prove()
	if err != nil {
		a.t.Errorf("challenge: %v", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.proven = err == nil
	a.answer(w, 200, map[string]string{"type": "tls-alpn-01", "url": a.at("challenge/1"), "token": challengeToken, "status": "processing"})
}

func (a *authority) prove() error {
	conn, err := tls.Dial("tcp", a.serves, &tls.Config{ServerName: "home.example", NextProtos: []string{"acme-tls/1"}, InsecureSkipVerify: true})
	if err != nil {
		return err
	}
	defer conn.Close()
	a.mu.Lock()
	want := sha256.Sum256([]byte(challengeToken + "." + a.thumbprint))
	a.mu.Unlock()
	for _, e := range conn.ConnectionState().PeerCertificates[0].Extensions {
		var got []byte
		if !e.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}) {
			continue
		}
		if _, err := asn1.Unmarshal(e.Value, &got); err != nil || !bytes.Equal(got, want[:]) {
			return fmt.Errorf("another proof: %x (%v)", got, err)
		}
		return nil
	}
	return errors.New("the certificate proves nothing")
}

func (a *authority) finalize(w http.ResponseWriter, e envelope) {
	var in struct{ CSR string }
	err := json.Unmarshal(e.Payload, &in)
	der, err2 := base64.RawURLEncoding.DecodeString(in.CSR)
	csr, err3 := x509.ParseCertificateRequest(der)
	if err := errors.Join(err, err2, err3); err != nil {
		a.t.Errorf("finalize: %v", err)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.issued = issue(a.t, a.root, a.key, csr.PublicKey, time.Now().Add(90*24*time.Hour), csr.DNSNames...)
	w.Header().Set("Location", a.at("order/1"))
	a.answer(w, 200, a.state())
}

func (a *authority) certificate(w http.ResponseWriter, _ envelope) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w.Header().Set("Replay-Nonce", fmt.Sprint(time.Now().UnixNano()))
	w.Header().Set("Content-Type", "application/pem-certificate-chain")
	_, _ = w.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.issued}))
	_, _ = w.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.root.Raw}))
}

// TestACME gets a certificate from an authority on loopback, serves with it, and keeps it for the next start.
func TestACME(t *testing.T) {
	a, dir := newAuthority(t), t.TempDir()
	c := defaults()
	c.Issuer, c.ACME, c.ACMEDirectory = "https://home.example", []string{"home.example"}, a.at("directory")
	if errs := c.check(); errs != nil {
		t.Fatal(errs)
	}
	for start := range 2 {
		certs := fromACME(dir, c, a.http.Client())
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		a.mu.Lock()
		a.serves = l.Addr().String()
		a.mu.Unlock()
		server := &http.Server{TLSConfig: certs.tls, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0),
			Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "home") })}
		go func() { _ = server.ServeTLS(l, "", "") }()
		t.Cleanup(func() { _ = server.Close() })
		if start == 0 {
			if f := (&exam{dir: dir, config: c, now: time.Now}).checkCertificate(t.Context()); f[0].Status != warn {
				t.Errorf("before the first start: %+v, want a warning", f)
			}
		}
		if err := certs.warm(); err != nil {
			t.Fatal(err)
		}
		pool := x509.NewCertPool()
		pool.AddCert(a.root)
		conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{ServerName: "home.example", RootCAs: pool})
		if err != nil {
			t.Fatalf("start %d: %v", start, err)
		}
		_ = conn.Close()
		if left := time.Until(certs.Expiry()); left < 89*24*time.Hour {
			t.Errorf("start %d: the certificate's end is in %v, want 90 days", start, left)
		}
		if _, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{ServerName: "other.example", RootCAs: pool}); err == nil {
			t.Error("another name got a certificate")
		}
	}
	if a.orders != 1 {
		t.Errorf("%d orders, want the one of the first start", a.orders)
	}
	if f := (&exam{dir: dir, config: c, now: time.Now}).checkCertificate(t.Context()); f[0].Status != ok || !strings.HasPrefix(f[0].Saw, "until") {
		t.Errorf("doctor says %+v, want ok", f)
	}
	files, err := os.ReadDir(filepath.Join(dir, "acme"))
	if err != nil || len(files) == 0 {
		t.Fatalf("nothing is kept: %v", err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", f.Name(), info.Mode())
		}
	}
}

func newRoot(t *testing.T) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(365 * 24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return root, key
}
