package cose_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/cose"
)

var operationsOfKeys = []cose.KeyOperation{
	cose.OperationSign, cose.OperationVerify, cose.OperationEncrypt, cose.OperationDecrypt, cose.OperationWrap, cose.OperationUnwrap,
	cose.OperationDeriveKey, cose.OperationDeriveBits, cose.OperationMACCreate, cose.OperationMACVerify,
}

var allAlgorithms = []cose.Algorithm{
	cose.ES384, cose.ECDHESA128KW, cose.ECDHESHKDF256, cose.DirectHKDF256, cose.EdDSA, cose.ES256, cose.Direct, cose.A128KW, cose.A128GCM,
	cose.A256GCM, cose.HMAC256_64, cose.HMAC256, cose.AESCCM16_64_128, cose.AESCCM16_64_256, cose.ChaCha20Poly1305,
	cose.AESCCM16_128_128, cose.AESCCM16_128_256,
}

// entrance is one way into the package with a key of the caller: what the key must be permitted, and what it must be for.
type entrance struct {
	name    string
	allowed []cose.KeyOperation
	alg     cose.Algorithm
	use     func(o cose.KeyOptions) error
}

// materials are keys of every kind.
type materials struct {
	sign          *ecdsa.PrivateKey
	agree         *ecdh.PrivateKey
	short, secret []byte
}

func newMaterials(tb testing.TB) materials {
	tb.Helper()
	signer, _ := newSigner(tb)
	private, _ := newRecipient(tb)
	return materials{signer.Key.(*ecdsa.PrivateKey), private, bytes.Repeat([]byte{1}, 16), bytes.Repeat([]byte{2}, 32)}
}

// sealer and opener make entrances that protect and unprotect with a key of some material.
func sealer(material any, seal func(*cose.Key) ([]byte, error)) func(cose.KeyOptions) error {
	return func(o cose.KeyOptions) error {
		key, err := cose.NewKey(material, o)
		if err == nil {
			_, err = seal(key)
		}
		return err
	}
}

func opener(tb testing.TB, tag cose.Tag, material any, seal func() ([]byte, error)) func(cose.KeyOptions) error {
	tb.Helper()
	data, err := seal()
	if err != nil {
		tb.Fatal(err)
	}
	return func(o cose.KeyOptions) error {
		key, err := cose.NewKey(material, o)
		if err == nil {
			_, err = openAs(tag, data, cose.With(key), cose.Options{})
		}
		return err
	}
}

func entrances(tb testing.TB) []entrance {
	m := newMaterials(tb)
	sign := func(key *cose.Key) ([]byte, error) {
		s, err := key.Signer()
		if err != nil {
			return nil, err
		}
		return cose.Sign1(s, content, nil, rand.Reader)
	}
	one, several := signedBoth(tb, m.sign)
	encrypt0 := func(key *cose.Key) ([]byte, error) { return cose.Encrypt0(key, content, nil, rand.Reader) }
	mac0 := func(key *cose.Key) ([]byte, error) { return cose.Mac0(key, content, nil) }
	own := func(alg cose.Algorithm, secret []byte, seal func(*cose.Key) ([]byte, error)) func() ([]byte, error) {
		return func() ([]byte, error) { return seal(mustKey(tb, secret, cose.KeyOptions{Algorithm: alg})) }
	}
	list := []entrance{
		{"Key.Signer", []cose.KeyOperation{cose.OperationSign}, cose.ES256, sealer(m.sign, sign)},
		{"Sign1Message", []cose.KeyOperation{cose.OperationVerify}, cose.ES256, opener(tb, cose.TagSign1, &m.sign.PublicKey, one)},
		{"SignMessage", []cose.KeyOperation{cose.OperationVerify}, cose.ES256, opener(tb, cose.TagSign, &m.sign.PublicKey, several)},
		{"Encrypt0", []cose.KeyOperation{cose.OperationEncrypt}, cose.A128GCM, sealer(m.short, encrypt0)},
		{"Encrypt0Message", []cose.KeyOperation{cose.OperationDecrypt}, cose.A128GCM, opener(tb, cose.TagEncrypt0, m.short, own(cose.A128GCM, m.short, encrypt0))},
		{"Mac0", []cose.KeyOperation{cose.OperationMACCreate}, cose.HMAC256, sealer(m.secret, mac0)},
		{"Mac0Message", []cose.KeyOperation{cose.OperationMACVerify}, cose.HMAC256, opener(tb, cose.TagMac0, m.secret, own(cose.HMAC256, m.secret, mac0))},
	}
	return append(list, m.layered(tb)...)
}

