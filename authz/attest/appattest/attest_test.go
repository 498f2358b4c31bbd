package appattest_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/authz/attest/appattest"
)

// TestTheSystemsRootsAreNotUsed stands first, because crypto/x509 reads the system's roots once. Nothing else here lets it.
func TestTheSystemsRootsAreNotUsed(t *testing.T) {
	a, e := newApple(t), genuine(t)
	file := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.root.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", file)
	v := &appattest.Verifier{Apps: []string{ourApp}}
	if k, err := v.Attest(e.object(t, a), e.CredentialID, clientData, now); !errors.Is(err, appattest.ErrRoot) {
		t.Errorf("got %v, %v, want %v", k, err, appattest.ErrRoot)
	}
}

func TestAttest(t *testing.T) {
	a := newApple(t)
	tests := []struct {
		name        string
		change      func(*attestation)
		development bool
	}{
		{name: "iOS 27", change: func(*attestation) {}},
		{name: "iOS 27, with the flag for extensions", change: func(e *attestation) { e.Flags = 0xc0 }},
		{name: "iOS 14 to 26", change: func(e *attestation) { e.Extensions = nil }},
		{name: "signed for development", change: func(e *attestation) { e.Extensions = extensions(3) }, development: true},
		{name: "attested in the development environment", change: func(e *attestation) { e.Environment = debugging; e.Extensions = nil }, development: true},
		{name: "extensions not known today", change: func(e *attestation) { e.Extensions = slices.Concat(head(5, 1), text("new"), head(5, 0)) }},
		{name: "a category as a number", change: func(e *attestation) {
			e.Extensions = slices.Concat(head(5, 1), text("apple_validation_category_01"), []byte{3})
		}, development: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := genuine(t)
			tt.change(e)
			v := a.verifier()
			v.Development = tt.development
			object := e.object(t, a)
			k, err := v.Attest(object, e.CredentialID, clientData, now)
			if err != nil {
				t.Fatal(err)
			}
			if !k.Public.Equal(e.Key.Public()) || !bytes.Equal(k.ID, e.CredentialID) || k.App != ourApp || k.Development != tt.development {
				t.Errorf("got %+v", k)
			}
			if v.Development = false; tt.development {
				if _, err := v.Attest(object, e.CredentialID, clientData, now); !errors.Is(err, appattest.ErrDevelopment) {
					t.Errorf("in production: got %v, want %v", err, appattest.ErrDevelopment)
				}
			}
		})
	}
}

func TestVerdict(t *testing.T) {
	at := now.Add(300 * time.Millisecond)
	for development, system := range map[bool]attest.System{false: attest.SystemUnknown, true: attest.SystemDegraded} {
		k := appattest.Key{App: ourApp, Development: development}
		want := attest.Verdict{Kind: attest.AppAttest, App: ourApp, Key: attest.KeyHardware, System: system, At: now}
		if got := k.Verdict(at); got != want {
			t.Errorf("development %v: got %+v, want %+v", development, got, want)
		}
	}
}

