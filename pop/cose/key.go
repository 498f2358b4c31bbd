package cose

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/subtle"
	"fmt"
	"io"
	"slices"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// Key is a COSE_Key: a public key on P-256 or a symmetric key. It is immutable and prints without its secret. The zero
// value is no key.
type Key struct {
	kind       KeyType
	id         KeyID
	alg        Algorithm
	ops        []KeyOperation
	public     *ecdsa.PublicKey // EC2
	compressed bool             // y is encoded as its sign
	secret     []byte           // Symmetric
}

// NewSymmetric makes a key of 16 to 64 bytes with an id, which may be nil. Encode refuses other lengths.
func NewSymmetric(k []byte, kid KeyID) *Key {
	return &Key{kind: KeyTypeSymmetric, id: slices.Clone(kid), secret: slices.Clone(k)}
}

// PublicKey makes a key of a public key on P-256 with an id, which may be nil.
func PublicKey(public *ecdsa.PublicKey, kid KeyID) (*Key, error) {
	if public.Curve != elliptic.P256() {
		return nil, unsupported("curve other than P-256")
	}
	point, err := public.Bytes()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	k := &Key{kind: KeyTypeEC2, id: slices.Clone(kid)}
	k.public, err = ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	return k, err
}

// Compressed is the same key with y encoded as its sign alone (RFC 9053 §7.1.1), which saves 32 bytes.
func (k *Key) Compressed() *Key {
	c := *k
	c.compressed = k.kind == KeyTypeEC2
	return &c
}

// Type is the key type.
func (k *Key) Type() KeyType { return k.kind }

// ID is the key id, nil if there is none.
func (k *Key) ID() KeyID { return k.id }

// Algorithm is the only algorithm the key may be used with, 0 if it does not say.
func (k *Key) Algorithm() Algorithm { return k.alg }

// Operations are what the key may be used for, nil if it does not say.
func (k *Key) Operations() []KeyOperation { return slices.Clone(k.ops) }

// Public is the public key, nil for a symmetric key.
func (k *Key) Public() *ecdsa.PublicKey { return k.public }

// Secret is the symmetric key, nil for a public key.
func (k *Key) Secret() []byte { return slices.Clone(k.secret) }

// Equal reports whether both are the same key under the same id, in time that does not depend on the secret.
func (k *Key) Equal(other *Key) bool {
	if k.kind != other.kind || string(k.id) != string(other.id) {
		return false
	}
	if k.kind == KeyTypeEC2 {
		return k.public.Equal(other.public)
	}
	return subtle.ConstantTimeCompare(k.secret, other.secret) == 1
}

// Format prints type and id for every verb, never a secret.
func (k *Key) Format(s fmt.State, _ rune) {
	if k == nil {
		_, _ = io.WriteString(s, "no key")
		return
	}
	_, _ = fmt.Fprintf(s, "%v key %x %s", k.kind, []byte(k.id), redacted)
}

// MarshalText hides the key from JSON and structured logs.
func (*Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Encode gives the deterministic COSE_Key.
func (k *Key) Encode() ([]byte, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	m := map[int64]any{labelType: int64(k.kind)}
	if k.id != nil {
		m[labelID] = []byte(k.id)
	}
	if k.alg != 0 {
		m[labelAlgorithm] = int64(k.alg)
	}
	if k.ops != nil {
		m[labelOperations] = k.ops
	}
	if k.kind == KeyTypeSymmetric {
		m[labelK] = k.secret
		return wire.Marshal(m)
	}
	point, err := k.public.Bytes()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	m[labelCurve], m[labelX], m[labelY] = curveP256, point[1:33], point[33:]
	if k.compressed {
		m[labelY] = point[64]&1 == 1
	}
	return wire.Marshal(m)
}

func (k *Key) check() error {
	if len(k.id) > MaxKeyID {
		return fmt.Errorf("%w: id of %d bytes, at most %d", ErrKey, len(k.id), MaxKeyID)
	}
	switch k.kind {
	case KeyTypeEC2:
		return nil
	case KeyTypeSymmetric:
		if len(k.secret) < minSecret || len(k.secret) > maxSecret {
			return fmt.Errorf("%w: %d bytes, want %d to %d", ErrKey, len(k.secret), minSecret, maxSecret)
		}
		return nil
	}
	return fmt.Errorf("%w: no key", ErrKey)
}
