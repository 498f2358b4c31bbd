package keyattest

import (
	"crypto"
	"testing"
)

// Phone is one whose attestations a test makes, for tests outside of the package.
type Phone struct{ f *forged }

// Now is when its certificates are valid, Door what they attest.
var (
	Now  = now
	Door = packageName
)

// NewPhone makes one with its roots.
func NewPhone(t testing.TB) (*Phone, *Verifier) {
	f := forge(t)
	return &Phone{f}, f.verifier()
}

// Key is the attested key.
func (p *Phone) Key() crypto.Signer { return p.f.keys[0] }

// Attest makes a chain for a challenge, by an unlocked phone or a locked one.
func (p *Phone) Attest(t testing.TB, challenge string, locked bool) [][]byte {
	p.f.challenge = []byte(challenge)
	p.f.hardware = put(p.f.hardware, tagRootOfTrust, rootOfTrust(locked, Verified))
	return p.f.chain(t)
}
