package cose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/asn1"
	"fmt"
	"io"
	"math/big"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

const contextSignature1 = "Signature1"

var (
	order     = elliptic.P256().Params().N
	halfOrder = new(big.Int).Rsh(order, 1)
)

// FindPublic returns the key that a signed message names; kid is nil if it names none.
type FindPublic func(alg Algorithm, kid KeyID) (*ecdsa.PublicKey, error)

// Signer is an ES256 key, which may live in a hardware module, and its name.
type Signer struct {
	Key crypto.Signer // on P-256
	ID  KeyID         // nil: the message names no key
}

// sign1 is the array of RFC 9052 §4.2.
type sign1 struct {
	_           struct{} `cbor:",toarray"`
	Protected   []byte
	Unprotected wire.RawMessage
	Payload     []byte
	Signature   []byte
}

// signatureHeader is the protected header of what we sign.
type signatureHeader struct {
	Algorithm Algorithm `cbor:"1,keyasint"`
	KeyID     []byte    `cbor:"4,keyasint,omitempty"`
}

// sigStructure is what is signed (RFC 9052 §4.4).
type sigStructure struct {
	_         struct{} `cbor:",toarray"`
	Context   string
	Protected []byte
	External  []byte
	Payload   []byte
}

func signatureDigest(protected, external, payload []byte) ([]byte, error) {
	signed, err := wire.Marshal(sigStructure{
		Context: contextSignature1, Protected: bytesOf(protected), External: bytesOf(external), Payload: bytesOf(payload),
	})
	digest := sha256.Sum256(signed)
	return digest[:], err
}

// Sign1 signs payload with ES256 and returns an untagged COSE_Sign1. Algorithm and key id stand in the protected
// header; the signature has the lower of its two possible s, so that it is the only one for its r. externalAAD may be nil.
func Sign1(s Signer, payload, externalAAD []byte, rand io.Reader) ([]byte, error) {
	public, ok := s.Key.Public().(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%w: ES256 needs a key on P-256", ErrKey)
	}
	if len(s.ID) > MaxKeyID {
		return nil, fmt.Errorf("%w: id of %d bytes, at most %d", ErrKey, len(s.ID), MaxKeyID)
	}
	protected, err := wire.Marshal(signatureHeader{Algorithm: ES256, KeyID: s.ID})
	if err != nil {
		return nil, err
	}
	digest, err := signatureDigest(protected, externalAAD, payload)
	if err != nil {
		return nil, err
	}
	signature, err := signES256(s.Key, digest, rand)
	if err != nil {
		return nil, err
	}
	return wire.Marshal(sign1{Protected: protected, Unprotected: emptyMap, Payload: bytesOf(payload), Signature: signature})
}

// signES256 gives r ‖ s of 32 bytes each (RFC 9053 §2.1).
func signES256(key crypto.Signer, digest []byte, rand io.Reader) ([]byte, error) {
	der, err := key.Sign(rand, digest, crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	var rs struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(der, &rs); err != nil || len(rest) > 0 || !inRange(rs.R) || !inRange(rs.S) {
		return nil, fmt.Errorf("%w: the signer gave no ECDSA signature", ErrKey)
	}
	if rs.S.Cmp(halfOrder) > 0 {
		rs.S.Sub(order, rs.S)
	}
	signature := make([]byte, 2*p256Size)
	rs.R.FillBytes(signature[:p256Size])
	rs.S.FillBytes(signature[p256Size:])
	return signature, nil
}

func inRange(n *big.Int) bool { return n.Sign() > 0 && n.Cmp(order) < 0 }

// VerifySign1 returns the payload of an untagged COSE_Sign1 if its ES256 signature is by the key that find returns.
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
	fields sign1
	header header
}

// ParseSign1 reads an untagged COSE_Sign1. A detached payload is refused.
func ParseSign1(data []byte) (*Sign1Message, error) {
	m := &Sign1Message{}
	if err := parseExact(data, &m.fields); err != nil {
		return nil, err
	}
	if m.fields.Protected == nil || m.fields.Payload == nil || m.fields.Signature == nil {
		return nil, malformed("no protected header, payload or signature")
	}
	var err error
	if m.header, err = parseHeader(m.fields.Protected, m.fields.Unprotected); err != nil {
		return nil, err
	}
	if m.header.alg == 0 {
		return nil, malformed("no algorithm")
	}
	return m, nil
}

// KeyID is the key the message says it is signed with, nil if it does not say.
func (m *Sign1Message) KeyID() KeyID { return m.header.kid }

// Algorithm is the algorithm the message says it uses.
func (m *Sign1Message) Algorithm() Algorithm { return m.header.alg }

// CheckCanonical returns ErrNotCanonical unless the unprotected header is empty and s is in the lower half. For every
// ECDSA signature (r, s) there is (r, −s); who holds a revoked token could otherwise respell it to another token hash.
func (m *Sign1Message) CheckCanonical() error {
	if err := checkEmpty(m.fields.Unprotected); err != nil {
		return err
	}
	if s := m.fields.Signature; len(s) == 2*p256Size && new(big.Int).SetBytes(s[p256Size:]).Cmp(halfOrder) > 0 {
		return fmt.Errorf("%w: s is in the upper half", ErrNotCanonical)
	}
	return nil
}

// Verify returns the payload if the signature is by the key that find returns.
func (m *Sign1Message) Verify(find FindPublic, externalAAD []byte) ([]byte, error) {
	if m.header.alg != ES256 {
		return nil, unsupported(m.header.alg)
	}
	public, err := find(m.header.alg, m.header.kid)
	if err != nil {
		return nil, fmt.Errorf("find key: %w", err)
	}
	if public == nil || public.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%w: ES256 needs a key on P-256", ErrKey)
	}
	digest, err := signatureDigest(m.header.protected, externalAAD, m.fields.Payload)
	if err != nil {
		return nil, err
	}
	signature := m.fields.Signature
	if len(signature) != 2*p256Size {
		return nil, ErrVerification
	}
	r, s := new(big.Int).SetBytes(signature[:p256Size]), new(big.Int).SetBytes(signature[p256Size:])
	if !ecdsa.Verify(public, digest, r, s) {
		return nil, ErrVerification
	}
	return m.fields.Payload, nil
}
