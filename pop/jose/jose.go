// Package jose signs and opens access tokens as JSON Web Tokens for the devices that choose them (RFC 9068, RFC 7800), and
// encrypts a possession key to such a device (cnf.jwe, RFC 7516).
//
// It knows one algorithm per task: ES256 signs, ECDH-ES with A128GCM encrypts, both on P-256. Nothing in a header can
// choose another. It is the only importer of jwx, whose version 2 writes names without escaping them: every name comes
// from the tables in names.go, and what jwx shall read has been read strictly before.
//
// It reads no clock and no network: whether a token is fresh and for whom it is, is decided by its caller. Start from
// Sign and Open.
package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"
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

// ErrSecretInClear means that a signed token would show its possession key to everyone who sees it (RFC 7800 §3.2).
var ErrSecretInClear = errors.New("possession key would stand in clear")

// tokenType is the typ of RFC 9068 §2.1. It keeps other JWTs of the same key from being taken for access tokens.
const tokenType = "at+jwt"

// Signer is a P-256 key and the kid under which the resource servers know it.
type Signer struct {
	Key crypto.Signer
	ID  string // 1 to MaxKeyID bytes
}

// Sign makes a compact JWS of the claims. Issuer, Subject, Audience, ClientID, Expires, IssuedAt, ID and a confirmation
// that a signed token may hold (a JWE, a KeyID or a public P-256 Key) must be set: a symmetric key in the clear cannot be
// signed. The signature has a low s, because (r, n−s) would be a second token with another hash than the one that a
// revocation names (RFC 9770).
func Sign(c *pop.Claims, s Signer) (string, error) {
	payload, err := encodeClaims(c)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	header, err := s.header()
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	token, err := jws.Sign(payload, jws.WithKey(jwa.ES256, lowSigner{s.Key}, jws.WithProtectedHeaders(header)))
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	if len(token) > MaxToken {
		return "", fmt.Errorf("sign token: %d bytes, at most %d", len(token), MaxToken)
	}
	return string(token), nil
}

func (s Signer) header() (jws.Headers, error) {
	if s.Key == nil {
		return nil, errors.New("no signing key")
	}
	if pub, ok := s.Key.Public().(*ecdsa.PublicKey); !ok || pub.Curve != elliptic.P256() {
		return nil, errors.New("signing key is not on P-256")
	}
	if err := checkKeyID(s.ID); err != nil {
		return nil, err
	}
	h := jws.NewHeaders()
	return h, errors.Join(h.Set(string(headerType), tokenType), h.Set(string(headerKeyID), s.ID))
}

// checkKeyID allows what prints in ASCII: a kid is written into headers and logs.
func checkKeyID(id string) error {
	if id == "" || len(id) > MaxKeyID {
		return fmt.Errorf("kid of %d bytes, allowed are 1 to %d", len(id), MaxKeyID)
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return errors.New("kid holds a byte that does not print")
		}
	}
	return nil
}

// Open verifies a compact JWS and reads its claims; the signature comes first. find gives the key for a kid, which is the
// sender's word: it must look in the keys of one issuer and fetch nothing. The caller still checks issuer, audience,
// times and possession. Errors wrap ErrForm, ErrProtection or ErrClaims.
func Open(token string, find func(kid string) (*ecdsa.PublicKey, error)) (*pop.Claims, error) {
	parts, err := split(token)
	if err != nil {
		return nil, fmt.Errorf("open token: %w: %w", ErrForm, err)
	}
	kid, err := checkHeader(parts[0])
	if err != nil {
		return nil, fmt.Errorf("open token: %w", err)
	}
	key, err := find(kid)
	if err != nil {
		return nil, fmt.Errorf("open token: %w: key %q: %w", ErrProtection, kid, err)
	}
	if key == nil || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("open token: %w: key %q is not on P-256", ErrProtection, kid)
	}
	if !isLow(parts[2]) {
		return nil, fmt.Errorf("open token: %w: signature is not in its one form", ErrProtection)
	}
	payload, err := jws.Verify([]byte(token), jws.WithKey(jwa.ES256, key))
	if err != nil {
		return nil, fmt.Errorf("open token: %w: signature", ErrProtection)
	}
	c, err := decodeClaims(payload)
	if err != nil {
		return nil, fmt.Errorf("open token: %w", err)
	}
	return c, nil
}

// split decodes the three parts of a compact JWS.
func split(token string) (parts [3][]byte, err error) {
	if len(token) > MaxToken {
		return parts, fmt.Errorf("%d bytes, at most %d", len(token), MaxToken)
	}
	if strings.Count(token, ".") != len(parts)-1 {
		return parts, errors.New("not a compact JWS")
	}
	for i, text := range strings.Split(token, ".") {
		if parts[i], err = decode64(text); err != nil {
			return parts, fmt.Errorf("part %d: %w", i+1, err)
		}
	}
	return parts, nil
}

// checkHeader allows alg, typ and kid alone. RFC 7515 §4 would ignore unknown parameters; ours never come from another
// issuer, and each that is read by someone else (jwk, jku, x5u, crit, b64) has opened forged tokens somewhere.
func checkHeader(header []byte) (kid string, err error) {
	o, err := parse(header)
	if err != nil {
		return "", fmt.Errorf("%w: header: %w", ErrForm, err)
	}
	for n := range o {
		if !signedHeader[n] {
			return "", fmt.Errorf("%w: header parameter %.32q is not allowed", ErrProtection, n)
		}
	}
	for n, want := range map[name]string{headerAlgorithm: jwa.ES256.String(), headerType: tokenType} {
		if got, err := o.text(n, maxID); err != nil || got != want {
			return "", fmt.Errorf("%w: %s is not %s", ErrProtection, n, want)
		}
	}
	kid, err = o.text(headerKeyID, MaxKeyID)
	if err == nil {
		err = checkKeyID(kid)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrProtection, err)
	}
	return kid, nil
}

var (
	order     = elliptic.P256().Params().N
	halfOrder = new(big.Int).Rsh(order, 1)
)

// lowSigner signs with s in the lower half of its range.
type lowSigner struct{ crypto.Signer }

// Sign gives a DER signature as crypto.Signer does. What the wrapped signer gives is checked: jwx would trust it.
func (l lowSigner) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	der, err := l.Signer.Sign(random, digest, opts)
	if err != nil {
		return nil, err
	}
	var sig struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(der, &sig); err != nil || len(rest) > 0 {
		return nil, errors.New("signer gave no DER signature")
	}
	for _, v := range []*big.Int{sig.R, sig.S} {
		if v.Sign() <= 0 || v.Cmp(order) >= 0 {
			return nil, errors.New("signer gave a signature out of range")
		}
	}
	if sig.S.Cmp(halfOrder) > 0 {
		sig.S.Sub(order, sig.S)
	}
	return asn1.Marshal(sig)
}

// isLow reports whether an ES256 signature r ‖ s has the right length and a low s.
func isLow(signature []byte) bool {
	return len(signature) == 2*coordinate && new(big.Int).SetBytes(signature[coordinate:]).Cmp(halfOrder) <= 0
}
