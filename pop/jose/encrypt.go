package jose

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// SecretJWK is {"kty":"oct","k":…,"kid":…}, which is encrypted in cnf.jwe: k of 16 or 32 bytes, kid of 1 to 8. It is a secret in clear: only
// pop/jose/jwe writes it anywhere.
func SecretJWK(k, kid []byte) ([]byte, error) {
	if err := checkSecret(k, kid); err != nil {
		return nil, err
	}
	return secretKey.encode(member{keyType, "oct"}, member{keySecret, encode64(k)}, member{keyID, encode64(kid)})
}

// ParseSecretJWK reads what SecretJWK made, within the same bounds and nothing else. Errors hold nothing of it.
func ParseSecretJWK(plaintext []byte) (k, kid []byte, err error) { return decodeSecret(plaintext) }

// CheckJWE accepts the one shape of cnf.jwe: compact, ECDH-ES on P-256 with A128GCM. Errors wrap ErrForm or ErrProtection.
func CheckJWE(encrypted string) error { return checkJWE(encrypted) }

func checkSecret(k, kid []byte) error {
	if len(k) != 16 && len(k) != 32 {
		return fmt.Errorf("possession key of %d bytes, allowed are 16 and 32", len(k))
	}
	if len(kid) == 0 || len(kid) > maxRecvID {
		return fmt.Errorf("kid of %d bytes, allowed are 1 to %d", len(kid), maxRecvID)
	}
	return nil
}

func decodeSecret(plaintext []byte) (k, kid []byte, err error) {
	o, err := parse(plaintext)
	if err != nil {
		return nil, nil, errors.New("content is not a JSON Web Key")
	}
	for n := range o {
		if !secretKey[n] {
			return nil, nil, errors.New("content is not a bare symmetric key")
		}
	}
	if kind, err := o.text(keyType, maxID); err != nil || kind != "oct" {
		return nil, nil, errors.New("content is not a symmetric key")
	}
	if k, err = o.bytes(keySecret, 16, 32); err != nil {
		return nil, nil, err
	}
	if kid, err = o.bytes(keyID, 1, maxRecvID); err != nil {
		return nil, nil, err
	}
	return k, kid, checkSecret(k, kid)
}

// checkJWE accepts the one shape of jwe.EncryptKey. Without zip, p2c and key wrapping, there is nothing in it that could
// make a reader work harder than its length.
func checkJWE(encrypted string) error {
	parts, err := splitJWE(encrypted, MaxJWE)
	if err != nil {
		return err
	}
	if len(parts[1]) != 0 || len(parts[2]) != 12 || len(parts[3]) == 0 || len(parts[4]) != 16 {
		return fmt.Errorf("%w: jwe parts have other lengths than ECDH-ES with A128GCM", ErrForm)
	}
	return checkEncryptedHeader(parts[0])
}

// splitJWE reads the five parts of a compact JWE (RFC 7516 §7.1), as split does. Every error is ErrForm.
func splitJWE(encrypted string, limit int) (parts [5][]byte, err error) {
	if len(encrypted) > limit {
		return parts, fmt.Errorf("%w: jwe of %d bytes, at most %d", ErrForm, len(encrypted), limit)
	}
	if strings.Count(encrypted, ".") != 4 {
		return parts, fmt.Errorf("%w: not a compact JWE", ErrForm)
	}
	for i, text := range strings.Split(encrypted, ".") {
		if parts[i], err = decode64(text); err != nil {
			return parts, fmt.Errorf("%w: jwe part %d: %w", ErrForm, i+1, err)
		}
	}
	return parts, nil
}

func checkEncryptedHeader(header []byte) error {
	o, err := parse(header)
	if err != nil {
		return fmt.Errorf("%w: jwe header: %w", ErrForm, err)
	}
	for n := range o {
		if !encryptedHeader[n] {
			return fmt.Errorf("%w: jwe header parameter %.32q is not allowed", ErrProtection, n)
		}
	}
	for n, want := range map[name]string{headerAlgorithm: "ECDH-ES", headerEncryption: "A128GCM"} {
		if got, err := o.text(n, maxID); err != nil || got != want {
			return fmt.Errorf("%w: jwe %s is not %s", ErrProtection, n, want)
		}
	}
	if _, err := decodePoint(o[headerEphemeralKey]); err != nil {
		return fmt.Errorf("%w: jwe epk: %w", ErrForm, err)
	}
	return nil
}

var errCurve = errors.New("key is not on P-256")

// publicECDSA gives a point of ecdh its other type.
func publicECDSA(key *ecdh.PublicKey) (*ecdsa.PublicKey, error) {
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), key.Bytes())
}

// encodePoint writes an uncompressed P-256 point as an EC JWK (RFC 7518 §6.2.1), with its members after the given ones.
func (t table) encodePoint(point []byte, first ...member) (json.RawMessage, error) {
	if len(point) != 1+2*coordinate {
		return nil, errCurve
	}
	return t.encode(append(first,
		member{keyType, "EC"},
		member{keyCurve, "P-256"},
		member{keyX, encode64(point[1 : 1+coordinate])},
		member{keyY, encode64(point[1+coordinate:])},
	)...)
}

// decodePoint reads a public EC JWK without any other member, so a private or symmetric key is none.
func decodePoint(raw json.RawMessage) (*ecdh.PublicKey, error) {
	o, err := publicKey.parseOnly(raw)
	if err != nil {
		return nil, err
	}
	for n, want := range map[name]string{keyType: "EC", keyCurve: "P-256"} {
		if got, err := o.text(n, maxID); err != nil || got != want {
			return nil, fmt.Errorf("%s is not %s", n, want)
		}
	}
	x, errX := o.bytes(keyX, coordinate, coordinate)
	y, errY := o.bytes(keyY, coordinate, coordinate)
	if err := errors.Join(errX, errY); err != nil {
		return nil, err
	}
	point, err := ecdh.P256().NewPublicKey(append(append([]byte{4}, x...), y...))
	if err != nil {
		return nil, errCurve
	}
	return point, nil
}
