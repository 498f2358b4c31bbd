package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Key is what a signature is verified with: a public key, or a secret shared with one other party, and the one algorithm it
// is for. It is immutable and prints without a secret. The zero value is no key.
type Key struct {
	id     string
	alg    Algorithm
	public crypto.PublicKey // *ecdsa.PublicKey or ed25519.PublicKey
	secret []byte           // HS256
	thumb  Thumbprint
}

// NewKey takes a public key on P-256 (for ES256) or P-384 (for ES384) or an Ed25519 key (for EdDSA), but none of small
// order, under which anyone could sign. id may be empty.
func NewKey(public crypto.PublicKey, id string) (*Key, error) {
	alg, err := algorithmOf(public)
	if err != nil {
		return nil, err
	}
	if edwards, ok := public.(ed25519.PublicKey); ok && isWeak(edwards) {
		return nil, errWeakKey
	}
	k := &Key{id: id, alg: alg, public: public}
	members, err := k.required()
	if err != nil {
		return nil, err
	}
	k.thumb, err = thumbprint(members)
	return k, err
}

// NewSecretKey takes a secret of 32 to 64 bytes for HS256 (RFC 7518 §3.2). It verifies only, and stands in no set.
func NewSecretKey(secret []byte, id string) (*Key, error) {
	if len(secret) < minSecret || len(secret) > maxSecret {
		return nil, fmt.Errorf("secret of %d bytes, want %d to %d", len(secret), minSecret, maxSecret)
	}
	return &Key{id: id, alg: HS256, secret: slices.Clone(secret)}, nil
}

// ID is the kid, empty if the key has none.
func (k *Key) ID() string { return k.id }

// Algorithm is the only one the key is for.
func (k *Key) Algorithm() Algorithm { return k.alg }

// Public is the *ecdsa.PublicKey or ed25519.PublicKey, nil for a shared secret.
func (k *Key) Public() crypto.PublicKey { return k.public }

// Thumbprint is the SHA-256 JWK thumbprint (RFC 7638): jkt, dpop_jkt. A shared secret has none: the zero value.
func (k *Key) Thumbprint() Thumbprint { return k.thumb }

// Equal reports whether both are the same public key, whatever they are called.
func (k *Key) Equal(other *Key) bool {
	return k != nil && other != nil && k.public != nil && k.thumb == other.thumb
}

// Format prints algorithm and id for every verb, never a secret.
func (k *Key) Format(s fmt.State, _ rune) {
	if k == nil {
		_, _ = io.WriteString(s, "no key")
		return
	}
	_, _ = fmt.Fprintf(s, "%v key %.64q [redacted]", k.alg, k.id)
}

// MarshalText hides the key from JSON and structured logs; JWK writes it.
func (*Key) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// JWK writes the public key with its required members alone (RFC 7518 §6, RFC 8037 §2). A shared secret is
// ErrSecretInClear.
func (k *Key) JWK() (json.RawMessage, error) {
	members, err := k.required()
	if err != nil {
		return nil, err
	}
	return publicKey.encode(members...)
}

// required gives the members that a thumbprint covers, in the order of their names.
func (k *Key) required() ([]member, error) {
	switch public := k.public.(type) {
	case *ecdsa.PublicKey:
		point, err := public.Bytes()
		if err != nil {
			return nil, errKeyKind
		}
		half := len(point) / 2
		return []member{{keyCurve, public.Params().Name}, {keyType, "EC"}, {keyX, encode64(point[1 : 1+half])}, {keyY, encode64(point[1+half:])}}, nil
	case ed25519.PublicKey:
		return []member{{keyCurve, "Ed25519"}, {keyType, "OKP"}, {keyX, encode64(public)}}, nil
	}
	return nil, ErrSecretInClear
}

// errForeignKey marks a key that is well formed and merely not for us.
var errForeignKey = errors.New("not a signature key of a kind that is used here")

// ParseKey reads a public JWK (RFC 7517 §4). A private or symmetric member is refused (ErrSecretInClear), whatever the
// type; members that are not known are ignored; use, key_ops and alg must allow what the key is for.
func ParseKey(jwk []byte) (*Key, error) {
	if len(jwk) > maxKey {
		return nil, fmt.Errorf("key of %d bytes, at most %d", len(jwk), maxKey)
	}
	o, err := parseTo(jwk, maxForeignDepth)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	for n := range o {
		if secretMembers[n] {
			return nil, fmt.Errorf("key: member %s: %w", n, ErrSecretInClear)
		}
	}
	public, err := o.public()
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	id, err := o.text(keyID, maxForeignID)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	k, err := NewKey(public, id)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	return k, k.checkUse(o)
}

// public reads the key of an EC or OKP object.
func (o object) public() (crypto.PublicKey, error) {
	kind, err := o.text(keyType, maxID)
	if err != nil {
		return nil, err
	}
	curve, err := o.text(keyCurve, maxID)
	if err != nil {
		return nil, err
	}
	switch kind + " " + curve {
	case "EC P-256":
		return o.point(elliptic.P256())
	case "EC P-384":
		return o.point(elliptic.P384())
	case "OKP Ed25519":
		x, err := o.bytes(keyX, ed25519.PublicKeySize, ed25519.PublicKeySize)
		if err == nil && x == nil {
			err = fmt.Errorf("%s: %w", keyX, errNotBytes)
		}
		return ed25519.PublicKey(x), err
	}
	if kind == "" {
		return nil, errors.New("no kty")
	}
	return nil, errForeignKey
}

func (o object) point(curve elliptic.Curve) (*ecdsa.PublicKey, error) {
	size := (curve.Params().BitSize + 7) / 8
	x, errX := o.bytes(keyX, size, size)
	y, errY := o.bytes(keyY, size, size)
	if err := errors.Join(errX, errY); err != nil {
		return nil, err
	}
	public, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil, errCurve
	}
	return public, nil
}

// checkUse holds the key to what it says it is for.
func (k *Key) checkUse(o object) error {
	use, err := o.text(keyUse, maxID)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	alg, err := o.text(keyAlgorithm, maxID)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	if use != "" && use != "sig" || alg != "" && alg != k.alg.String() {
		return fmt.Errorf("key: %w", errForeignKey)
	}
	raw, ok := o[keyOperations]
	if !ok {
		return nil
	}
	var ops []string
	if err := json.Unmarshal(raw, &ops); err != nil {
		return fmt.Errorf("key: %s is not a list of names", keyOperations)
	}
	if !slices.Contains(ops, "verify") {
		return fmt.Errorf("key: %w", errForeignKey)
	}
	return nil
}