// TestAttestRefuses: each row is a genuine attestation with one flaw, certified by Apple all the same.
func TestAttestRefuses(t *testing.T) {
	a, stranger := newApple(t), newApple(t)
	other := generate(t, elliptic.P256())
	tests := []struct {
		name   string
		change func(*attestation)
		want   error
	}{
		{"an app of another team", func(e *attestation) { e.App = "B1B2C3D4E5.com.example.latchkey" }, appattest.ErrApp},
		{"another app of the team", func(e *attestation) { e.App = "A1B2C3D4E5.com.example.latchkey2" }, appattest.ErrApp},
		{"an app without a name", func(e *attestation) { e.App = "" }, appattest.ErrApp},
		{"a development build", func(e *attestation) { e.Environment = debugging }, appattest.ErrDevelopment},
		{"signed for development", func(e *attestation) { e.Extensions = extensions(3) }, appattest.ErrDevelopment},
		{"an unknown environment", func(e *attestation) { e.Environment = "appattestsandbox" }, appattest.ErrMalformed},
		{"another challenge", func(e *attestation) { e.ClientData = []byte("client data with a Challenge") }, appattest.ErrChallenge},
		{"a counter of 1", func(e *attestation) { e.Counter = 1 }, appattest.ErrCounter},
		{"another credential id", func(e *attestation) { e.CredentialID = keyID(t, other) }, appattest.ErrKeyID},
		{"a short credential id", func(e *attestation) { e.CredentialID = e.CredentialID[:31]; e.Extensions = make([]byte, 1) }, appattest.ErrMalformed},
		{"another credential key", func(e *attestation) {
			p := must(other.PublicKey.Bytes())
			e.COSE = cose(p[1:33], p[33:])
		}, appattest.ErrKeyID},
		{"no credential flag", func(e *attestation) { e.Flags = 0 }, appattest.ErrMalformed},
		{"a flag for extensions that are not there", func(e *attestation) { e.Flags = 0xc0; e.Extensions = nil }, appattest.ErrMalformed},
		{"extensions that are no map", func(e *attestation) { e.Extensions = []byte{0x80} }, appattest.ErrMalformed},
		{"extensions that are null", func(e *attestation) { e.Extensions = []byte{0xf6} }, appattest.ErrMalformed},
		{"bytes after the extensions", func(e *attestation) { e.Extensions = append(e.Extensions, 0) }, appattest.ErrMalformed},
		{"an extension twice", func(e *attestation) {
			e.Extensions = slices.Concat(head(5, 2), text("x"), head(0, 1), text("x"), head(0, 2))
		}, appattest.ErrMalformed},
		{"a category of three bytes", func(e *attestation) {
			e.Extensions = slices.Concat(head(5, 1), text("apple_validation_category_01"), bstr([]byte{3, 0, 0}))
		}, appattest.ErrMalformed},
		{"a category of text", func(e *attestation) {
			e.Extensions = slices.Concat(head(5, 1), text("apple_validation_category_01"), text("0003"))
		}, appattest.ErrMalformed},
		{"extensions too long", func(e *attestation) {
			e.Extensions = slices.Concat(head(5, 1), text("x"), bstr(make([]byte, 512)))
		}, appattest.ErrMalformed},
		{"another format", func(e *attestation) { e.Format = "apple" }, appattest.ErrMalformed},
		{"no receipt", func(e *attestation) { e.Receipt = nil }, appattest.ErrMalformed},
		{"too long", func(e *attestation) { e.Receipt = make([]byte, appattest.MaxObject) }, appattest.ErrMalformed},

		{"certificates the other way round", func(e *attestation) {
			e.Chain = func(leaf, issuer []byte) [][]byte { return [][]byte{issuer, leaf} }
		}, appattest.ErrRoot},
		{"the leaf alone", func(e *attestation) {
			e.Chain = func(leaf, _ []byte) [][]byte { return [][]byte{leaf} }
		}, appattest.ErrMalformed},
		{"no certificates", func(e *attestation) {
			e.Chain = func([]byte, []byte) [][]byte { return nil }
		}, appattest.ErrMalformed},
		{"the root added", func(e *attestation) {
			e.Chain = func(leaf, issuer []byte) [][]byte { return [][]byte{leaf, issuer, a.root.Raw} }
		}, appattest.ErrMalformed},
		{"the root in place of the intermediate", func(e *attestation) {
			e.Chain = func(leaf, _ []byte) [][]byte { return [][]byte{leaf, a.root.Raw} }
		}, appattest.ErrRoot},
		{"the leaf twice", func(e *attestation) {
			e.Chain = func(leaf, _ []byte) [][]byte { return [][]byte{leaf, leaf} }
		}, appattest.ErrRoot},
		{"the intermediate of another root", func(e *attestation) {
			e.Chain = func(leaf, _ []byte) [][]byte { return [][]byte{leaf, stranger.intermediate.Raw} }
		}, appattest.ErrRoot},
		{"a byte after a certificate", func(e *attestation) {
			e.Chain = func(leaf, issuer []byte) [][]byte { return [][]byte{append(leaf, 0), issuer} }
		}, appattest.ErrMalformed},
		{"a long certificate", func(e *attestation) {
			e.Leaf.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: make([]byte, 4<<10)}}
		}, appattest.ErrMalformed},

		{"an expired leaf", func(e *attestation) { e.Leaf.NotAfter = now.Add(-time.Second) }, appattest.ErrExpired},
		{"a leaf of the future", func(e *attestation) { e.Leaf.NotBefore = now.Add(time.Second) }, appattest.ErrExpired},
		{"an authority for a leaf", func(e *attestation) { e.Leaf.IsCA = true; e.Leaf.KeyUsage |= x509.KeyUsageCertSign }, appattest.ErrRoot},
		{"SHA-1", func(e *attestation) { e.Leaf.SignatureAlgorithm = x509.ECDSAWithSHA1 }, appattest.ErrAlgorithm},
		{"a leaf for RSA", func(e *attestation) { e.Key = must(rsa.GenerateKey(rand.Reader, 2048)) }, appattest.ErrAlgorithm},
		{"a leaf for P-384", func(e *attestation) { e.Key = generate(t, elliptic.P384()) }, appattest.ErrAlgorithm},
		{"a leaf for another key", func(e *attestation) { e.Key = other }, appattest.ErrKeyID},
		{"a leaf and credential for another key, under the right id", func(e *attestation) {
			p := must(other.PublicKey.Bytes())
			e.Key, e.COSE = other, cose(p[1:33], p[33:])
		}, appattest.ErrKeyID},
		{"an unknown critical extension", func(e *attestation) {
			e.Leaf.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}, appattest.ErrMalformed},
		{"no nonce", func(e *attestation) { e.NonceExtension = []byte{} }, appattest.ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := genuine(t)
			id := e.CredentialID
			tt.change(e)
			k, err := a.verifier().Attest(e.object(t, a), id, clientData, now)
			if !errors.Is(err, tt.want) || k != nil {
				t.Errorf("got %v, %v, want %v", k, err, tt.want)
			}
		})
	}
}

