// Package jwe encrypts the possession key in cnf.jwe to a device and opens it there (RFC 7516, RFC 7800 §3.3, D8), and opens what Google
// Play encrypts to a server. It is apart from pop/jose because jwx is behind it, which no lock carries. Start from EncryptKey or Unwrap.
package jwe

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/jose"
	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwe"
)

// EncryptKey makes the value of cnf.jwe (RFC 7800 §3.3, D8): a compact JWE, ECDH-ES with A128GCM, of the JWK
// {"kty":"oct","k":…,"kid":…}. k is an OSCORE master secret of 16 or 32 bytes, kid its OSCORE id of 1 to 8 bytes; to is the
// device's P-256 key. The ephemeral key is made by the library, from the system's random source.
func EncryptKey(k, kid []byte, to *ecdh.PublicKey) (string, error) {
	plaintext, err := jose.SecretJWK(k, kid)
	if err != nil {
		return "", fmt.Errorf("encrypt key: %w", err)
	}
	key, err := publicECDSA(to)
	if err != nil {
		return "", fmt.Errorf("encrypt key: %w", err)
	}
	out, err := jwe.Encrypt(plaintext, jwe.WithKey(jwa.ECDH_ES, key), jwe.WithContentEncryption(jwa.A128GCM))
	if err != nil {
		return "", fmt.Errorf("encrypt key: %w", err)
	}
	return string(out), nil
}

// DecryptKey opens what EncryptKey made. The JWE must have exactly those algorithms, and inside an oct JWK with k and kid
// within the same bounds and nothing else. Errors wrap jose.ErrForm or jose.ErrProtection and hold nothing of the plaintext.
func DecryptKey(encrypted string, private *ecdh.PrivateKey) (k, kid []byte, err error) {
	if err := jose.CheckJWE(encrypted); err != nil {
		return nil, nil, fmt.Errorf("decrypt key: %w", err)
	}
	key, err := privateECDSA(private)
	if err != nil {
		return nil, nil, fmt.Errorf("decrypt key: %w", err)
	}
	plaintext, err := jwe.Decrypt([]byte(encrypted), jwe.WithKey(jwa.ECDH_ES, key))
	if err != nil {
		return nil, nil, fmt.Errorf("decrypt key: %w", jose.ErrProtection)
	}
	if k, kid, err = jose.ParseSecretJWK(plaintext); err != nil {
		return nil, nil, fmt.Errorf("decrypt key: %w: %w", jose.ErrForm, err)
	}
	return k, kid, nil
}

var errCurve = errors.New("key is not on P-256")

// publicECDSA gives jwx, which knows no ecdh keys, the same point under another type.
func publicECDSA(key *ecdh.PublicKey) (*ecdsa.PublicKey, error) {
	if key == nil || key.Curve() != ecdh.P256() {
		return nil, errCurve
	}
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), key.Bytes())
}

func privateECDSA(key *ecdh.PrivateKey) (*ecdsa.PrivateKey, error) {
	if key == nil || key.Curve() != ecdh.P256() {
		return nil, errCurve
	}
	return ecdsa.ParseRawPrivateKey(elliptic.P256(), key.Bytes())
}
