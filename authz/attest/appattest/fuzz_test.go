package appattest_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/latchkey-ace/latchkey/authz/attest/appattest"
)

var reasons = []error{
	appattest.ErrMalformed, appattest.ErrRoot, appattest.ErrExpired, appattest.ErrAlgorithm, appattest.ErrChallenge,
	appattest.ErrKeyID, appattest.ErrApp, appattest.ErrCounter, appattest.ErrDevelopment, appattest.ErrSignature,
}

func named(err error) bool {
	return slices.ContainsFunc(reasons, func(r error) bool { return errors.Is(err, r) })
}

// FuzzAttest: nothing panics, every refusal has a reason, and what is accepted has the authenticator data of a real phone.
func FuzzAttest(f *testing.F) {
	p, roots := readPublic(f)
	for i, e := range p.Attestations {
		f.Add(encodeObject("apple-appattest", [][]byte{e.Leaf, p.Intermediate}, []byte("receipt"), e.AuthData), uint8(i))
	}
	f.Fuzz(func(t *testing.T, object []byte, which uint8) {
		e := p.Attestations[int(which)%len(p.Attestations)]
		v := &appattest.Verifier{Roots: roots, Apps: []string{e.App}, Development: true}
		k, err := v.AttestHash(object, e.KeyID, e.ClientDataHash, e.At)
		switch {
		case err != nil && (k != nil || !named(err)):
			t.Errorf("got %v, %v", k, err)
		case err == nil && (!bytes.Equal(k.ID, e.KeyID) || !bytes.Contains(object, e.AuthData)):
			t.Errorf("accepted %x", object)
		}
	})
}

// FuzzParts reaches, without a signature, what FuzzAttest reaches only with one: a nonce is read in one spelling.
func FuzzParts(f *testing.F) {
	p, _ := readPublic(f)
	form := []byte{0x30, 0x24, 0xa1, 0x22, 4, 32}
	for _, e := range p.Attestations {
		f.Add(e.AuthData, append(form, e.KeyID...))
	}
	f.Fuzz(func(t *testing.T, authData, extension []byte) {
		parsed, nonce := appattest.DecodeParts(authData, extension)
		if parsed != nil && !named(parsed) || nonce != nil && !named(nonce) {
			t.Errorf("got %v, %v", parsed, nonce)
		}
		if good := len(extension) == 38 && bytes.HasPrefix(extension, form); good != (nonce == nil) {
			t.Errorf("extension %x: got %v", extension, nonce)
		}
	})
}

// FuzzAssert is FuzzAttest for assertions.
func FuzzAssert(f *testing.F) {
	p, roots := readPublic(f)
	e := p.Attestations[0]
	v := &appattest.Verifier{Roots: roots, Apps: []string{e.App}, Development: true}
	k, err := v.AttestHash(encodeObject("apple-appattest", [][]byte{e.Leaf, p.Intermediate}, []byte("receipt"), e.AuthData), e.KeyID, e.ClientDataHash, e.At)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p.Assertion.Evidence)
	key := generate(f, k.Public.Curve)
	f.Add(usual().sign(f, key))
	f.Fuzz(func(t *testing.T, evidence []byte) {
		next, err := v.Assert(evidence, p.Assertion.ClientData, k, 0)
		switch {
		case err != nil && (next != 0 || !named(err)):
			t.Errorf("got %d, %v", next, err)
		case err == nil && next != p.Assertion.Counter:
			t.Errorf("accepted %x", evidence)
		}
	})
}
