// Package jose makes and verifies JSON Web Tokens (RFC 7515, RFC 7519, RFC 8725) and the keys they are bound to: access tokens
// for devices (D8) and for HTTP resource servers (RFC 9068), DPoP proofs (RFC 9449), client attestations, JWK Sets with
// rotation (RFC 7517), and a possession key encrypted to a device (cnf.jwe, RFC 7516).
//
// Start from Verify and Expect for any token of another party, from VerifyProof for DPoP, from Sign and Open for devices
// that chose JWTs, from Ring for the keys a server signs with.
//
// A key has one algorithm and nothing in a header can choose another: ES256, ES384 and EdDSA sign, HS256 only verifies,
// ECDH-ES with A128GCM encrypts, A256KW with A256GCM only decrypts. RSA, the JSON serializations, compressed tokens, detached
// payloads and password-based encryption are not here. Nor is a clock, a network or a store: time comes in with Expect, keys by
// value, and who must refuse a second use of a proof gets the key to remember it by. jwx, which only this package may import,
// does the encryption; every name that leaves stands in names.go, because version 2 of jwx writes names without escaping them.
package jose

import (
	"crypto"
	"crypto/ecdsa"
	"errors"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop"
)

// Reasons why something was not opened, as in pop/cwt. Errors of Open and DecryptKey about their input wrap exactly one.
var (
	// ErrForm means that the bytes are not a token in the one form: answer 4.00 (RFC 9200 §5.10.1).
	ErrForm = errors.New("not a token in the required form")
	// ErrProtection means that nobody who may speak here vouches for the token: another algorithm, type, key or
	// signature. Answer 4.01.
	ErrProtection = errors.New("token cannot be verified")
	// ErrClaims means that the token is authentic, but its claims cannot be obtained: answer 4.00.
	ErrClaims = errors.New("claims cannot be obtained")
)

// ErrSecretInClear means that a secret stands, or would stand, where everyone can read it: a symmetric possession key in a
// token that is only signed (RFC 7800 §3.2), a private member of a public key.
var ErrSecretInClear = errors.New("secret would stand in clear")

// Signer is a key and the kid under which its verifiers know it. The key may live in a hardware module. P-256 signs ES256,
// P-384 ES384, Ed25519 EdDSA.
type Signer struct {
	Key crypto.Signer
	ID  string // 1 to MaxKeyID bytes that print
}

// Sign makes the access token of a device, signed with ES256. Issuer, Subject, Audience, ClientID, Expires, IssuedAt, ID and a
// confirmation that a signed token may hold (a JWE, a KeyID or a public P-256 Key) must be set: a symmetric key in the clear
// cannot be signed. The signature has a low s, because (r, n−s) would be a second token with another hash than the one that
// a revocation names (RFC 9770).
func Sign(c *pop.Claims, s Signer) (string, error) {
	token, err := signClaims(c, s)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return token, nil
}

func signClaims(c *pop.Claims, s Signer) (string, error) {
	if alg, err := s.algorithm(); err != nil || alg != ES256 {
		return "", errors.New("signing key is not on P-256")
	}
	payload, err := encodeClaims(c)
	if err != nil {
		return "", err
	}
	header, err := s.named(TypeAccessToken)
	if err != nil {
		return "", err
	}
	return s.compact(header, payload, MaxToken)
}

// Open verifies what Sign made and reads its claims; the signature comes first. Unlike OpenAccess it takes one spelling only:
// a token of a device has one hash. find gives the key for a kid, which is the sender's word: it must look in the keys of one
// issuer and fetch nothing. The caller still checks issuer, audience, times and possession. Errors wrap ErrForm,
// ErrProtection or ErrClaims.
func Open(token string, find func(kid string) (*ecdsa.PublicKey, error)) (*pop.Claims, error) {
	e := Expect{Type: TypeAccessToken, Algorithms: []Algorithm{ES256}, ours: true, Keys: func(kid string) (*Key, error) {
		public, err := find(kid)
		if err != nil {
			return nil, err
		}
		alg, err := algorithmOf(public)
		return &Key{id: kid, alg: alg, public: public}, err
	}}
	payload, _, err := e.authenticate(token)
	if err != nil {
		return nil, fmt.Errorf("open token: %w", err)
	}
	c, err := decodeClaims(payload)
	if err != nil {
		return nil, fmt.Errorf("open token: %w", err)
	}
	return c, nil
}
