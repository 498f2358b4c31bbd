package cose

import (
	"crypto"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/subtle"
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// Key is a COSE_Key: a public or private key on P-256, P-384, Ed25519 or X25519, or a symmetric one. It is immutable, safe
// for concurrent use and prints without its secret. The zero value is no key.
type Key struct {
	kind       KeyType
	curve      Curve // EC2, OKP
	id         KeyID
	alg        Algorithm
	ops        []KeyOperation
	baseIV     []byte
	public     any    // *ecdsa.PublicKey, ed25519.PublicKey or, on X25519, *ecdh.PublicKey
	private    any    // *ecdsa.PrivateKey, ed25519.PrivateKey or *ecdh.PrivateKey; nil for a public key
	compressed bool   // y is encoded as its sign
	secret     []byte // Symmetric

	schedule atomic.Pointer[schedule]
}

// schedule is an AEAD that is ready for use.
type schedule struct {
	alg  Algorithm
	aead cipher.AEAD
}

// KeyOptions are the parameters that every kind of key may have. The zero value says nothing.
type KeyOptions struct {
	ID         KeyID
	Algorithm  Algorithm      // the only one the key may be used with
	Operations []KeyOperation // the only ones it may be used for
	BaseIV     []byte         // of a symmetric key: what partial IVs complete
}

// NewKey makes a key of a []byte, an *ecdsa.PublicKey or *ecdsa.PrivateKey on P-256 or P-384, an ed25519.PublicKey or
// ed25519.PrivateKey, or an *ecdh.PublicKey or *ecdh.PrivateKey on P-256, P-384 or X25519. Others are ErrUnsupported.
func NewKey(material any, o KeyOptions) (*Key, error) {
	k := &Key{id: slices.Clone(o.ID), alg: o.Algorithm, ops: slices.Clone(o.Operations), baseIV: slices.Clone(o.BaseIV)}
	if err := k.take(material); err != nil {
		return nil, err
	}
	return k, k.check()
}

// NewSymmetric makes a key of 16 to 64 bytes with an id, which may be nil. Encode refuses other lengths.
func NewSymmetric(k []byte, kid KeyID) *Key {
	return &Key{kind: KeyTypeSymmetric, id: slices.Clone(kid), secret: slices.Clone(k)}
}

// PublicKey makes a key of a public key on P-256 or P-384 with an id, which may be nil.
func PublicKey(public *ecdsa.PublicKey, kid KeyID) (*Key, error) {
	return NewKey(public, KeyOptions{ID: kid})
}

// Compressed is the same key with y encoded as its sign alone (RFC 9053 §7.1.1), which saves 32 bytes.
func (k *Key) Compressed() *Key {
	return &Key{
		kind: k.kind, curve: k.curve, id: k.id, alg: k.alg, ops: k.ops, baseIV: k.baseIV, public: k.public, private: k.private,
		secret: k.secret, compressed: k.kind == KeyTypeEC2,
	}
}

// Type is the key type.
func (k *Key) Type() KeyType { return k.kind }

// Curve is that of an EC2 or OKP key, 0 for a symmetric one.
func (k *Key) Curve() Curve { return k.curve }

// ID is the key id, nil if there is none.
func (k *Key) ID() KeyID { return k.id }

// Algorithm is the only algorithm the key may be used with, 0 if it does not say.
func (k *Key) Algorithm() Algorithm { return k.alg }

// Operations are what the key may be used for, nil if it does not say.
func (k *Key) Operations() []KeyOperation { return slices.Clone(k.ops) }

// BaseIV is what partial IVs complete, nil if there is none.
func (k *Key) BaseIV() []byte { return slices.Clone(k.baseIV) }

// Public is the public key of an EC2 key, nil for every other.
func (k *Key) Public() *ecdsa.PublicKey {
	public, _ := k.public.(*ecdsa.PublicKey)
	return public
}

// Verifier is the public key: *ecdsa.PublicKey, ed25519.PublicKey or, on X25519, *ecdh.PublicKey; nil for a symmetric key.
func (k *Key) Verifier() crypto.PublicKey { return k.public }

// ECDH is the public key for key agreement; a symmetric key and Ed25519 are ErrKey.
func (k *Key) ECDH() (*ecdh.PublicKey, error) {
	switch public := k.public.(type) {
	case *ecdsa.PublicKey:
		key, err := public.ECDH()
		if err != nil {
			return nil, unfit("%w", err)
		}
		return key, nil
	case *ecdh.PublicKey:
		return public, nil
	}
	return nil, unfit("%v key is not for key agreement", k.kind)
}

func (k *Key) ecdhPrivate() (*ecdh.PrivateKey, error) {
	switch private := k.private.(type) {
	case *ecdsa.PrivateKey:
		key, err := private.ECDH()
		if err != nil {
			return nil, unfit("%w", err)
		}
		return key, nil
	case *ecdh.PrivateKey:
		return private, nil
	}
	return nil, unfit("key agreement needs a private key on P-256, P-384 or X25519")
}

// IsPrivate reports whether the key has a private part; a symmetric key has none but is a secret as a whole.
func (k *Key) IsPrivate() bool { return k.private != nil }

// Signer is the private key as it signs, with the key's id. A key that is not private, not permitted to sign or for
// another algorithm than that of its curve is ErrKey.
func (k *Key) Signer() (Signer, error) {
	private, ok := k.private.(crypto.Signer)
	if !ok {
		return Signer{}, unfit("no private key to sign with")
	}
	s := Signer{Key: private, ID: k.id}
	alg, err := s.algorithm()
	if err != nil {
		return Signer{}, err
	}
	return s, k.permits(alg, OperationSign)
}

// Secret is the symmetric key, nil for a public key.
func (k *Key) Secret() []byte { return slices.Clone(k.secret) }

// Equal reports whether both are the same key under the same id, in time that does not depend on the secret. A private key
// equals its public one: what differs is what one may do with it.
func (k *Key) Equal(other *Key) bool {
	if k.kind != other.kind || string(k.id) != string(other.id) {
		return false
	}
	switch public := k.public.(type) {
	case *ecdsa.PublicKey:
		return public.Equal(other.public)
	case ed25519.PublicKey:
		return public.Equal(other.public)
	case *ecdh.PublicKey:
		return public.Equal(other.public)
	}
	return other.public == nil && subtle.ConstantTimeCompare(k.secret, other.secret) == 1
}

// Format prints type and id for every verb, never a secret.
func (k *Key) Format(s fmt.State, _ rune) {
	if k == nil {
		_, _ = io.WriteString(s, "no key")
		return
	}
	id := ""
	if k.id != nil {
		id = fmt.Sprintf(" %x", []byte(k.id))
	}
	_, _ = fmt.Fprintf(s, "%v key%s %s", k.kind, id, redacted)
}

// MarshalText hides the key from JSON and structured logs.
func (*Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// permits refuses a key for another algorithm than alg, or one that may be used for none of ops.
func (k *Key) permits(alg Algorithm, ops ...KeyOperation) error {
	switch {
	case k == nil || k.kind == 0:
		return unfit("no key")
	case alg == 0:
		return unfit("the key does not say its algorithm")
	case k.alg != 0 && k.alg != alg:
		return unfit("key is for %v, not for %v", k.alg, alg)
	}
	if k.ops == nil || len(ops) == 0 {
		return nil
	}
	for _, op := range ops {
		if slices.Contains(k.ops, op) {
			return nil
		}
	}
	return unfit("key is not permitted to %v", ops[0])
}

// permitsOwn is permits for a key that itself decides the algorithm; is says whether that is one of the right kind.
func (k *Key) permitsOwn(op KeyOperation, is func(Algorithm) bool) error {
	if k == nil {
		return unfit("no key")
	}
	if err := k.permits(k.alg, op); err != nil {
		return err
	}
	if !is(k.alg) {
		return unfit("to %v: %w", op, unsupported(k.alg))
	}
	return k.check()
}

func (k *Key) content() *contentKey { return &contentKey{key: k, baseIV: k.baseIV} }

// aead keeps the key schedule of the algorithm that was used last; a key that is not a toy has only one.
func (k *Key) aead(alg Algorithm) (cipher.AEAD, error) {
	if s := k.schedule.Load(); s != nil && s.alg == alg {
		return s.aead, nil
	}
	aead, err := newAEAD(alg, k.secret)
	if err != nil {
		return nil, err
	}
	k.schedule.Store(&schedule{alg, aead})
	return aead, nil
}

func (k *Key) check() error {
	if len(k.id) > MaxKeyID {
		return unfit("id of %d bytes, at most %d", len(k.id), MaxKeyID)
	}
	if len(k.baseIV) > maxBaseIV {
		return unfit("Base IV of %d bytes, at most %d", len(k.baseIV), maxBaseIV)
	}
	switch k.kind {
	case KeyTypeOKP, KeyTypeEC2:
		return nil
	case KeyTypeSymmetric:
		if len(k.secret) < minSecret || len(k.secret) > maxSecret {
			return unfit("%d bytes, want %d to %d", len(k.secret), minSecret, maxSecret)
		}
		return nil
	}
	return unfit("no key")
}

// Encode gives the deterministic COSE_Key without a private part. That of a symmetric key is its secret.
func (k *Key) Encode() ([]byte, error) {
	m, err := k.parameters()
	if err != nil {
		return nil, err
	}
	return wire.Marshal(m)
}

// EncodePrivate gives the deterministic COSE_Key of a private or symmetric key, as a secret; a public key is ErrKey.
func (k *Key) EncodePrivate() ([]byte, error) {
	m, err := k.parameters()
	if err != nil {
		return nil, err
	}
	switch private := k.private.(type) {
	case *ecdsa.PrivateKey:
		if m[labelD], err = private.Bytes(); err != nil {
			return nil, unfit("%w", err)
		}
	case ed25519.PrivateKey:
		m[labelD] = private.Seed()
	case *ecdh.PrivateKey:
		m[labelD] = private.Bytes()
	default:
		if k.kind != KeyTypeSymmetric {
			return nil, unfit("no private key")
		}
	}
	return wire.Marshal(m)
}

// parameters are those of the public or symmetric key.
func (k *Key) parameters() (map[int64]any, error) {
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
	if k.baseIV != nil {
		m[labelBaseIV] = k.baseIV
	}
	switch public := k.public.(type) {
	case *ecdsa.PublicKey:
		point, err := public.Bytes()
		if err != nil {
			return nil, unfit("%w", err)
		}
		size := len(point) / 2
		m[labelCurve], m[labelX], m[labelY] = int64(k.curve), point[1:1+size], point[1+size:]
		if k.compressed {
			m[labelY] = point[2*size]&1 == 1
		}
	case ed25519.PublicKey:
		m[labelCurve], m[labelX] = int64(k.curve), []byte(public)
	case *ecdh.PublicKey:
		m[labelCurve], m[labelX] = int64(k.curve), public.Bytes()
	default:
		m[labelK] = k.secret
	}
	return m, nil
}