func signedBoth(tb testing.TB, key *ecdsa.PrivateKey) (one, several func() ([]byte, error)) {
	tb.Helper()
	s := cose.Signer{Key: key}
	one = func() ([]byte, error) { return cose.Sign1(s, content, nil, rand.Reader) }
	several = func() ([]byte, error) { return cose.Sign([]cose.Signer{s, s}, content, nil, rand.Reader) }
	return one, several
}

// layered are the entrances of COSE_Encrypt and COSE_Mac, by every method for recipients.
func (m materials) layered(tb testing.TB) []entrance {
	derive := []cose.KeyOperation{cose.OperationDeriveKey, cose.OperationDeriveBits}
	wrap, unwrap := []cose.KeyOperation{cose.OperationWrap}, []cose.KeyOperation{cose.OperationUnwrap}
	var list []entrance
	for _, kind := range []struct {
		name        string
		tag         cose.Tag
		alg         cose.Algorithm
		secret      []byte // where it is used directly
		create, use cose.KeyOperation
		protect     func(cose.Content, []cose.To) ([]byte, error)
	}{
		{"Encrypt", cose.TagEncrypt, cose.A128GCM, m.short, cose.OperationEncrypt, cose.OperationDecrypt, encryptTo},
		{"Mac", cose.TagMac, cose.HMAC256_64, m.secret, cose.OperationMACCreate, cose.OperationMACVerify, macTo},
	} {
		for _, method := range []struct {
			alg              cose.Algorithm
			to, mine         any
			sealing, opening []cose.KeyOperation
			keyAlg           cose.Algorithm
		}{
			{cose.Direct, kind.secret, kind.secret, []cose.KeyOperation{kind.create}, []cose.KeyOperation{kind.use}, kind.alg},
			{cose.DirectHKDF256, m.secret, m.secret, derive, derive, cose.DirectHKDF256},
			{cose.A128KW, m.short, m.short, wrap, unwrap, cose.A128KW},
			{cose.ECDHESHKDF256, m.agree.PublicKey(), m.agree, derive, derive, cose.ECDHESHKDF256},
			{cose.ECDHESA128KW, m.agree.PublicKey(), m.agree, derive, derive, cose.ECDHESA128KW},
		} {
			seal := func(key *cose.Key) ([]byte, error) {
				return kind.protect(cose.Content{Algorithm: kind.alg, Data: content}, []cose.To{{Key: key, Algorithm: method.alg}})
			}
			free := func() ([]byte, error) { return seal(mustKey(tb, method.to, cose.KeyOptions{})) }
			name := fmt.Sprintf("%s %v", kind.name, method.alg)
			list = append(list,
				entrance{name, method.sealing, method.keyAlg, sealer(method.to, seal)},
				entrance{name + " message", method.opening, method.keyAlg, opener(tb, kind.tag, method.mine, free)})
		}
	}
	return list
}

func encryptTo(c cose.Content, to []cose.To) ([]byte, error) { return cose.Encrypt(c, to, rand.Reader) }

func macTo(c cose.Content, to []cose.To) ([]byte, error) { return cose.Mac(c, to, rand.Reader) }

