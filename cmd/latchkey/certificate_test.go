package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue makes a server's certificate in DER.
func issue(t *testing.T, root *x509.Certificate, by *ecdsa.PrivateKey, public any, until time.Time, names ...string) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, root, public, by)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// writePair makes cert.pem and key.pem.
func writePair(t *testing.T, dir string, until time.Time, names ...string) {
	t.Helper()
	root, by := newRoot(t)
	key := newKey(t)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	writeFile(t, filepath.Join(dir, "cert.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issue(t, root, by, &key.PublicKey, until, names...)}))
}

func writeFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestNewCertificateIsTaken: files that change are read again, and while they do not fit the old certificate stays.
func TestNewCertificateIsTaken(t *testing.T) {
	dir, c := t.TempDir(), defaults()
	c.TLSCert, c.TLSKey = "cert.pem", "key.pem"
	first, second := time.Now().Add(40*24*time.Hour).Truncate(time.Second), time.Now().Add(80*24*time.Hour).Truncate(time.Second)
	writePair(t, dir, first, "home.example")
	var log strings.Builder
	certs, err := newCertificates(dir, c, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	get := func() time.Time {
		t.Helper()
		got, err := certs.tls.GetCertificate(&tls.ClientHelloInfo{ServerName: "home.example"})
		if err != nil {
			t.Fatal(err)
		}
		return got.Leaf.NotAfter
	}
	if got := get(); !got.Equal(first) || !certs.Expiry().Equal(first) {
		t.Errorf("got %v, want the first", got)
	}
	old, err := os.ReadFile(filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	writePair(t, dir, second, "home.example")
	fresh, err := os.ReadFile(filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "key.pem"), append(old, '\n')) // the new certificate with the old key
	for range 3 {
		if got := get(); !got.Equal(first) {
			t.Errorf("half a change: got %v, want the first", got)
		}
	}
	if n := strings.Count(log.String(), "cannot be used"); n != 1 {
		t.Errorf("complained %d times, want once: %s", n, log.String())
	}
	if err := os.Remove(filepath.Join(dir, "key.pem")); err != nil {
		t.Fatal(err)
	}
	if got := get(); !got.Equal(first) {
		t.Errorf("no key: got %v, want the first", got)
	}
	writeFile(t, filepath.Join(dir, "key.pem"), fresh)
	if err := os.Chmod(filepath.Join(dir, "key.pem"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := get(); !got.Equal(first) {
		t.Errorf("a key that others read: got %v, want the first", got)
	}
	if err := os.Chmod(filepath.Join(dir, "key.pem"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := get(); !got.Equal(second) || !certs.Expiry().Equal(second) {
		t.Errorf("got %v, want the second", got)
	}
}

func TestCertificateIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, dir string){
		"readable by others": func(t *testing.T, dir string) {
			if err := os.Chmod(filepath.Join(dir, "key.pem"), 0o640); err != nil {
				t.Fatal(err)
			}
		},
		"another key": func(t *testing.T, dir string) {
			other := t.TempDir()
			writePair(t, other, time.Now().Add(time.Hour), "home.example")
			key, err := os.ReadFile(filepath.Join(other, "key.pem"))
			if err != nil {
				t.Fatal(err)
			}
			writeFile(t, filepath.Join(dir, "key.pem"), key)
		},
		"no certificate": func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, "cert.pem"), []byte("x")) },
		"cut off":        func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, "key.pem"), nil) },
		"missing": func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "cert.pem")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, c := t.TempDir(), defaults()
			c.TLSCert, c.TLSKey = "cert.pem", filepath.Join(dir, "key.pem")
			writePair(t, dir, time.Now().Add(time.Hour), "home.example")
			spoil(t, dir)
			if _, err := newCertificates(dir, c, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "tls_") {
				t.Errorf("got %v, want an error that names the setting", err)
			}
			c.Issuer = "https://home.example"
			if f := (&exam{dir: dir, config: c, now: time.Now}).checkCertificate(t.Context()); f[0].Status != fail || f[0].Cure == "" {
				t.Errorf("doctor says %+v, want a failure with its cure", f)
			}
		})
	}
}

