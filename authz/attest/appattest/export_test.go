package appattest

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"time"
)

// AttestHash is Attest for the examples whose app hands over something else than the SHA-256 of its client data.
func (v *Verifier) AttestHash(object, keyID, clientDataHash []byte, now time.Time) (*Key, error) {
	return v.attest(object, keyID, clientDataHash, now)
}

// DecodeParts reads what is inside an attestation object: authenticator data, and the extension of the leaf with the nonce.
func DecodeParts(authData, extension []byte) (parsed, nonce error) {
	_, parsed = parseAttested(authData)
	_, nonce = leafNonce(&x509.Certificate{Extensions: []pkix.Extension{{Id: oidNonce, Value: extension}}})
	return parsed, nonce
}
