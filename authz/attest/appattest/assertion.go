package appattest

import (
	"crypto/ecdsa"
	"crypto/sha256"
)

// Assert checks an assertion of k over clientData, which is as in Attest, and returns its counter. The caller stores that in place of counter
// with one conditional write, and refuses the request where another assertion came first.
//
// The checks, in Apple's order, after the form of the assertion and whether k's app is still one of Apps (ErrApp, ErrDevelopment):
//  1. to 3. the signature is k's, ES256 over the SHA-256 of the authenticator data and the hash of clientData (ErrSignature, also where the
//     assertion is for another challenge, which cannot be told apart);
//  4. the app is k's (ErrApp), and no development build of it unless k was attested as one (ErrDevelopment);
//  5. the counter is greater than the stored one (ErrCounter).
func (v *Verifier) Assert(assertion, clientData []byte, k *Key, counter uint32) (next uint32, err error) {
	if len(clientData) == 0 { // a caller that lost its challenge
		return 0, ErrSignature
	}
	if err := v.allows(k); err != nil {
		return 0, err
	}
	signature, a, err := decodeAssertion(assertion)
	if err != nil {
		return 0, err
	}
	if err := k.signed(signature, a, clientData); err != nil {
		return 0, err
	}
	if app := sha256.Sum256([]byte(k.App)); !equal(app[:], a.app) {
		return 0, ErrApp
	}
	if a.category == categoryDevelopment && !k.Development {
		return 0, ErrDevelopment
	}
	if a.counter <= counter {
		return 0, ErrCounter
	}
	return a.counter, nil
}

// signed checks the signature. The nonce is the message, not its digest: it is hashed once more.
func (k *Key) signed(signature []byte, a authData, clientData []byte) error {
	public, _, err := p256(k.Public)
	if err != nil {
		return err
	}
	hash := sha256.Sum256(clientData)
	digest := sha256.Sum256(nonce(a.raw, hash[:]))
	if !ecdsa.VerifyASN1(public, digest[:], signature) {
		return ErrSignature
	}
	return nil
}
