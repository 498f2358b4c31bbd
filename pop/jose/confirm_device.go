package jose

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/cose"
)

var (
	errOneMethod = errors.New("needs exactly one confirmation method that is known here")
	errBareKey   = errors.New("a public key in a token has no kid, alg or key_ops")
)

// encodeConfirmation writes cnf. What would lie readable in a signed token and is secret, or has no JSON form, is
// refused (RFC 7800 §3.2: a symmetric jwk only in an encrypted JWT).
func encodeConfirmation(c *pop.Confirmation) (json.RawMessage, error) {
	if c.OSCORE != nil {
		return nil, fmt.Errorf("%s: %w", claimConfirmation, ErrSecretInClear)
	}
	if c.Encrypted != nil || c.Thumbprint != nil {
		return nil, fmt.Errorf("%s: an Encrypted_COSE_Key or its thumbprint has no JSON form", claimConfirmation)
	}
	var methods []member
	if c.Key != nil {
		key, err := encodePublic(c.Key)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", claimConfirmation, err)
		}
		methods = append(methods, member{methodKey, key})
	}
	if c.JWE != "" {
		// What is not a JWE could be the key itself.
		if err := checkJWE(c.JWE); err != nil {
			return nil, fmt.Errorf("%s: %w", claimConfirmation, err)
		}
		methods = append(methods, member{methodEncrypted, c.JWE})
	}
	if len(c.KeyID) != 0 {
		if len(c.KeyID) > maxID {
			return nil, fmt.Errorf("%s: kid of %d bytes, at most %d", claimConfirmation, len(c.KeyID), maxID)
		}
		methods = append(methods, member{methodKeyID, encode64(c.KeyID)})
	}
	if len(methods) != 1 {
		return nil, fmt.Errorf("%s: %w", claimConfirmation, errOneMethod)
	}
	return deviceMethods.encode(methods...)
}

// decodeConfirmation reads cnf. A method we do not know is refused, not ignored: without it the token would say less
// than its issuer meant.
func decodeConfirmation(raw json.RawMessage) (pop.Confirmation, error) {
	var c pop.Confirmation
	if raw == nil {
		return c, errOneMethod
	}
	o, err := deviceMethods.parseOnly(raw)
	if err != nil {
		return c, err
	}
	if len(o) != 1 {
		return c, errOneMethod
	}
	if key, ok := o[methodKey]; ok {
		c.Key, err = decodePublic(key)
		return c, err
	}
	if _, ok := o[methodKeyID]; ok {
		id, err := o.bytes(methodKeyID, 1, maxID)
		return pop.Confirmation{KeyID: cose.KeyID(id)}, err
	}
	if c.JWE, err = o.text(methodEncrypted, MaxJWE); err != nil {
		return c, err
	}
	return c, checkJWE(c.JWE)
}

// encodePublic writes a bare public P-256 key. What a JWK of ours has no member for is refused, not dropped.
func encodePublic(k *cose.Key) (json.RawMessage, error) {
	public := k.Public()
	if public == nil {
		return nil, ErrSecretInClear
	}
	if k.ID() != nil || k.Algorithm() != 0 || k.Operations() != nil {
		return nil, errBareKey
	}
	point, err := public.Bytes()
	if err != nil {
		return nil, errCurve
	}
	return publicKey.encodePoint(point)
}

func decodePublic(raw json.RawMessage) (*cose.Key, error) {
	point, err := decodePoint(raw)
	if err != nil {
		return nil, err
	}
	public, err := publicECDSA(point)
	if err != nil {
		return nil, err
	}
	return cose.PublicKey(public, nil)
}