// TestAttestRefusesWhatItWasNotAsked: a good attestation, and a verifier or caller that wants another one.
func TestAttestRefusesWhatItWasNotAsked(t *testing.T) {
	a := newApple(t)
	e := genuine(t)
	object := e.object(t, a)
	type call struct {
		*appattest.Verifier
		id, data []byte
		at       time.Time
	}
	tests := []struct {
		name   string
		change func(*call)
		want   error
	}{
		{"nothing else", func(*call) {}, nil},
		{"another root", func(c *call) { c.Roots = newApple(t).verifier().Roots }, appattest.ErrRoot},
		{"the intermediate for a root", func(c *call) { c.Roots = x509.NewCertPool(); c.Roots.AddCert(a.intermediate) }, appattest.ErrRoot},
		{"the leaf for a root", func(c *call) { c.Roots = x509.NewCertPool(); c.Roots.AddCert(leafOf(object)) }, appattest.ErrRoot},
		{"an empty pool", func(c *call) { c.Roots = x509.NewCertPool() }, appattest.ErrRoot},
		{"no pool", func(c *call) { c.Roots = nil }, appattest.ErrRoot},
		{"no apps", func(c *call) { c.Apps = nil }, appattest.ErrApp},
		{"nothing allowed", func(c *call) { c.Verifier = &appattest.Verifier{} }, appattest.ErrRoot},
		{"another challenge", func(c *call) { c.data = []byte("client data with another") }, appattest.ErrChallenge},
		{"no challenge", func(c *call) { c.data = nil }, appattest.ErrChallenge},
		{"another key id", func(c *call) { c.id = keyID(t, generate(t, elliptic.P256())) }, appattest.ErrKeyID},
		{"a part of the key id", func(c *call) { c.id = c.id[:31] }, appattest.ErrKeyID},
		{"no key id", func(c *call) { c.id = nil }, appattest.ErrKeyID},
		{"the last second", func(c *call) { c.at = e.Leaf.NotAfter }, nil},
		{"one second later", func(c *call) { c.at = e.Leaf.NotAfter.Add(time.Second) }, appattest.ErrExpired},
		{"one second before the first", func(c *call) { c.at = e.Leaf.NotBefore.Add(-time.Second) }, appattest.ErrExpired},
		{"no time", func(c *call) { c.at = time.Time{} }, appattest.ErrExpired},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := call{a.verifier(), e.CredentialID, clientData, now}
			tt.change(&c)
			if _, err := c.Attest(object, c.id, c.data, c.at); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// TestNoChallenge: evidence about nothing is refused to who asks about nothing.
func TestNoChallenge(t *testing.T) {
	a, e := newApple(t), genuine(t)
	e.ClientData = nil
	if _, err := a.verifier().Attest(e.object(t, a), e.CredentialID, nil, now); !errors.Is(err, appattest.ErrChallenge) {
		t.Errorf("got %v, want %v", err, appattest.ErrChallenge)
	}
}

func TestExpiredAuthorities(t *testing.T) {
	for _, expired := range []string{"intermediate", "root"} {
		a := newApple(t)
		root, intermediate := authority("Root", 1), authority("CA", 2)
		if root.NotAfter = now.Add(-time.Second); expired == "intermediate" {
			root.NotAfter, intermediate.NotAfter = intermediate.NotAfter, root.NotAfter
		}
		a.root = issue(t, root, root, a.rootKey.Public(), a.rootKey)
		a.intermediate = issue(t, intermediate, a.root, a.intermediateKey.Public(), a.rootKey)
		e := genuine(t)
		object := e.object(t, a)
		if _, err := a.verifier().Attest(object, e.CredentialID, clientData, now); !errors.Is(err, appattest.ErrExpired) {
			t.Errorf("expired %s: got %v, want %v", expired, err, appattest.ErrExpired)
		}
		if _, err := a.verifier().Attest(object, e.CredentialID, clientData, now.Add(-time.Second)); err != nil {
			t.Errorf("%s a second before: %v", expired, err)
		}
	}
}

// TestNonceExtension: every other form than the one that Apple writes is refused, with the right nonce in it.
func TestNonceExtension(t *testing.T) {
	a := newApple(t)
	tests := []struct {
		name string
		form func(nonce []byte) []byte
		want error
	}{
		{"as it is", func(n []byte) []byte { return slices.Concat([]byte{0x30, 0x24, 0xa1, 0x22, 4, 32}, n) }, nil},
		{"another tag", func(n []byte) []byte { return slices.Concat([]byte{0x30, 0x24, 0xa2, 0x22, 4, 32}, n) }, appattest.ErrMalformed},
		{"implicit", func(n []byte) []byte { return slices.Concat([]byte{0x30, 0x22, 0x81, 32}, n) }, appattest.ErrMalformed},
		{"bare octets", func(n []byte) []byte { return slices.Concat([]byte{4, 32}, n) }, appattest.ErrMalformed},
		{"a set", func(n []byte) []byte { return slices.Concat([]byte{0x31, 0x24, 0xa1, 0x22, 4, 32}, n) }, appattest.ErrMalformed},
		{"a long length", func(n []byte) []byte { return slices.Concat([]byte{0x30, 0x81, 0x24, 0xa1, 0x22, 4, 32}, n) }, appattest.ErrMalformed},
		{"an indefinite length", func(n []byte) []byte { return slices.Concat([]byte{0x30, 0x80, 0xa1, 0x22, 4, 32}, n, []byte{0, 0}) }, appattest.ErrMalformed},
		{"a byte after it", func(n []byte) []byte { return slices.Concat([]byte{0x30, 0x24, 0xa1, 0x22, 4, 32}, n, []byte{0}) }, appattest.ErrMalformed},
		{"a second member", func(n []byte) []byte { return slices.Concat([]byte{0x30, 0x26, 0xa1, 0x22, 4, 32}, n, []byte{5, 0}) }, appattest.ErrMalformed},
		{"a second value", func(n []byte) []byte { return slices.Concat([]byte{0x30, 0x26, 0xa1, 0x24, 4, 32}, n, []byte{5, 0}) }, appattest.ErrMalformed},
		{"a longer nonce", func(n []byte) []byte { return slices.Concat([]byte{0x30, 0x25, 0xa1, 0x23, 4, 33}, n, []byte{0}) }, appattest.ErrMalformed},
		{"a shorter nonce", func(n []byte) []byte { return slices.Concat([]byte{0x30, 0x23, 0xa1, 0x21, 4, 31}, n[:31]) }, appattest.ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := genuine(t)
			hash := sha256.Sum256(clientData)
			nonce := sha256.Sum256(append(e.authData(), hash[:]...))
			e.NonceExtension = tt.form(nonce[:])
			if _, err := a.verifier().Attest(e.object(t, a), e.CredentialID, clientData, now); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// leafOf is the leaf in a genuine object: the byte string that follows the heads of x5c and its own.
func leafOf(object []byte) *x509.Certificate {
	at := bytes.Index(object, text("x5c")) + 8
	length := int(binary.BigEndian.Uint16(object[at-2:]))
	return must(x509.ParseCertificate(object[at : at+length]))
}
