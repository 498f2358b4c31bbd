package jose

import (
	"crypto/sha256"
	"fmt"
)

// Thumbprint is a SHA-256 digest that stands for a key (RFC 7638) or a certificate (RFC 8705 §3.1). The zero value is none.
type Thumbprint [sha256.Size]byte

// String is the unpadded base64url that jkt, dpop_jkt and x5t#S256 carry, empty for none.
func (t Thumbprint) String() string {
	if t == (Thumbprint{}) {
		return ""
	}
	return encode64(t[:])
}

// ParseThumbprint reads exactly what String writes, as in the authorization request parameter dpop_jkt (RFC 9449 §10).
func ParseThumbprint(s string) (Thumbprint, error) {
	b, err := decode64(s)
	if err != nil || len(b) != len(Thumbprint{}) || Thumbprint(b) == (Thumbprint{}) {
		return Thumbprint{}, fmt.Errorf("thumbprint: %w", errNotBytes)
	}
	return Thumbprint(b), nil
}

// requiredMembers are what a thumbprint covers, in the order of their names (RFC 7638 §3.2, RFC 8037 §2).
var requiredMembers = map[string][]name{
	"EC":  {keyCurve, keyType, keyX, keyY},
	"OKP": {keyCurve, keyType, keyX},
	"RSA": {keyExponent, keyType, keyModulus},
	"oct": {keySecret, keyType},
}

// ThumbprintOf is the thumbprint of any JSON Web Key, also of those kinds that sign nothing here. Values are taken as they
// stand; ParseKey is what judges them.
func ThumbprintOf(jwk []byte) (Thumbprint, error) {
	if len(jwk) > maxKey {
		return Thumbprint{}, fmt.Errorf("thumbprint: key of %d bytes, at most %d", len(jwk), maxKey)
	}
	o, err := parseTo(jwk, maxForeignDepth)
	if err != nil {
		return Thumbprint{}, fmt.Errorf("thumbprint: %w", err)
	}
	kind, err := o.text(keyType, maxID)
	if err != nil {
		return Thumbprint{}, fmt.Errorf("thumbprint: %w", err)
	}
	names, ok := requiredMembers[kind]
	if !ok {
		return Thumbprint{}, fmt.Errorf("thumbprint: %w", errForeignKey)
	}
	var members []member
	for _, n := range names {
		value, err := o.text(n, maxKey)
		if err != nil || value == "" {
			return Thumbprint{}, fmt.Errorf("thumbprint: %s is missing or not a string", n)
		}
		members = append(members, member{n, value})
	}
	return thumbprint(members)
}

func thumbprint(members []member) (Thumbprint, error) {
	text, err := thumbprintNames.encode(members...)
	if err != nil {
		return Thumbprint{}, fmt.Errorf("thumbprint: %w", err)
	}
	return sha256.Sum256(text), nil
}
