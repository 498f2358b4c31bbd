package cose

import (
	"crypto"
	"crypto/ecdsa"
	"fmt"
	"io"
)

const contextSignature1 = "Signature1"

// FindPublic returns the ECDSA key that a signed message names; kid is nil if it names none.
type FindPublic func(alg Algorithm, kid KeyID) (*ecdsa.PublicKey, error)

// keys makes the same known to what takes typed keys.
func (find FindPublic) keys() FindKey {
	return func(alg Algorithm, kid KeyID) (*Key, error) {
		public, err := find(alg, kid)
		if err != nil || public == nil {
			return nil, err
		}
		return &Key{kind: KeyTypeEC2, curve: curveOf(public.Curve), public: public}, nil
	}
}

// Signer is a private key, which may live in a hardware module, and its name. The kind of key decides the algorithm: P-256
// ES256, P-384 ES384, Ed25519 EdDSA.
type Signer struct {
	Key crypto.Signer
	ID  KeyID // nil: the message names no key
}

// Sign1 signs payload and returns an untagged COSE_Sign1. Algorithm and key id stand in the protected header; an ECDSA
// signature has the lower of its two possible s, so that it is the only one for its r. externalAAD may be nil.
func Sign1(s Signer, payload, externalAAD []byte, rand io.Reader) ([]byte, error) {
	protected, err := s.header()
	if err != nil {
		return nil, err
	}
	signature, err := s.sign(structure(contextSignature1, protected, externalAAD, payload), rand)
	if err != nil {
		return nil, err
	}
	return assemble(protected, emptyMap, payload, appendBytes(nil, signature)), nil
}

// assemble encodes a structure from its buckets, its content and what follows, already encoded.
func assemble(protected, unprotected, content []byte, more ...[]byte) []byte {
	out := make([]byte, 0, len(protected)+len(unprotected)+len(content)+128)
	out = appendHead(out, majorArray, uint64(3+len(more)))
	out = append(appendBytes(out, protected), unprotected...)
	out = appendBytes(out, content)
	for _, item := range more {
		out = append(out, item...)
	}
	return out
}

// VerifySign1 returns the payload of an untagged COSE_Sign1 if its ECDSA signature is by the key that find returns.
// Errors: ErrMalformed, ErrUnsupported, ErrKey, ErrVerification, or what find said.
func VerifySign1(data []byte, find FindPublic, externalAAD []byte) ([]byte, error) {
	m, err := ParseSign1(data)
	if err != nil {
		return nil, err
	}
	return m.Verify(find, externalAAD)
}

// Sign1Message is a COSE_Sign1 that has been read but not verified: nothing it says is authentic.
type Sign1Message struct {
	message
	signature []byte
}

// ParseSign1 reads an untagged COSE_Sign1.
func ParseSign1(data []byte) (*Sign1Message, error) {
	m := &Sign1Message{}
	r, err := m.parse(data, 4)
	if err != nil {
		return nil, err
	}
	var ok bool
	if m.signature, ok = r.bytes(); !ok {
		return nil, malformed("the signature is not a byte string")
	}
	return m, r.finish()
}

// CheckCanonical returns ErrNotCanonical unless the unprotected header is empty and s is in the lower half. For every
// ECDSA signature (r, s) there is (r, −s); who holds a revoked token could otherwise respell it to another token hash.
func (m *Sign1Message) CheckCanonical() error {
	if err := checkEmpty(m.unprotected); err != nil {
		return err
	}
	if row := signatureAlgorithms[m.header.alg]; row != nil && row.isHigh(m.signature) {
		return fmt.Errorf("%w: s is in the upper half", ErrNotCanonical)
	}
	return nil
}

// Verify returns the payload if the ECDSA signature is by the key that find returns.
func (m *Sign1Message) Verify(find FindPublic, externalAAD []byte) ([]byte, error) {
	return m.VerifyWith(find.keys(), Options{External: externalAAD})
}

// VerifyWith returns the payload if the signature is by the key that find returns: a public or private one of the kind
// that the algorithm needs, permitted to verify.
func (m *Sign1Message) VerifyWith(find FindKey, o Options) ([]byte, error) {
	if err := m.header.check(&o); err != nil {
		return nil, err
	}
	signed := structure(contextSignature1, m.header.protected, o.External, m.content)
	if err := verifySignature(&m.header, find, signed, m.signature); err != nil {
		return nil, err
	}
	return m.content, nil
}
