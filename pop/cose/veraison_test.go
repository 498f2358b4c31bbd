package cose_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/cose"
	veraison "github.com/veraison/go-cose"
	"pgregory.net/rapid"
)

var veraisonAlgorithms = map[string]veraison.Algorithm{
	"ES256": veraison.AlgorithmES256, "ES384": veraison.AlgorithmES384, "EdDSA": veraison.AlgorithmEdDSA,
}

// TestSign1AgreesWithVeraison signs here and verifies there, and the other way round, with any payload, external data and
// headers, and then with one bit of the message changed.
func TestSign1AgreesWithVeraison(t *testing.T) {
	signers := newSigners(t)
	for _, name := range slices.Sorted(maps.Keys(signers)) {
		t.Run(name, func(t *testing.T) {
			alg, private := veraisonAlgorithms[name], signers[name]
			signer, err := veraison.NewSigner(alg, private)
			verifier, verifierErr := veraison.NewVerifier(alg, private.Public())
			if err := errors.Join(err, verifierErr); err != nil {
				t.Fatal(err)
			}
			key := mustKey(t, private.Public(), cose.KeyOptions{})
			rapid.Check(t, func(t *rapid.T) {
				payload := rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "payload")
				aad := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "external")
				kid := rapid.SliceOfN(rapid.Byte(), 1, cose.MaxKeyID).Draw(t, "kid")
				ours, err := cose.Sign1(cose.Signer{Key: private, ID: kid}, payload, aad, rand.Reader)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := theirVerify(ours, verifier, aad); err != nil || !bytes.Equal(got, payload) {
					t.Fatalf("ours, there: got %x, %v, want %x", got, err, payload)
				}
				theirs, err := veraison.Sign1Untagged(rand.Reader, signer, drawHeaders(t, alg, kid), payload, aad)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := ourVerify(theirs, key, aad); err != nil || !bytes.Equal(got, payload) {
					t.Fatalf("theirs, here: got %x, %v, want %x", got, err, payload)
				}
				checkDamaged(t, theirs, payload, func(data []byte) ([]byte, error) { return ourVerify(data, key, aad) },
					func(data []byte) ([]byte, error) { return theirVerify(data, verifier, aad) })
			})
		})
	}
}

// drawHeaders gives headers with parameters that this package does not know, in both buckets.
func drawHeaders(t *rapid.T, alg veraison.Algorithm, kid []byte) veraison.Headers {
	h := veraison.Headers{Protected: veraison.ProtectedHeader{}, Unprotected: veraison.UnprotectedHeader{}}
	h.Protected.SetAlgorithm(alg)
	unknown := rapid.OneOf(rapid.Map(rapid.Int64Range(100, 1<<40), func(n int64) any { return n }),
		rapid.Map(rapid.StringMatching("[a-z]{1,30}"), func(s string) any { return s }))
	value := rapid.OneOf(rapid.Map(rapid.Int64(), func(n int64) any { return n }),
		rapid.Map(rapid.String(), func(s string) any { return s }), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) any { return b }))
	for label, v := range rapid.MapOfN(unknown, value, 0, 12).Draw(t, "headers") {
		if rapid.Bool().Draw(t, "protected") {
			h.Protected[label] = v
		} else {
			h.Unprotected[label] = v
		}
	}
	if rapid.Bool().Draw(t, "kid protected") {
		h.Protected[veraison.HeaderLabelKeyID] = kid
	} else {
		h.Unprotected[veraison.HeaderLabelKeyID] = kid
	}
	return h
}

// checkDamaged: a changed bit is refused, unless it is in the unprotected header, whose values nobody signed; the other
// library refuses some values there that this package has no use for and passes over. The payload stays what it was.
func checkDamaged(t *rapid.T, data, payload []byte, verifiers ...func([]byte) ([]byte, error)) {
	bit := rapid.IntRange(0, 8*len(data)-1).Draw(t, "bit")
	damaged := bytes.Clone(data)
	damaged[bit/8] ^= 1 << (bit % 8)
	for i, verify := range verifiers {
		got, err := verify(damaged)
		if err == nil && (!bytes.Equal(got, payload) || !isUnprotected(data, bit/8)) {
			t.Fatalf("verifier %d, bit %d of %x changed: got %x, want %x or a refusal", i, bit, data, got, payload)
		}
	}
}

// isUnprotected reports whether a place is in the unprotected header of a COSE_Sign1.
func isUnprotected(data []byte, at int) bool {
	m, err := cose.ParseSign1(data)
	if err != nil {
		return false
	}
	from := len(m.Protected()) + bytes.Index(data[len(m.Protected()):], m.Unprotected())
	return at >= from && at < from+len(m.Unprotected())
}

func ourVerify(data []byte, key *cose.Key, aad []byte) ([]byte, error) {
	return openAs(cose.TagSign1, data, cose.With(key), cose.Options{External: aad})
}

func theirVerify(data []byte, verifier veraison.Verifier, aad []byte) ([]byte, error) {
	var m veraison.UntaggedSign1Message
	if err := m.UnmarshalCBOR(data); err != nil {
		return nil, err
	}
	return m.Payload, m.Verify(aad, verifier)
}

// TestKeysAgreeWithVeraison reads here what is written there, and the other way round.
func TestKeysAgreeWithVeraison(t *testing.T) {
	for name, private := range newSigners(t) {
		theirs, err := veraison.NewKeyFromPrivate(private)
		if err != nil {
			t.Fatal(err)
		}
		theirs.ID = []byte{1, 2}
		written, err := theirs.MarshalCBOR()
		if err != nil {
			t.Fatal(err)
		}
		key, err := cose.ParsePrivateKey(written)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		signer, err := key.Signer()
		if err != nil || !bytes.Equal(signer.ID, theirs.ID) || key.Algorithm() != cose.Algorithm(veraisonAlgorithms[name]) {
			t.Errorf("%s: got %v, %v", name, key, err)
		}
		back, err := key.EncodePrivate()
		if err != nil {
			t.Fatal(err)
		}
		var again veraison.Key
		if err := again.UnmarshalCBOR(back); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		theirVerifier, err := again.Verifier()
		if err != nil {
			t.Fatal(err)
		}
		data, err := cose.Sign1(signer, content, nil, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := theirVerify(data, theirVerifier, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
