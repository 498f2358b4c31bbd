// Package cwt carries pop.Claims as a CBOR Web Token (RFC 8392) with a confirmation claim (RFC 8747, RFC 9203).
//
// A token has exactly one form, so that it has exactly one hash (RFC 9770): 61(COSE tag(…)) with shortest tags, every
// unprotected header empty, a signature with the lower s. It is a COSE_Encrypt0, a COSE_Sign1, or a tagged COSE_Sign1
// inside a COSE_Encrypt0. It does not judge claims: expiry, audience and scope are the resource server's to check.
// Start from Seal and Open.
package cwt

import (
	"crypto"
	"errors"
	"fmt"
	"io"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/cose"
)

var (
	// ErrForm means that the bytes are not a token in the one form: answer 4.00 (RFC 9200 §5.10.1).
	ErrForm = errors.New("not a token in the required form")
	// ErrProtection means that nobody who may speak here vouches for the token: unknown key, wrong tag or signature,
	// algorithm not taken. Answer 4.01.
	ErrProtection = errors.New("token cannot be verified")
	// ErrClaims means that the token is authentic, but its claims cannot be obtained: answer 4.00.
	ErrClaims = errors.New("claims cannot be obtained")
	// ErrSecretInClear means that a token would show its possession key to everyone who sees it (RFC 8747 §3.2).
	ErrSecretInClear = errors.New("possession key would stand in clear")
)

// Protection is how a token is protected: Encrypt0, Sign1 or Nested.
type Protection interface {
	// seal returns the tagged COSE structure.
	seal(claims []byte, rand io.Reader) ([]byte, error)
	// confidential reports whether only the audience can read the claims.
	confidential() bool
}

// Encrypt0 encrypts the claims under a key shared by authorization server and audience.
type Encrypt0 struct {
	Key cose.SymmetricKey
}

// Sign1 signs the claims with ES256; everybody can read them.
type Sign1 struct {
	Signer crypto.Signer // on P-256
	ID     cose.KeyID
}

// Nested signs the claims and encrypts what is signed.
type Nested struct {
	Sign1    Sign1
	Encrypt0 Encrypt0
}

func (p Encrypt0) seal(claims []byte, rand io.Reader) ([]byte, error) {
	data, err := cose.SealEncrypt0(p.Key, claims, nil, rand)
	return cose.Wrap(cose.TagEncrypt0, data), err
}

func (p Sign1) seal(claims []byte, rand io.Reader) ([]byte, error) {
	data, err := cose.Sign1(cose.Signer{Key: p.Signer, ID: p.ID}, claims, nil, rand)
	return cose.Wrap(cose.TagSign1, data), err
}

func (p Nested) seal(claims []byte, rand io.Reader) ([]byte, error) {
	signed, err := p.Sign1.seal(claims, rand)
	if err != nil {
		return nil, err
	}
	return p.Encrypt0.seal(signed, rand)
}

func (Encrypt0) confidential() bool { return true }
func (Sign1) confidential() bool    { return false }
func (Nested) confidential() bool   { return true }

// Seal makes a token. A symmetric key or OSCORE input material under a mere signature is ErrSecretInClear; claims that
// no Open would accept are an error too.
func Seal(c *pop.Claims, p Protection, rand io.Reader) ([]byte, error) {
	if !p.confidential() && showsSecret(&c.Confirmation) {
		return nil, ErrSecretInClear
	}
	claims, err := encodeClaims(c)
	if err != nil {
		return nil, fmt.Errorf("encode claims: %w", err)
	}
	data, err := p.seal(claims, rand)
	if err != nil {
		return nil, fmt.Errorf("protect token: %w", err)
	}
	token := cose.Wrap(cose.TagCWT, data)
	if len(token) > MaxToken {
		return nil, fmt.Errorf("token of %d bytes, at most %d", len(token), MaxToken)
	}
	return token, nil
}

func showsSecret(c *pop.Confirmation) bool {
	return c.OSCORE != nil || c.Key != nil && c.Key.Type() != cose.KeyTypeEC2
}

// Keys are what a token may be protected with. A nil function takes no token of that kind.
type Keys struct {
	Decrypt cose.FindSymmetric
	Verify  cose.FindPublic

	// RequireSignature refuses tokens that are only encrypted: whoever reads the device's shared key could make them.
	RequireSignature bool
}

// Open returns the claims of an authentic token. Errors: ErrForm, ErrProtection, ErrClaims.
func Open(token []byte, k Keys) (*pop.Claims, error) {
	if len(token) > MaxToken {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrForm, len(token), MaxToken)
	}
	tag, rest, err := cose.Unwrap(token)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForm, err)
	}
	if tag != cose.TagCWT {
		return nil, fmt.Errorf("%w: tag %d outside", ErrForm, uint64(tag))
	}
	tag, data, err := cose.Unwrap(rest)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForm, err)
	}
	switch tag {
	case cose.TagEncrypt0:
		return k.openEncrypt0(data)
	case cose.TagSign1:
		return k.openPublic(data)
	}
	return nil, fmt.Errorf("%w: %v as a token", ErrForm, tag)
}

func (k Keys) openEncrypt0(data []byte) (*pop.Claims, error) {
	m, err := cose.ParseEncrypt0(data)
	if err == nil {
		err = m.CheckCanonical()
	}
	if err != nil {
		return nil, classify(err)
	}
	if k.Decrypt == nil {
		return nil, fmt.Errorf("%w: encrypted tokens are not taken here", ErrProtection)
	}
	content, err := m.Open(k.Decrypt, nil)
	if err != nil {
		return nil, classify(err)
	}
	if len(content) > 0 && content[0]>>5 == majorTag {
		return k.openNested(content)
	}
	if k.RequireSignature {
		return nil, fmt.Errorf("%w: not signed", ErrProtection)
	}
	return parseClaims(content)
}

func (k Keys) openNested(content []byte) (*pop.Claims, error) {
	tag, data, err := cose.Unwrap(content)
	if err != nil || tag != cose.TagSign1 {
		return nil, fmt.Errorf("%w: no COSE_Sign1 inside", ErrForm)
	}
	claims, err := k.verify(data)
	if err != nil {
		return nil, err
	}
	return parseClaims(claims)
}

// openPublic opens a token whose claims everybody could read.
func (k Keys) openPublic(data []byte) (*pop.Claims, error) {
	content, err := k.verify(data)
	if err != nil {
		return nil, err
	}
	claims, err := parseClaims(content)
	if err != nil {
		return nil, err
	}
	if showsSecret(&claims.Confirmation) {
		return nil, fmt.Errorf("%w: %w", ErrClaims, ErrSecretInClear)
	}
	return claims, nil
}

func (k Keys) verify(data []byte) ([]byte, error) {
	m, err := cose.ParseSign1(data)
	if err == nil {
		err = m.CheckCanonical()
	}
	if err != nil {
		return nil, classify(err)
	}
	if k.Verify == nil {
		return nil, fmt.Errorf("%w: signed tokens are not taken here", ErrProtection)
	}
	content, err := m.Verify(k.Verify, nil)
	if err != nil {
		return nil, classify(err)
	}
	return content, nil
}

// classify turns what pop/cose or a key search said into ErrForm or ErrProtection.
func classify(err error) error {
	if errors.Is(err, cose.ErrMalformed) || errors.Is(err, cose.ErrNotCanonical) {
		return fmt.Errorf("%w: %w", ErrForm, err)
	}
	return fmt.Errorf("%w: %w", ErrProtection, err)
}