// TestKeysDoOnlyWhatTheyArePermitted tries every operation at every entrance.
func TestKeysDoOnlyWhatTheyArePermitted(t *testing.T) {
	for _, e := range entrances(t) {
		for _, op := range operationsOfKeys {
			err := e.use(cose.KeyOptions{Algorithm: e.alg, Operations: []cose.KeyOperation{op}})
			if slices.Contains(e.allowed, op) != (err == nil) || err != nil && !errors.Is(err, cose.ErrKey) {
				t.Errorf("%s with a key that may %v: got %v", e.name, op, err)
			}
		}
		rest := slices.DeleteFunc(slices.Clone(operationsOfKeys), func(op cose.KeyOperation) bool { return slices.Contains(e.allowed, op) })
		if err := e.use(cose.KeyOptions{Algorithm: e.alg, Operations: rest}); !errors.Is(err, cose.ErrKey) {
			t.Errorf("%s with a key that may all else: got %v, want %v", e.name, err, cose.ErrKey)
		}
		if err := e.use(cose.KeyOptions{Algorithm: e.alg, Operations: operationsOfKeys}); err != nil {
			t.Errorf("%s with a key that may everything: %v", e.name, err)
		}
		if err := e.use(cose.KeyOptions{Algorithm: e.alg}); err != nil {
			t.Errorf("%s with a key that says no operations: %v", e.name, err)
		}
	}
}

// TestKeysAreForOneAlgorithm tries a key for every algorithm at every entrance.
func TestKeysAreForOneAlgorithm(t *testing.T) {
	for _, e := range entrances(t) {
		for _, alg := range allAlgorithms {
			if isSelf := e.name == "Encrypt0" || e.name == "Mac0"; isSelf && sameKind(alg, e.alg) {
				continue // the key decides, and may decide so
			}
			err := e.use(cose.KeyOptions{Algorithm: alg})
			if (alg == e.alg) != (err == nil) || err != nil && !errors.Is(err, cose.ErrKey) {
				t.Errorf("%s with a key for %v: got %v", e.name, alg, err)
			}
		}
	}
}

func sameKind(a, b cose.Algorithm) bool {
	isMAC := func(alg cose.Algorithm) bool { return alg == cose.HMAC256 || alg == cose.HMAC256_64 }
	return a > 0 && b > 0 && isMAC(a) == isMAC(b)
}

// TestKeysOfAnotherKindAreRefused tries every kind of key, and none, at every entrance.
func TestKeysOfAnotherKindAreRefused(t *testing.T) {
	m := newMaterials(t)
	symmetric := mustKey(t, m.short, cose.KeyOptions{})
	kinds := map[string]*cose.Key{"a symmetric key": symmetric, "no key": nil, "the zero key": {}}
	for name, material := range map[string]any{"a public key": &m.sign.PublicKey, "a private key": m.agree} {
		kinds[name] = mustKey(t, material, cose.KeyOptions{})
	}
	for name, key := range kinds {
		for what, use := range map[string]func() error{
			"Encrypt0": func() error { _, err := cose.Encrypt0(key, content, nil, rand.Reader); return err },
			"Mac0":     func() error { _, err := cose.Mac0(key, content, nil); return err },
		} {
			if err := use(); !errors.Is(err, cose.ErrKey) {
				t.Errorf("%s with %s: got %v, want %v", what, name, err, cose.ErrKey)
			}
		}
		for _, alg := range []cose.Algorithm{cose.Direct, cose.DirectHKDF256, cose.A128KW, cose.ECDHESHKDF256, cose.ECDHESA128KW} {
			wantsPublic := alg == cose.ECDHESHKDF256 || alg == cose.ECDHESA128KW
			_, err := encryptTo(cose.Content{Algorithm: cose.A128GCM, Data: content}, []cose.To{{Key: key, Algorithm: alg}})
			good := wantsPublic && key != nil && key.Verifier() != nil || !wantsPublic && key == symmetric
			if good != (err == nil) || err != nil && !errors.Is(err, cose.ErrKey) {
				t.Errorf("Encrypt %v to %s: got %v", alg, name, err)
			}
		}
	}
}
