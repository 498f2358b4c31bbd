package appattest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/latchkey-ace/latchkey/authz/attest/appattest"
)

// installed is a phone whose key is attested.
func installed(t testing.TB) (*appattest.Verifier, *appattest.Key, *ecdsa.PrivateKey) {
	key := generate(t, elliptic.P256())
	return &appattest.Verifier{Apps: []string{ourApp}}, &appattest.Key{ID: keyID(t, key), Public: &key.PublicKey, App: ourApp}, key
}

func usual() assertion {
	return assertion{App: ourApp, Flags: 0x40, Counter: 8, Extensions: extensions(4), ClientData: clientData}
}

func TestAssert(t *testing.T) {
	tests := []struct {
		name    string
		change  func(*assertion, *appattest.Verifier, *appattest.Key)
		counter uint32 // stored
		want    error
	}{
		{"iOS 27", func(*assertion, *appattest.Verifier, *appattest.Key) {}, 7, nil},
		{"iOS 27, with the flag for extensions", func(s *assertion, _ *appattest.Verifier, _ *appattest.Key) { s.Flags = 0x80 }, 7, nil},
		{"iOS 14 to 26", func(s *assertion, _ *appattest.Verifier, _ *appattest.Key) { s.Extensions = nil }, 7, nil},
		{"the first", func(*assertion, *appattest.Verifier, *appattest.Key) {}, 0, nil},
		{"the last of all", func(s *assertion, _ *appattest.Verifier, _ *appattest.Key) { s.Counter = math.MaxUint32 }, math.MaxUint32 - 1, nil},
		{"a development build that was attested as one", func(s *assertion, v *appattest.Verifier, k *appattest.Key) {
			v.Development, k.Development, s.Extensions = true, true, extensions(3)
		}, 7, nil},

		{"the counter again", func(*assertion, *appattest.Verifier, *appattest.Key) {}, 8, appattest.ErrCounter},
		{"the counter going back", func(*assertion, *appattest.Verifier, *appattest.Key) {}, 9, appattest.ErrCounter},
		{"a counter of 0", func(s *assertion, _ *appattest.Verifier, _ *appattest.Key) { s.Counter = 0 }, 0, appattest.ErrCounter},
		{"no counter left", func(s *assertion, _ *appattest.Verifier, _ *appattest.Key) { s.Counter = 0 }, math.MaxUint32, appattest.ErrCounter},
		{"another team's app", func(s *assertion, _ *appattest.Verifier, _ *appattest.Key) { s.App = "B" + ourApp[1:] }, 7, appattest.ErrApp},
		{"another app of the team that is allowed", func(s *assertion, v *appattest.Verifier, _ *appattest.Key) {
			s.App = ourApp + "2"
			v.Apps = append(v.Apps, s.App)
		}, 7, appattest.ErrApp},
		{"an app that is not allowed any more", func(_ *assertion, v *appattest.Verifier, _ *appattest.Key) { v.Apps = nil }, 7, appattest.ErrApp},
		{"a key without an app", func(s *assertion, v *appattest.Verifier, k *appattest.Key) {
			s.App, v.Apps, k.App = "", []string{""}, ""
		}, 7, appattest.ErrApp},
		{"another challenge", func(s *assertion, _ *appattest.Verifier, _ *appattest.Key) { s.ClientData = []byte("another") }, 7, appattest.ErrSignature},
		{"another key", func(_ *assertion, _ *appattest.Verifier, k *appattest.Key) {
			k.Public = &generate(t, elliptic.P256()).PublicKey
		}, 7, appattest.ErrSignature},
		{"no key", func(_ *assertion, _ *appattest.Verifier, k *appattest.Key) { k.Public = nil }, 7, appattest.ErrAlgorithm},
		{"a key on P-384", func(_ *assertion, _ *appattest.Verifier, k *appattest.Key) {
			k.Public = &generate(t, elliptic.P384()).PublicKey
		}, 7, appattest.ErrAlgorithm},
		{"a development key in production", func(_ *assertion, _ *appattest.Verifier, k *appattest.Key) { k.Development = true }, 7, appattest.ErrDevelopment},
		{"a development build of the app", func(s *assertion, _ *appattest.Verifier, _ *appattest.Key) { s.Extensions = extensions(3) }, 7, appattest.ErrDevelopment},
		{"a development build where such are allowed, of an app attested as none", func(s *assertion, v *appattest.Verifier, _ *appattest.Key) {
			v.Development, s.Extensions = true, extensions(3)
		}, 7, appattest.ErrDevelopment},
		{"a flag for extensions that are not there", func(s *assertion, _ *appattest.Verifier, _ *appattest.Key) {
			s.Flags, s.Extensions = 0x80, nil
		}, 7, appattest.ErrMalformed},
		{"bytes after the authenticator data", func(s *assertion, _ *appattest.Verifier, _ *appattest.Key) { s.Extensions = []byte{0} }, 7, appattest.ErrMalformed},
		{"extensions too long", func(s *assertion, _ *appattest.Verifier, _ *appattest.Key) {
			s.Extensions = slices.Concat(head(5, 1), text("x"), bstr(make([]byte, 480)))
		}, 7, appattest.ErrMalformed},
		{"too long", func(s *assertion, _ *appattest.Verifier, _ *appattest.Key) { s.Extensions = make([]byte, 2048) }, 7, appattest.ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, k, key := installed(t)
			s := usual()
			tt.change(&s, v, k)
			want := s.Counter
			if tt.want != nil {
				want = 0
			}
			next, err := v.Assert(s.sign(t, key), clientData, k, tt.counter)
			if !errors.Is(err, tt.want) || next != want {
				t.Errorf("got %d, %v, want %d, %v", next, err, want, tt.want)
			}
		})
	}
	v, k, key := installed(t)
	s := usual()
	s.ClientData = nil
	if _, err := v.Assert(s.sign(t, key), nil, k, 7); !errors.Is(err, appattest.ErrSignature) {
		t.Errorf("no client data: got %v, want %v", err, appattest.ErrSignature)
	}
}