// TestUrgency is F124 on a fake clock, in the doctor's words.
func TestUrgency(t *testing.T) {
	dir, c := t.TempDir(), defaults()
	c.Issuer, c.TLSCert, c.TLSKey = "https://home.example", "cert.pem", "key.pem"
	const day = 24 * time.Hour
	end := time.Now().Add(90 * day)
	writePair(t, dir, end, "home.example")
	for _, row := range []struct {
		before time.Duration
		level  string
		want   status
	}{
		{31 * day, "", ok}, {30*day + time.Minute, "", ok}, {30 * day, "soon", warn}, {14*day + time.Minute, "soon", warn},
		{14 * day, "now", warn}, {3*day + time.Minute, "now", warn}, {3 * day, "late", fail}, {-time.Minute, "late", fail}, {92 * day, "", fail},
	} {
		now := end.Add(-row.before)
		if row.before <= 31*day {
			if got := urgency(end, now); got != row.level {
				t.Errorf("%v before: got %q, want %q", row.before, got, row.level)
			}
		}
		e := &exam{dir: dir, config: c, now: func() time.Time { return now.Truncate(time.Second) }}
		if f := e.checkCertificate(t.Context())[0]; f.Status != row.want || (f.Cure == "") != (row.want == ok) {
			t.Errorf("%v before: got %+v, want %s", row.before, f, row.want)
		}
	}
	c.Issuer = "https://other.example"
	if f := (&exam{dir: dir, config: c, now: time.Now}).checkCertificate(t.Context())[0]; f.Status != fail || !strings.Contains(f.Saw, "other.example") {
		t.Errorf("another name: got %+v, want a failure", f)
	}
}

// TestClientCA: who may say what an app is, in the doctor's words.
func TestClientCA(t *testing.T) {
	root, by := newRoot(t)
	key := newKey(t)
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw})
	leaf := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issue(t, root, by, &key.PublicKey, time.Now().Add(time.Hour), "app.example")})
	for _, row := range []struct {
		name    string
		content []byte
		mode    os.FileMode
		now     time.Time
		want    status
		serves  bool
	}{
		{"good", authority, 0o644, root.NotBefore, ok, true},
		{"missing", nil, 0, root.NotBefore, fail, false},
		{"empty", []byte{}, 0o600, root.NotBefore, fail, false},
		{"no PEM", []byte("authority"), 0o600, root.NotBefore, fail, false},
		{"a certificate of no authority", leaf, 0o600, root.NotBefore, fail, false},
		{"one of two", append(slices.Clone(authority), leaf...), 0o600, root.NotBefore, fail, false},
		{"a broken one beside", append(slices.Clone(authority), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"...), 0o600, root.NotBefore, fail, false},
		{"others can change it", authority, 0o666, root.NotBefore, fail, true},
		{"it ended", authority, 0o600, root.NotAfter.Add(time.Second), fail, true},
		{"it ends soon", authority, 0o600, root.NotAfter.Add(-time.Hour), warn, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir, c := t.TempDir(), defaults()
			c.ClientCA = "apps.pem"
			if row.content != nil {
				writeFile(t, filepath.Join(dir, c.ClientCA), row.content)
				if err := os.Chmod(filepath.Join(dir, c.ClientCA), row.mode); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := c.clientRoots(dir); (err == nil) != row.serves || err != nil && !strings.HasPrefix(err.Error(), "client_ca: ") {
				t.Errorf("serve says %v, want it to start: %v", err, row.serves)
			}
			f := (&exam{dir: dir, config: c, now: func() time.Time { return row.now }}).checkClientCA(t.Context())[0]
			if f.Status != row.want || (f.Cure == "") != (row.want == ok) {
				t.Errorf("doctor says %+v, want %s", f, row.want)
			}
		})
	}
}
