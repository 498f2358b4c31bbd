// Package cwt carries pop.Claims as a CBOR Web Token (RFC 8392) with a confirmation claim (RFC 8747, RFC 9203, RFC 9679).
//
// A token has exactly one form, so that it has exactly one hash (RFC 9770): 61(COSE tag(…)) with shortest tags, every
// unprotected header empty, a signature with the lower s. It is a COSE_Encrypt0, a COSE_Sign1, a tagged COSE_Sign1 inside a
// COSE_Encrypt0, or a COSE_Mac0. Keys.Relaxed reads what else RFC 8392 allows. Claims that have no field of pop.Claims are
// kept as they stand.
//
// It does not judge claims: expiry, audience and scope are the resource server's to check. It does no COSE_Sign, COSE_Encrypt
// or COSE_Mac around claims, and no scope but AIF. Start from Seal and Open.
package cwt

import (
	"crypto"
	"errors"
	"fmt"
	"io"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
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

// Protection is how a token is protected: Encrypt0, Sign1, Nested or Mac0.
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

// Sign1 signs the claims; everybody can read them. The key decides the algorithm, ES256 for one on P-256.
type Sign1 struct {
	Signer crypto.Signer
	ID     cose.KeyID
}

// Mac0 authenticates the claims with a key that authorization server and audience share; everybody can read them. Encrypt0
// says no less and hides them (RFC 9200 §6.1).
type Mac0 struct {
	Key *cose.Key // its algorithm is HMAC 256/64 or 256/256
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

func (p Mac0) seal(claims []byte, _ io.Reader) ([]byte, error) {
	data, err := cose.Mac0(p.Key, claims, nil)
	return cose.Wrap(cose.TagMac0, data), err
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
func (Mac0) confidential() bool     { return false }

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
	return c.OSCORE != nil || c.Key != nil && c.Key.Verifier() == nil
}

// Keys are what a token may be protected with. A nil function takes no token of that kind.
type Keys struct {
	Decrypt cose.FindSymmetric // of a COSE_Encrypt0
	Verify  cose.FindPublic    // of a COSE_Sign1 with ES256
	// Find gives keys of any kind, each for its own algorithm: for what Decrypt and Verify are nil, and for COSE_Mac0.
	Find cose.FindKey

	// RequireSignature refuses tokens that are only encrypted: whoever reads the device's shared key could make them.
	RequireSignature bool

	// Relaxed takes whatever RFC 8392 allows: no CWT tag, header parameters in the unprotected bucket, either s of a
	// signature, tagged layers in any order up to three deep. It is for reading the tokens of others. An access token read
	// so has more than one hash, and a revocation (RFC 9770) would name only one.
	Relaxed bool
}

// layers says what has been peeled off around a claims set.
type layers struct {
	count     int
	signed    bool
	encrypted bool
}

// Open returns the claims of an authentic token. Errors: ErrForm, ErrProtection, ErrClaims.
func Open(token []byte, k Keys) (*pop.Claims, error) {
	if len(token) > MaxToken {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrForm, len(token), MaxToken)
	}
	tag, data, err := cose.Unwrap(token)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrForm, err)
	case tag == cose.TagCWT:
		if tag, data, err = cose.Unwrap(data); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrForm, err)
		}
	case !k.Relaxed:
		return nil, fmt.Errorf("%w: tag %d outside", ErrForm, uint64(tag))
	}
	return k.open(tag, data, layers{})
}

// open peels one layer off and looks at what is inside.
func (k Keys) open(tag cose.Tag, data []byte, l layers) (*pop.Claims, error) {
	content, err := k.peel(tag, data, &l)
	if err != nil {
		return nil, err
	}
	if len(content) > 0 && content[0]>>5 == wire.MajorTag && (k.Relaxed || tag == cose.TagEncrypt0) {
		return k.openNested(content, l)
	}
	if k.RequireSignature && !l.signed {
		return nil, fmt.Errorf("%w: not signed", ErrProtection)
	}
	claims, err := parseClaims(content)
	if err != nil {
		return nil, err
	}
	if !l.encrypted && showsSecret(&claims.Confirmation) {
		return nil, fmt.Errorf("%w: %w", ErrClaims, ErrSecretInClear)
	}
	return claims, nil
}

// openNested opens what is signed within what is encrypted; relaxed, any layer within any other.
func (k Keys) openNested(content []byte, l layers) (*pop.Claims, error) {
	tag, data, err := cose.Unwrap(content)
	if err == nil && tag == cose.TagCWT && k.Relaxed {
		tag, data, err = cose.Unwrap(data)
	}
	if err != nil || !k.Relaxed && tag != cose.TagSign1 {
		return nil, fmt.Errorf("%w: no COSE_Sign1 inside", ErrForm)
	}
	if l.count == maxLayers {
		return nil, fmt.Errorf("%w: more than %d layers", ErrForm, maxLayers)
	}
	return k.open(tag, data, l)
}

func (k Keys) peel(tag cose.Tag, data []byte, l *layers) ([]byte, error) {
	l.count++
	switch tag {
	case cose.TagEncrypt0:
		l.encrypted = true
		return k.decrypt(data)
	case cose.TagSign1:
		l.signed = true
		return k.verify(data)
	case cose.TagMac0:
		return k.authenticate(data)
	}
	return nil, fmt.Errorf("%w: %v as a token", ErrForm, tag)
}

func (k Keys) decrypt(data []byte) ([]byte, error) {
	m, err := cose.ParseEncrypt0(data)
	if err == nil && !k.Relaxed {
		err = m.CheckCanonical()
	}
	if err != nil {
		return nil, classify(err)
	}
	var content []byte
	switch {
	case k.Decrypt != nil:
		content, err = m.Open(k.Decrypt, nil)
	case k.Find != nil:
		content, err = m.OpenWith(k.Find, cose.Options{})
	default:
		return nil, fmt.Errorf("%w: encrypted tokens are not taken here", ErrProtection)
	}
	if err != nil {
		return nil, classify(err)
	}
	return content, nil
}

func (k Keys) verify(data []byte) ([]byte, error) {
	m, err := cose.ParseSign1(data)
	if err == nil && !k.Relaxed {
		err = m.CheckCanonical()
	}
	if err != nil {
		return nil, classify(err)
	}
	var content []byte
	switch {
	case k.Verify != nil:
		content, err = m.Verify(k.Verify, nil)
	case k.Find != nil:
		content, err = m.VerifyWith(k.Find, cose.Options{})
	default:
		return nil, fmt.Errorf("%w: signed tokens are not taken here", ErrProtection)
	}
	if err != nil {
		return nil, classify(err)
	}
	return content, nil
}

func (k Keys) authenticate(data []byte) ([]byte, error) {
	m, err := cose.ParseMac0(data)
	if err == nil && !k.Relaxed {
		err = m.CheckCanonical()
	}
	if err != nil {
		return nil, classify(err)
	}
	if k.Find == nil {
		return nil, fmt.Errorf("%w: tokens with a MAC are not taken here", ErrProtection)
	}
	content, err := m.Verify(k.Find, cose.Options{})
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
