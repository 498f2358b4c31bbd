package appattest_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/authz/attest/appattest"
)

// public is testdata/public.json: evidence from real phones.
type public struct {
	Intermediate []byte
	Attestations []struct {
		Name, App                             string
		ClientDataHash, KeyID, Leaf, AuthData []byte
		At                                    time.Time
		Development                           bool
	}
	Assertion struct {
		ClientData, Evidence []byte
		Counter              uint32
	}
}

func readPublic(t testing.TB) (p public, roots *x509.CertPool) {
	t.Helper()
	data, err := os.ReadFile("testdata/public.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &p); err != nil {
		t.Fatal(err)
	}
	root, err := os.ReadFile("testdata/apple-root.pem")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(root)
	// The fingerprint in the package comment.
	if sum := sha256.Sum256(block.Bytes); hex.EncodeToString(sum[:]) != "1cb9823ba28ba6ad2d33a006941de2ae4f513ef1d4e831b9f7e0fa7b6242c932" {
		t.Fatalf("another root: %x", sum)
	}
	roots = x509.NewCertPool()
	if !roots.AppendCertsFromPEM(root) {
		t.Fatal("no root")
	}
	return p, roots
}

func TestPublicAttestations(t *testing.T) {
	p, roots := readPublic(t)
	for _, e := range p.Attestations {
		t.Run(e.Name, func(t *testing.T) {
			object := encodeObject("apple-appattest", [][]byte{e.Leaf, p.Intermediate}, []byte("receipt"), e.AuthData)
			v := &appattest.Verifier{Roots: roots, Apps: []string{e.App}, Development: e.Development}
			k, err := v.AttestHash(object, e.KeyID, e.ClientDataHash, e.At)
			if err != nil {
				t.Fatal(err)
			}
			point, err := k.Public.Bytes()
			if sum := sha256.Sum256(point); err != nil || !bytes.Equal(sum[:], e.KeyID) || !bytes.Equal(k.ID, e.KeyID) {
				t.Errorf("got key %x of id %x, want %x", point, k.ID, e.KeyID)
			}
			system := attest.SystemUnknown
			if e.Development {
				system = attest.SystemDegraded
			}
			want := attest.Verdict{Kind: attest.AppAttest, App: e.App, Key: attest.KeyHardware, System: system, At: e.At}
			if got := k.Verdict(e.At.Add(time.Millisecond)); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
			if _, err := v.AttestHash(object, e.KeyID, e.ClientDataHash, e.At.AddDate(0, 0, 4)); !errors.Is(err, appattest.ErrExpired) {
				t.Errorf("four days later: got %v, want %v", err, appattest.ErrExpired)
			}
			v.Development = false
			if _, err := v.AttestHash(object, e.KeyID, e.ClientDataHash, e.At); e.Development && !errors.Is(err, appattest.ErrDevelopment) {
				t.Errorf("in production: got %v, want %v", err, appattest.ErrDevelopment)
			}
		})
	}
}

// TestPublicAssertion: the client data of this app are hashed, as Apple's text has it, for both kinds of evidence.
func TestPublicAssertion(t *testing.T) {
	p, roots := readPublic(t)
	e := p.Attestations[0]
	v := &appattest.Verifier{Roots: roots, Apps: []string{e.App}, Development: true}
	object := encodeObject("apple-appattest", [][]byte{e.Leaf, p.Intermediate}, []byte("receipt"), e.AuthData)
	k, err := v.Attest(object, e.KeyID, p.Assertion.ClientData, e.At)
	if err != nil {
		t.Fatal(err)
	}
	next, err := v.Assert(p.Assertion.Evidence, p.Assertion.ClientData, k, 0)
	if err != nil || next != p.Assertion.Counter {
		t.Fatalf("got %d, %v, want %d", next, err, p.Assertion.Counter)
	}
	if _, err := v.Assert(p.Assertion.Evidence, p.Assertion.ClientData, k, next); !errors.Is(err, appattest.ErrCounter) {
		t.Errorf("again: got %v, want %v", err, appattest.ErrCounter)
	}
}
