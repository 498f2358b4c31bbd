package jose

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
)

// Confirmation is the claim cnf of a token that is not for a device: the one key whose possession must be shown (RFC 7800).
// Exactly one field is set.
type Confirmation struct {
	Key         *Key       // jwk
	Encrypted   string     // jwe: a compact JWE of a symmetric key, in the form of EncryptKey
	KeyID       string     // kid
	Thumbprint  Thumbprint // jkt (RFC 9449 §6.1): the key of DPoP proofs
	Certificate Thumbprint // x5t#S256 (RFC 8705 §3.1): SHA-256 of the client's certificate in DER
}

// Confirms reports whether the confirmation names this very public key: by value (jwk), or as the key of a DPoP proof (jkt).
// That its holder has shown possession is the caller's to know. A mere kid names none.
func (c *Confirmation) Confirms(k *Key) bool {
	switch {
	case c == nil || k == nil || k.public == nil:
		return false
	case c.Key != nil:
		return c.Key.Equal(k)
	}
	return c.Thumbprint != (Thumbprint{}) && subtle.ConstantTimeCompare(c.Thumbprint[:], k.thumb[:]) == 1
}

// ConfirmsCertificate reports whether the confirmation is x5t#S256 of this certificate in DER (RFC 8705 §3.1): the one with
// which the client of a TLS connection has authenticated.
func (c *Confirmation) ConfirmsCertificate(der []byte) bool {
	if c == nil || c.Certificate == (Thumbprint{}) {
		return false
	}
	sum := sha256.Sum256(der)
	return subtle.ConstantTimeCompare(c.Certificate[:], sum[:]) == 1
}

// methods gives the members that are set.
func (c *Confirmation) methods() ([]member, error) {
	var all []member
	if c.Key != nil {
		jwk, err := c.Key.JWK()
		if err != nil {
			return nil, err
		}
		all = append(all, member{methodKey, jwk})
	}
	if c.Encrypted != "" {
		// What is not a JWE could be the key itself.
		if err := checkJWE(c.Encrypted); err != nil {
			return nil, err
		}
		all = append(all, member{methodEncrypted, c.Encrypted})
	}
	for n, s := range map[name]string{methodKeyID: c.KeyID, methodThumbprint: c.Thumbprint.String(), methodCertificate: c.Certificate.String()} {
		if len(s) > maxForeignID {
			return nil, fmt.Errorf("%s of %d bytes, at most %d", n, len(s), maxForeignID)
		}
		if s != "" {
			all = append(all, member{n, s})
		}
	}
	return all, nil
}

func (c *Confirmation) encode() (json.RawMessage, error) {
	members, err := c.methods()
	if err != nil {
		return nil, err
	}
	if len(members) != 1 {
		return nil, errOneMethod
	}
	return methodNames.encode(members...)
}

// parseConfirmation reads cnf. Two methods are refused, even if both could be met: which one counts would be a guess. A
// token bound in a way that is not known here is not a token without a key.
func parseConfirmation(raw json.RawMessage) (*Confirmation, error) {
	o, err := parseTo(raw, maxForeignDepth)
	if err != nil {
		return nil, err
	}
	var found []name
	for _, n := range allMethods {
		if _, ok := o[n]; ok {
			found = append(found, n)
		}
	}
	if len(found) != 1 {
		return nil, errOneMethod
	}
	c := &Confirmation{}
	switch found[0] {
	case methodKey:
		c.Key, err = ParseKey(o[methodKey])
	case methodEncrypted:
		if c.Encrypted, err = o.text(methodEncrypted, MaxJWE); err == nil {
			err = checkJWE(c.Encrypted)
		}
	case methodKeyID:
		c.KeyID, err = o.text(methodKeyID, maxForeignID)
	case methodThumbprint:
		c.Thumbprint, err = o.thumbprint(methodThumbprint)
	case methodCertificate:
		c.Certificate, err = o.thumbprint(methodCertificate)
	default:
		err = errors.New("keys behind a URL are not fetched")
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (o object) thumbprint(n name) (Thumbprint, error) {
	s, err := o.text(n, maxID)
	if err != nil {
		return Thumbprint{}, err
	}
	return ParseThumbprint(s)
}
