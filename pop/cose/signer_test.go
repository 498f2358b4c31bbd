package cose_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/cose"
)

// remote is a signer that shows no private key, as a hardware module or a key service does.
type remote struct {
	public crypto.PublicKey
	sign   func(digest []byte, opts crypto.SignerOpts) ([]byte, error)
}

func (r remote) Public() crypto.PublicKey { return r.public }

func (r remote) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return r.sign(digest, opts)
}

// behind hides a key. It checks what a key service is told about the digest.
func behind(t *testing.T, key crypto.Signer) remote {
	return remote{key.Public(), func(digest []byte, opts crypto.SignerOpts) ([]byte, error) {
		if hash := opts.HashFunc(); hash != 0 && len(digest) != hash.Size() {
			t.Errorf("asked to sign %d bytes as a digest of %v", len(digest), hash)
		}
		return key.Sign(rand.Reader, digest, opts)
	}}
}

func newSigners(tb testing.TB) map[string]crypto.Signer {
	tb.Helper()
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return map[string]crypto.Signer{"ES256": p256, "ES384": p384, "EdDSA": edwards}
}

// TestSignersNeedNotShowTheirKey signs often, because the numbers of an ECDSA signature come in many lengths of DER.
func TestSignersNeedNotShowTheirKey(t *testing.T) {
	for name, key := range newSigners(t) {
		find := cose.With(mustKey(t, key.Public(), cose.KeyOptions{}))
		for range 300 {
			data, err := cose.Sign1(cose.Signer{Key: behind(t, key)}, content, nil, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			m, err := cose.ParseSign1(data)
			if err != nil || m.Algorithm().String() != name || m.CheckCanonical() != nil {
				t.Fatalf("%s: got %v, %v", name, m, err)
			}
			if got, err := m.VerifyWith(find, cose.Options{}); err != nil || !bytes.Equal(got, content) {
				t.Fatalf("%s: got %q, %v", name, got, err)
			}
		}
	}
}

// TestWhatIsNoSignatureIsNotSent: a signer that fails, answers nonsense or holds another key than it says gives no message.
func TestWhatIsNoSignatureIsNotSent(t *testing.T) {
	lost := errors.New("the key service is away")
	others := newSigners(t)
	for name, key := range newSigners(t) {
		for _, tt := range []struct {
			name string
			sign func([]byte, crypto.SignerOpts) ([]byte, error)
			want error
		}{
			{"another key", behind(t, others[name]).sign, cose.ErrKey},
			{"zeros", func([]byte, crypto.SignerOpts) ([]byte, error) { return make([]byte, 64), nil }, cose.ErrKey},
			{"nothing", func([]byte, crypto.SignerOpts) ([]byte, error) { return nil, nil }, cose.ErrKey},
			{"DER of zeros", func([]byte, crypto.SignerOpts) ([]byte, error) { return unhex(t, "3006020100020100"), nil }, cose.ErrKey},
			{"negative numbers", func([]byte, crypto.SignerOpts) ([]byte, error) { return unhex(t, "30060201ff0201ff"), nil }, cose.ErrKey},
			{"numbers of 200 bytes", func([]byte, crypto.SignerOpts) ([]byte, error) {
				number := append([]byte{2, 0x81, 200}, bytes.Repeat([]byte{1}, 200)...)
				return slices.Concat([]byte{0x30, 0x82, 1, 150}, number, number), nil
			}, cose.ErrKey},
			{"bytes after the signature", func(digest []byte, o crypto.SignerOpts) ([]byte, error) {
				signature, err := key.Sign(rand.Reader, digest, o)
				return append(signature, 0), err
			}, cose.ErrKey},
			{"an error", func([]byte, crypto.SignerOpts) ([]byte, error) { return nil, lost }, lost},
		} {
			s := cose.Signer{Key: remote{key.Public(), tt.sign}}
			if data, err := cose.Sign1(s, content, nil, rand.Reader); data != nil || !errors.Is(err, tt.want) {
				t.Errorf("%s, Sign1, %s: got %x, %v, want %v", name, tt.name, data, err, tt.want)
			}
			if data, err := cose.Sign([]cose.Signer{s}, content, nil, rand.Reader); data != nil || !errors.Is(err, tt.want) {
				t.Errorf("%s, Sign, %s: got %x, %v, want %v", name, tt.name, data, err, tt.want)
			}
		}
	}
}

func TestSignersOfOtherKindsAreRefused(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{
		"RSA": rsaKey, "P-521": p521, "no key": nil, "a short public key": remote{public: ed25519.PublicKey{1}}, "no public key": remote{},
	} {
		if data, err := cose.Sign1(cose.Signer{Key: key}, content, nil, rand.Reader); !errors.Is(err, cose.ErrKey) {
			t.Errorf("%s: got %x, %v, want %v", name, data, err, cose.ErrKey)
		}
	}
	key := newSigners(t)["ES256"]
	if _, err := cose.Sign1(cose.Signer{Key: key, ID: make([]byte, cose.MaxKeyID+1)}, content, nil, rand.Reader); !errors.Is(err, cose.ErrKey) {
		t.Errorf("a long key id: got %v, want %v", err, cose.ErrKey)
	}
}