// TestAssertSignsTheNonceAsAMessage: what is signed is not the nonce itself, nor what is hashed to it.
func TestAssertSignsTheNonceAsAMessage(t *testing.T) {
	v, k, key := installed(t)
	app, hash := sha256.Sum256([]byte(ourApp)), sha256.Sum256(clientData)
	data := append(app[:], 0x40, 0, 0, 0, 8)
	nonce := sha256.Sum256(slices.Concat(data, hash[:]))
	twice := sha256.Sum256(nonce[:])
	for digest, want := range map[[32]byte]error{twice: nil, nonce: appattest.ErrSignature, hash: appattest.ErrSignature} {
		signature := must(ecdsa.SignASN1(rand.Reader, key, digest[:]))
		if _, err := v.Assert(encodeAssertion(signature, data), clientData, k, 7); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
		fixed := make([]byte, 64)
		r, s := must2(ecdsa.Sign(rand.Reader, key, digest[:]))
		r.FillBytes(fixed[:32])
		s.FillBytes(fixed[32:])
		if _, err := v.Assert(encodeAssertion(fixed, data), clientData, k, 7); !errors.Is(err, appattest.ErrSignature) {
			t.Errorf("r and s without DER: got %v, want %v", err, appattest.ErrSignature)
		}
	}
}

// TestAttestedThenAsserted is the life of a key, with the counter that the caller keeps.
func TestAttestedThenAsserted(t *testing.T) {
	a := newApple(t)
	e := genuine(t)
	v := a.verifier()
	k, err := v.Attest(e.object(t, a), e.CredentialID, clientData, now)
	if err != nil {
		t.Fatal(err)
	}
	stored := uint32(0)
	for _, counter := range []uint32{1, 2, 5} { // an assertion that was made and never sent leaves a gap
		s := usual()
		s.Counter = counter
		evidence := s.sign(t, e.Key)
		if stored, err = v.Assert(evidence, clientData, k, stored); err != nil || stored != counter {
			t.Fatalf("got %d, %v, want %d", stored, err, counter)
		}
		if _, err := v.Assert(evidence, clientData, k, stored); !errors.Is(err, appattest.ErrCounter) {
			t.Errorf("again: got %v, want %v", err, appattest.ErrCounter)
		}
	}
}
