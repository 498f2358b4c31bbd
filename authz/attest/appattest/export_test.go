package appattest

import "time"

// AttestHash is Attest for the examples whose app hands over something else than the SHA-256 of its client data.
func (v *Verifier) AttestHash(object, keyID, clientDataHash []byte, now time.Time) (*Key, error) {
	return v.attest(object, keyID, clientDataHash, now)
}
