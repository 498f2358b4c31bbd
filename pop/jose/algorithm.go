package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/asn1"
	"errors"
	"math/big"
)

// Algorithm is a signature algorithm (IANA JSON Web Signature and Encryption Algorithms). A key has exactly one; a header
// can only repeat it.
type Algorithm uint8

// Algorithms, in the order of the registry. Left out on purpose: RS256 and PS256, whose keys and signatures no constrained
// peer has room for, ES512, and none. HS256 only ever verifies: it is for attesters that share a secret with us.
const (
	HS256 Algorithm = 1 + iota
	ES256
	ES384
	EdDSA // with Ed25519 (RFC 8037)
)

// Asymmetric are the algorithms whose verifier cannot sign.
var asymmetric = []Algorithm{ES256, ES384, EdDSA}

// row is one line of the table of algorithms.
type row struct {
	name  string
	hash  crypto.Hash
	curve elliptic.Curve // nil: not ECDSA
	size  int            // bytes of the signature
}

var algorithms = map[Algorithm]row{
	HS256: {"HS256", crypto.SHA256, nil, sha256.Size},
	ES256: {"ES256", crypto.SHA256, elliptic.P256(), 64},
	ES384: {"ES384", crypto.SHA384, elliptic.P384(), 96},
	EdDSA: {"EdDSA", 0, nil, ed25519.SignatureSize},
}

// String gives the registered name.
func (a Algorithm) String() string {
	if r, ok := algorithms[a]; ok {
		return r.name
	}
	return "unknown"
}

var errKeyKind = errors.New("neither a key on P-256 or P-384 nor an Ed25519 key")

// algorithmOf says which algorithm a public key is for.
func algorithmOf(public crypto.PublicKey) (Algorithm, error) {
	switch public := public.(type) {
	case *ecdsa.PublicKey:
		if public == nil {
			return 0, errKeyKind
		}
		switch public.Curve {
		case elliptic.P256():
			return ES256, nil
		case elliptic.P384():
			return ES384, nil
		}
	case ed25519.PublicKey:
		if len(public) == ed25519.PublicKeySize {
			return EdDSA, nil
		}
	}
	return 0, errKeyKind
}

func (r row) digest(input []byte) []byte {
	if r.hash == crypto.SHA384 {
		sum := sha512.Sum384(input)
		return sum[:]
	}
	sum := sha256.Sum256(input)
	return sum[:]
}

// sign gives the signature as JWS has it (RFC 7518 §3.4, RFC 8037 §3.1). An ECDSA signature gets the lower of its two
// possible s, so that it is the only one for its r.
func sign(key crypto.Signer, alg Algorithm, input []byte) ([]byte, error) {
	r := algorithms[alg]
	if r.curve == nil {
		signature, err := key.Sign(rand.Reader, input, crypto.Hash(0))
		if err == nil && len(signature) != r.size {
			err = errors.New("signer gave no Ed25519 signature")
		}
		return signature, err
	}
	der, err := key.Sign(rand.Reader, r.digest(input), r.hash)
	if err != nil {
		return nil, err
	}
	var sig struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(der, &sig); err != nil || len(rest) > 0 {
		return nil, errors.New("signer gave no DER signature")
	}
	order := r.curve.Params().N
	for _, v := range []*big.Int{sig.R, sig.S} {
		if v.Sign() <= 0 || v.Cmp(order) >= 0 {
			return nil, errors.New("signer gave a signature out of range")
		}
	}
	if isHigh(sig.S, order) {
		sig.S.Sub(order, sig.S)
	}
	signature := make([]byte, r.size)
	sig.R.FillBytes(signature[:r.size/2])
	sig.S.FillBytes(signature[r.size/2:])
	return signature, nil
}

func isHigh(s, order *big.Int) bool { return new(big.Int).Lsh(s, 1).Cmp(order) > 0 }

// isLow reports whether a signature has the right length and, for ECDSA, a low s.
func (a Algorithm) isLow(signature []byte) bool {
	r := algorithms[a]
	if len(signature) != r.size {
		return false
	}
	return r.curve == nil || !isHigh(new(big.Int).SetBytes(signature[r.size/2:]), r.curve.Params().N)
}

// verify reports whether signature is this key's over input.
func (k *Key) verify(input, signature []byte) bool {
	r := algorithms[k.alg]
	if len(signature) != r.size {
		return false
	}
	switch {
	case k.alg == HS256:
		mac := hmac.New(sha256.New, k.secret)
		mac.Write(input)
		return hmac.Equal(mac.Sum(nil), signature)
	case k.alg == EdDSA:
		return ed25519.Verify(k.public.(ed25519.PublicKey), input, signature)
	}
	half := r.size / 2
	rr, s := new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:])
	return ecdsa.Verify(k.public.(*ecdsa.PublicKey), r.digest(input), rr, s)
}
