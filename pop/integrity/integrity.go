// Package integrity is the older form of app attestation, which is widely sold: an attestation service looks at the app again and
// again and gives it short-lived tokens, signed, that say "this instance is genuine". A token is bound to one request, by the hash
// of something in it (pay), or to the key of the instance (ipk, cnf), or to the challenge of whoever asks for it.
//
//	JWT, typ absent or "JWT": {exp, ?iss, ?sub, ?aud, ?iat, ?jti, ?pay, ?ipk | ?cnf {jwk}, ?challenge, ?latchkey_verdict}
//
// It makes and verifies tokens and keeps nothing. To what a token is bound is told, and is the verifier's to compare: a token that is
// bound to nothing is refused here. Newer than this is pop/attestation. Start from Verify.
package integrity

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/pop/jose"
)

// HeaderToken is the HTTP header that carries a token.
const HeaderToken = "Integrity-Token"

// Bounds, each with its reason.
const (
	MaxToken = 8 << 10          // bytes over HTTP: what common servers leave
	MaxLife  = 15 * time.Minute // from now to exp: services give five minutes
	Ahead    = 10 * time.Second // how far clocks may differ

	maxKey       = 256 // bytes of ipk, decoded: a P-384 key has 120
	maxChallenge = 128 // characters
)

// Errors of Verify, of which each error wraps one.
var (
	ErrToken = errors.New("the integrity token is not valid here")
	ErrStale = errors.New("the integrity token is too old: get a fresh one")
)

// Token says that an instance of an app is genuine.
type Token struct {
	Attester  string // iss; "" where it does not say
	Subject   string // sub: the client; "" where it does not say
	Audience  []string
	IssuedAt  time.Time // zero where it does not say
	Expires   time.Time
	Payload   []byte          // SHA-256 of what it is bound to; nil where it is not
	Key       *jose.Key       // of the instance; nil where it is not bound to one
	Challenge string          // "" where it answers none
	Verdict   json.RawMessage // what the attester found (latchkey_verdict), unread; nil where it does not say
}

// Make signs a token, bound to a payload, a key (cnf) or a challenge.
func Make(t *Token, s jose.Signer) (string, error) {
	private := map[jose.Claim]any{}
	if t.Payload != nil {
		private[jose.ClaimPayload] = base64.RawURLEncoding.EncodeToString(t.Payload)
	}
	if t.Challenge != "" {
		private[jose.ClaimChallenge] = t.Challenge
	}
	if t.Verdict != nil {
		private[jose.ClaimVerdict] = t.Verdict
	}
	r := jose.Registered{Issuer: t.Attester, Subject: t.Subject, Audience: t.Audience, IssuedAt: t.IssuedAt, Expires: t.Expires}
	if t.Key != nil {
		r.Confirmation = &jose.Confirmation{Key: t.Key}
	}
	return jose.Make(jose.TypeIntegrity, r, private, s)
}

// Expect says whose tokens are taken.
type Expect struct {
	Keys       jose.Finder      // of those who are trusted
	Algorithms []jose.Algorithm // nil: those whose verifier cannot sign. HS256 only where a secret is shared, and with nothing beside it
	Now        time.Time        // zero where there is no clock: then exp is not judged
}

// Verify judges a token: signature, typ, exp within MaxLife, and that it is bound to something. Errors wrap ErrToken or ErrStale.
func Verify(token string, e Expect) (*Token, error) {
	if len(token) > MaxToken {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrToken, MaxToken)
	}
	in, err := jose.Verify(token, jose.Expect{
		Type: jose.TypeIntegrity, Keys: e.Keys, Algorithms: e.Algorithms, Now: e.Now, Skew: Ahead, Require: []jose.Claim{jose.ClaimExpires},
	})
	switch {
	case errors.Is(err, jose.ErrExpired):
		return nil, fmt.Errorf("%w: %w", ErrStale, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrToken, err)
	case !e.Now.IsZero() && !e.Now.Before(in.Expires):
		return nil, fmt.Errorf("%w: expired", ErrStale)
	case !e.Now.IsZero() && in.Expires.After(e.Now.Add(MaxLife+Ahead)):
		return nil, fmt.Errorf("%w: exp lies more than %v ahead", ErrToken, MaxLife)
	}
	t := &Token{
		Attester: in.Issuer, Subject: in.Subject, Audience: in.Audience, IssuedAt: in.IssuedAt, Expires: in.Expires,
		Verdict: in.Other[string(jose.ClaimVerdict)],
	}
	if err := t.bindings(in); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrToken, err)
	}
	return t, nil
}

// bindings reads to what a token is bound.
func (t *Token) bindings(in *jose.Token) (err error) {
	pay, err := in.Text(jose.ClaimPayload, maxKey)
	if err != nil {
		return err
	}
	if pay != "" {
		if t.Payload, err = decode(pay); err != nil || len(t.Payload) != sha256.Size {
			return errors.New("pay is no SHA-256 in base64")
		}
	}
	if t.Challenge, err = in.Text(jose.ClaimChallenge, maxChallenge); err != nil {
		return err
	}
	spki, err := in.Text(jose.ClaimInstanceKey, 2*maxKey)
	switch {
	case err != nil:
		return err
	case in.Confirmation != nil && (in.Confirmation.Key == nil || spki != ""):
		return errors.New("cnf holds no public key, or ipk stands beside it")
	case in.Confirmation != nil:
		t.Key = in.Confirmation.Key
	case spki != "":
		if t.Key, err = instanceKey(spki); err != nil {
			return err
		}
	}
	if t.Payload == nil && t.Key == nil && t.Challenge == "" {
		return errors.New("it is bound to nothing")
	}
	return nil
}

// instanceKey reads a SubjectPublicKeyInfo.
func instanceKey(text string) (*jose.Key, error) {
	der, err := decode(text)
	if err == nil && len(der) > maxKey {
		err = errors.New("too long")
	}
	if err != nil {
		return nil, fmt.Errorf("ipk: %w", err)
	}
	public, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, errors.New("ipk is no public key")
	}
	return jose.NewKey(public, "")
}

// decode reads base64 with either alphabet, padded or not: services differ.
func decode(text string) ([]byte, error) {
	text = strings.TrimRight(text, "=")
	text = strings.NewReplacer("+", "-", "/", "_").Replace(text)
	return base64.RawURLEncoding.Strict().DecodeString(text)
}
