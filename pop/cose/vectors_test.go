package cose_test

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/cose"
)

// example is a file of the COSE working group's examples (testdata/*-tests, *-examples).
type example struct {
	Title string
	Fail  bool
	Input struct {
		Plaintext string
		Encrypted *layer
		Enveloped *layer
		Sign0     *layer
		Mac       *layer
	}
	Output struct{ CBOR string }
}

type layer struct {
	Protected   struct{ Alg string }
	Unprotected struct{ Alg string }
	Key         exampleKey
	External    string
	Recipients  []struct{ Key exampleKey }
}

func (l *layer) alg() string { return l.Protected.Alg + l.Unprotected.Alg }

type exampleKey struct {
	Kty, K, X, Y, D string
	KHex            string `json:"k_hex"`
	DHex            string `json:"d_hex"`
}

func readExamples(tb testing.TB, pattern string) map[string]example {
	tb.Helper()
	files, err := filepath.Glob("testdata/" + pattern)
	if err != nil || len(files) == 0 {
		tb.Fatalf("no examples in %s: %v", pattern, err)
	}
	out := make(map[string]example)
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		var e example
		if err := json.Unmarshal(data, &e); err != nil {
			tb.Fatalf("%s: %v", file, err)
		}
		out[filepath.Base(file)] = e
	}
	return out
}

func TestEncrypt0Examples(t *testing.T) {
	for _, pattern := range []string{"encrypted-tests/*.json", "aes-ccm-examples/aes-ccm-enc-*.json"} {
		for name, e := range readExamples(t, pattern) {
			t.Run(name, func(t *testing.T) {
				e.expect(t, e.Input.Encrypted.alg(), func() ([]byte, error) { return e.openEncrypt0(t) })
			})
		}
	}
}

func TestSign1Examples(t *testing.T) {
	for name, e := range readExamples(t, "sign1-tests/*.json") {
		t.Run(name, func(t *testing.T) {
			e.expect(t, "ES256", func() ([]byte, error) { return e.verifySign1(t) })
		})
	}
}

func TestECDHExamples(t *testing.T) {
	for name, e := range readExamples(t, "ecdh-direct-examples/*.json") {
		t.Run(name, func(t *testing.T) {
			if e.Input.Enveloped == nil { // COSE_Mac
				_, _, err := e.item(t, cose.TagEncrypt)
				if err == nil {
					t.Error("a COSE_Mac passed for a COSE_Encrypt")
				}
				return
			}
			alg := e.Input.Enveloped.alg()
			if !strings.HasPrefix(name, "p256-hkdf-256-") {
				alg = "ECDH other than ECDH-ES + HKDF-256"
			}
			e.expect(t, alg, func() ([]byte, error) { return e.openEncrypt(t) })
		})
	}
}

// TestDirectRecipientsAreUnsupported: a recipient without key agreement shares the content key itself.
func TestDirectRecipientsAreUnsupported(t *testing.T) {
	for name, e := range readExamples(t, "aes-ccm-examples/aes-ccm-0*.json") {
		if _, err := e.openEncrypt(t); !errors.Is(err, cose.ErrUnsupported) {
			t.Errorf("%s: got %v, want %v", name, err, cose.ErrUnsupported)
		}
	}
}

// supported are the example names of our algorithms.
var supported = []string{"ES256", "A128GCM", "A256GCM", "AES-CCM-16-128/64", "AES-CCM-16-128/128"}

func (e *example) expect(t *testing.T, alg string, open func() ([]byte, error)) {
	t.Helper()
	got, err := open()
	switch {
	case e.Fail:
		if err == nil {
			t.Error("accepted, want a refusal")
		}
	case !slices.Contains(supported, alg):
		if !errors.Is(err, cose.ErrUnsupported) {
			t.Errorf("%s: got %v, want %v", alg, err, cose.ErrUnsupported)
		}
	case err != nil || string(got) != e.Input.Plaintext:
		t.Errorf("got %q, %v, want %q", got, err, e.Input.Plaintext)
	}
}

// item is the untagged structure; some examples have no tag, some a wrong one.
func (e *example) item(tb testing.TB, want cose.Tag) ([]byte, cose.Tag, error) {
	tb.Helper()
	data := unhex(tb, e.Output.CBOR)
	if data[0]>>5 == 4 {
		return data, 0, nil
	}
	tag, item, err := cose.Unwrap(data)
	if err == nil && tag != want {
		err = errors.New("another tag")
	}
	return item, tag, err
}

func (e *example) openEncrypt0(tb testing.TB) ([]byte, error) {
	item, _, err := e.item(tb, cose.TagEncrypt0)
	if err != nil {
		return nil, err
	}
	k := e.Input.Encrypted.Recipients[0].Key
	find := func(alg cose.Algorithm, _ cose.KeyID) (cose.SymmetricKey, error) {
		return cose.SymmetricKey{K: either(tb, k.K, k.KHex), Algorithm: alg}, nil
	}
	return cose.OpenEncrypt0(item, find, unhex(tb, e.Input.Encrypted.External))
}

func (e *example) verifySign1(tb testing.TB) ([]byte, error) {
	item, _, err := e.item(tb, cose.TagSign1)
	if err != nil {
		return nil, err
	}
	public := e.Input.Sign0.Key.public(tb)
	return cose.VerifySign1(item, findPublic(public), unhex(tb, e.Input.Sign0.External))
}

func (e *example) openEncrypt(tb testing.TB) ([]byte, error) {
	item, _, err := e.item(tb, cose.TagEncrypt)
	if err != nil {
		return nil, err
	}
	key := e.Input.Enveloped.Recipients[0].Key
	find := func(cose.Algorithm, cose.KeyID) (*ecdh.PrivateKey, error) {
		return ecdh.P256().NewPrivateKey(either(tb, key.D, key.DHex))
	}
	return cose.OpenEncrypt(item, find, unhex(tb, e.Input.Enveloped.External))
}

func (k exampleKey) public(tb testing.TB) *ecdsa.PublicKey {
	tb.Helper()
	point := slices.Concat([]byte{4}, either(tb, k.X, ""), either(tb, k.Y, ""))
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		tb.Fatal(err)
	}
	return public
}

func findPublic(public *ecdsa.PublicKey) cose.FindPublic {
	return func(cose.Algorithm, cose.KeyID) (*ecdsa.PublicKey, error) { return public, nil }
}

func either(tb testing.TB, inBase64, inHex string) []byte {
	tb.Helper()
	if inHex != "" {
		return unhex(tb, inHex)
	}
	b, err := base64.RawURLEncoding.DecodeString(inBase64)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}
