package cose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/asn1"
	"fmt"
	"io"
	"math/big"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// signatureAlgorithm is one row of the table of signatures (RFC 9053 §2). Each algorithm has exactly one curve here:
// RFC 9053 lets ECDSA hashes and curves be mixed, and no one needs that.
type signatureAlgorithm struct {
	curve elliptic.Curve // nil: Ed25519
	hash  crypto.Hash
	size  int // of r, and of s, in bytes
	order *big.Int
	half  *big.Int
}

var signatureAlgorithms = map[Algorithm]*signatureAlgorithm{
	ES384: ecdsaRow(elliptic.P384(), crypto.SHA384),
	EdDSA: {},
	ES256: ecdsaRow(elliptic.P256(), crypto.SHA256),
}

func ecdsaRow(curve elliptic.Curve, hash crypto.Hash) *signatureAlgorithm {
	order := curve.Params().N
	return &signatureAlgorithm{
		curve: curve, hash: hash, size: (order.BitLen() + 7) / 8, order: order, half: new(big.Int).Rsh(order, 1),
	}
}

func (a *signatureAlgorithm) digest(signed []byte) []byte {
	if a.hash == crypto.SHA384 {
		sum := sha512.Sum384(signed)
		return sum[:]
	}
	sum := sha256.Sum256(signed)
	return sum[:]
}

// isHigh reports whether an ECDSA signature has the higher of its two possible s.
func (a *signatureAlgorithm) isHigh(signature []byte) bool {
	return a.curve != nil && len(signature) == 2*a.size && new(big.Int).SetBytes(signature[a.size:]).Cmp(a.half) > 0
}

// algorithm is the one that the kind of the signer's key is for.
func (s Signer) algorithm() (Algorithm, error) {
	if s.Key == nil {
		return 0, unfit("no key to sign with")
	}
	switch public := s.Key.Public().(type) {
	case *ecdsa.PublicKey:
		for alg, row := range signatureAlgorithms {
			if row.curve != nil && row.curve == public.Curve {
				return alg, nil
			}
		}
	case ed25519.PublicKey:
		if len(public) == ed25519.PublicKeySize {
			return EdDSA, nil
		}
	}
	return 0, unfit("signatures need a key on P-256, P-384 or Ed25519")
}

// signatureHeader is the protected header of what we sign.
type signatureHeader struct {
	Algorithm Algorithm `cbor:"1,keyasint"`
	KeyID     []byte    `cbor:"4,keyasint,omitempty"`
}

func (s Signer) header() ([]byte, error) {
	alg, err := s.algorithm()
	if err != nil {
		return nil, err
	}
	if len(s.ID) > MaxKeyID {
		return nil, unfit("id of %d bytes, at most %d", len(s.ID), MaxKeyID)
	}
	return wire.Marshal(signatureHeader{Algorithm: alg, KeyID: s.ID})
}

// sign gives the signature as COSE has it. What a signer elsewhere gives is verified before it is sent: a key that was
// exchanged behind its name is found by the issuer and not by every device.
func (s Signer) sign(signed []byte, rand io.Reader) ([]byte, error) {
	alg, err := s.algorithm()
	if err != nil {
		return nil, err
	}
	row := signatureAlgorithms[alg]
	var signature []byte
	if row.curve != nil {
		signature, err = row.signECDSA(s.Key, row.digest(signed), rand)
	} else {
		signature, err = s.Key.Sign(rand, signed, crypto.Hash(0))
	}
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	if s.isRemote() && row.verify(s.Key.Public(), signed, signature) != nil {
		return nil, unfit("the signer's signature is not by its public key")
	}
	return signature, nil
}

// isRemote holds for every signer but the private keys of the standard library.
func (s Signer) isRemote() bool {
	switch s.Key.(type) {
	case *ecdsa.PrivateKey, ed25519.PrivateKey:
		return false
	}
	return true
}

// signECDSA gives r ‖ s of fixed size each (RFC 9053 §2.1).
func (a *signatureAlgorithm) signECDSA(key crypto.Signer, digest []byte, rand io.Reader) ([]byte, error) {
	der, err := key.Sign(rand, digest, a.hash)
	if err != nil {
		return nil, err
	}
	var rs struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(der, &rs); err != nil || len(rest) > 0 || !a.inRange(rs.R) || !a.inRange(rs.S) {
		return nil, unfit("the signer gave no ECDSA signature")
	}
	if rs.S.Cmp(a.half) > 0 {
		rs.S.Sub(a.order, rs.S)
	}
	signature := make([]byte, 2*a.size)
	rs.R.FillBytes(signature[:a.size])
	rs.S.FillBytes(signature[a.size:])
	return signature, nil
}

func (a *signatureAlgorithm) inRange(n *big.Int) bool { return n.Sign() > 0 && n.Cmp(a.order) < 0 }

// verifySignature finds the key of one layer and checks the signature over signed.
func verifySignature(h *header, find FindKey, signed, signature []byte) error {
	row, ok := signatureAlgorithms[h.alg]
	if !ok {
		return unsupported(h.alg)
	}
	key, err := findFor(h, find, h.alg, OperationVerify)
	if err != nil {
		return err
	}
	return row.verify(key.public, signed, signature)
}

// verify checks a signature by a public key, which must be of the right kind.
func (a *signatureAlgorithm) verify(key any, signed, signature []byte) error {
	good := false
	switch public := key.(type) {
	case *ecdsa.PublicKey:
		if a.curve == nil || public == nil || public.Curve != a.curve {
			return unfit("the signature is not for this curve")
		}
		good = len(signature) == 2*a.size && ecdsa.VerifyASN1(public, a.digest(signed), a.der(signature))
	case ed25519.PublicKey:
		if a.curve != nil {
			return unfit("the signature is not for Ed25519")
		}
		good = len(public) == ed25519.PublicKeySize && ed25519.Verify(public, signed, signature)
	default:
		return unfit("a signature needs a public key on P-256, P-384 or Ed25519")
	}
	if !good {
		return ErrVerification
	}
	return nil
}

// der is the form that the standard library verifies: a SEQUENCE of two shortest INTEGERs.
func (a *signatureAlgorithm) der(signature []byte) []byte {
	out := make([]byte, 2, 2*a.size+8)
	out = appendDER(out, signature[:a.size])
	out = appendDER(out, signature[a.size:])
	out[0], out[1] = 0x30, byte(len(out)-2) // at most 102: one byte of length is enough
	return out
}

func appendDER(dst, n []byte) []byte {
	for len(n) > 1 && n[0] == 0 {
		n = n[1:]
	}
	if n[0] >= 0x80 { // a sign bit, were it not for a zero before it
		dst = append(dst, 2, byte(len(n)+1), 0)
	} else {
		dst = append(dst, 2, byte(len(n)))
	}
	return append(dst, n...)
}

// findFor asks for the key of one layer and refuses one that is not for alg or for none of the operations.
func findFor(h *header, find FindKey, alg Algorithm, ops ...KeyOperation) (*Key, error) {
	if find == nil {
		return nil, unfit("no key for %v", h.alg)
	}
	key, err := find(alg, h.kid)
	if err != nil {
		return nil, fmt.Errorf("find key: %w", err)
	}
	if key == nil {
		return nil, unfit("no key for %v", h.alg)
	}
	return key, key.permits(alg, ops...)
}
