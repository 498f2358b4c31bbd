package jose

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// ErrExpired means an authentic token whose time is over (exp); a fresh one may do.
var ErrExpired = errors.New("token has expired")

// Finder returns the key that a token names; kid is empty if it names none. The kid is the sender's word: look in the keys of
// one issuer, and fetch nothing because of it.
type Finder func(kid string) (*Key, error)

// Only is a Finder that knows one key. A key without an id is tried whatever the token names.
func Only(key *Key) Finder {
	return func(kid string) (*Key, error) {
		if key == nil || key.id != "" && kid != "" && kid != key.id {
			return nil, ErrUnknownKey
		}
		return key, nil
	}
}

// Expect says what a token must be to be taken. Type and one of Keys and Embedded are required.
type Expect struct {
	Type Type
	Keys Finder
	// Embedded takes the key from the header parameter jwk: the token shows possession of it and nothing else. Whose key it
	// is, the caller must know from elsewhere.
	Embedded bool
	// Algorithms that are taken; nil means ES256, ES384 and EdDSA. The key's own algorithm must be among them.
	Algorithms []Algorithm

	Issuer   string  // must be iss, unless empty
	Audience string  // must be among aud, unless empty
	Require  []Claim // must be there

	Now  time.Time     // exp, nbf and iat are judged by it, unless zero; exp only if it is there: see Require
	Skew time.Duration // by how much the other party's clock may differ

	ours bool // one spelling: no header parameter but alg, kid and typ, at most MaxToken bytes, a low s
}

// Registered are the claims of RFC 7519 §4.1 and RFC 7800. The zero value of a field means that the claim is absent. Times
// have a resolution of one second.
type Registered struct {
	Issuer       string
	Subject      string
	Audience     []string
	Expires      time.Time
	NotBefore    time.Time
	IssuedAt     time.Time
	ID           string // jti
	Confirmation *Confirmation
}

// Token is a JSON Web Token that has been verified.
type Token struct {
	Registered
	// Other are all other claims, each a JSON value. The signer vouches for them, but nobody here has looked inside, except
	// that no name stands twice at any level.
	Other map[string]json.RawMessage

	Key   *Key   // what the signature was verified with
	KeyID string // as the header says
}

// Verify returns what an authentic token says: signature first, claims after. The algorithm is the key's; the header must
// repeat it. Errors wrap exactly one of ErrForm, ErrProtection, ErrClaims and ErrExpired.
func Verify(token string, e Expect) (*Token, error) {
	t, err := e.verify(token)
	if err != nil {
		return nil, fmt.Errorf("verify %v: %w", e.Type, err)
	}
	return t, nil
}

func (e Expect) verify(token string) (*Token, error) {
	payload, t, err := e.authenticate(token)
	if err != nil {
		return nil, err
	}
	if err := t.read(payload); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrClaims, err)
	}
	if err := e.judge(t); err != nil {
		return nil, err
	}
	return t, nil
}

// authenticate judges everything but the claims.
func (e Expect) authenticate(token string) (payload []byte, t *Token, err error) {
	limit := MaxForeign
	if e.ours {
		limit = MaxToken
	}
	env, err := split(token, limit)
	if err != nil {
		return nil, nil, err
	}
	if err := e.checkHeader(env.header); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrProtection, err)
	}
	kid, key, err := e.key(env.header)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrProtection, err)
	}
	if e.ours && !key.alg.isLow(env.signature) {
		return nil, nil, fmt.Errorf("%w: signature is not in its one form", ErrProtection)
	}
	if !key.verify(env.input, env.signature) {
		return nil, nil, fmt.Errorf("%w: signature", ErrProtection)
	}
	return env.payload, &Token{Key: key, KeyID: kid}, nil
}

// checkHeader refuses what no token may say. RFC 7515 §4 has unknown parameters ignored, and so it is for other parties;
// ours have none, and each that is read by someone else (jwk, jku, x5u, crit, b64) has opened forged tokens somewhere.
func (e Expect) checkHeader(header object) error {
	for n := range header {
		if dangerousHeader[n] || e.ours && !signedHeader[n] || n == headerKey && !e.Embedded {
			return fmt.Errorf("header parameter %.32q is not allowed", n)
		}
	}
	if _, ok := types[e.Type]; !ok || !e.Type.matches(header) {
		return fmt.Errorf("%s is not %v", headerType, e.Type)
	}
	return nil
}

// key finds the key and holds the header to its algorithm (RFC 8725 §3.1).
func (e Expect) key(header object) (kid string, key *Key, err error) {
	alg, err := header.text(headerAlgorithm, maxID)
	if err != nil {
		return "", nil, err
	}
	taken := e.Algorithms
	if taken == nil {
		taken = asymmetric
	}
	if !slices.ContainsFunc(taken, func(a Algorithm) bool { return a.String() == alg }) {
		return "", nil, fmt.Errorf("%s %.32q is not taken", headerAlgorithm, alg)
	}
	if kid, err = header.text(headerKeyID, maxForeignID); err != nil {
		return "", nil, err
	}
	if e.ours {
		err = checkKeyID(kid)
	} else if !printable(kid) {
		err = errors.New("kid holds a byte that does not print")
	}
	if err != nil {
		return "", nil, err
	}
	key, err = e.find(header, kid)
	if err == nil && key == nil {
		err = ErrUnknownKey
	}
	if err != nil {
		return "", nil, fmt.Errorf("key %.64q: %w", kid, err)
	}
	if key.alg.String() != alg || !slices.Contains(taken, key.alg) {
		return "", nil, fmt.Errorf("key %.64q is for %v, not for %.32q", kid, key.alg, alg)
	}
	return kid, key, nil
}

func (e Expect) find(header object, kid string) (*Key, error) {
	switch {
	case e.Embedded && e.Keys != nil || !e.Embedded && e.Keys == nil:
		return nil, errors.New("either Keys or Embedded must be given")
	case e.Keys != nil:
		return e.Keys(kid)
	}
	raw, ok := header[headerKey]
	if !ok {
		return nil, fmt.Errorf("no header parameter %s", headerKey)
	}
	return ParseKey(raw)
}

// read takes the claims out of a payload.
func (t *Token) read(payload []byte) error {
	o, err := parseTo(payload, maxForeignDepth)
	if err != nil {
		return fmt.Errorf("payload: %w", err)
	}
	for n, to := range map[name]*string{claimIssuer: &t.Issuer, claimSubject: &t.Subject, claimID: &t.ID} {
		if *to, err = o.text(n, maxForeignText); err != nil {
			return err
		}
	}
	for n, to := range map[name]*time.Time{claimExpires: &t.Expires, claimIssuedAt: &t.IssuedAt} {
		if *to, err = o.date(n, math.Floor); err != nil {
			return err
		}
	}
	if t.NotBefore, err = o.date(claimNotBefore, math.Ceil); err != nil {
		return err
	}
	if t.Audience, err = o.texts(claimAudience, maxForeignText, maxAudiences); err != nil {
		return err
	}
	if raw, ok := o[claimConfirmation]; ok {
		if t.Confirmation, err = parseConfirmation(raw); err != nil {
			return fmt.Errorf("%s: %w", claimConfirmation, err)
		}
	}
	return t.keepOther(o)
}

func (t *Token) keepOther(o object) error {
	for n, value := range o {
		if registeredNames[n] {
			continue
		}
		if len(t.Other) == maxOther {
			return fmt.Errorf("more than %d claims", maxOther)
		}
		if t.Other == nil {
			t.Other = make(map[string]json.RawMessage)
		}
		t.Other[string(n)] = value
	}
	return nil
}

// judge compares the claims with what is expected.
func (e Expect) judge(t *Token) error {
	for _, c := range e.Require {
		if !t.has(c) {
			return fmt.Errorf("%w: no %s", ErrClaims, c)
		}
	}
	if e.Issuer != "" && t.Issuer != e.Issuer {
		return fmt.Errorf("%w: %s is not the expected one", ErrClaims, claimIssuer)
	}
	if e.Audience != "" && !slices.Contains(t.Audience, e.Audience) {
		return fmt.Errorf("%w: %s is not the expected one", ErrClaims, claimAudience)
	}
	if e.Now.IsZero() {
		return nil
	}
	for _, c := range []struct {
		name name
		time time.Time
	}{{claimNotBefore, t.NotBefore}, {claimIssuedAt, t.IssuedAt}} {
		if c.time.After(e.Now.Add(e.Skew)) {
			return fmt.Errorf("%w: %s lies in the future", ErrClaims, c.name)
		}
	}
	if !t.Expires.IsZero() && !e.Now.Before(t.Expires.Add(e.Skew)) {
		return ErrExpired
	}
	return nil
}

func (t *Token) has(c Claim) bool {
	switch c {
	case ClaimIssuer:
		return t.Issuer != ""
	case ClaimSubject:
		return t.Subject != ""
	case ClaimAudience:
		return t.Audience != nil
	case ClaimExpires:
		return !t.Expires.IsZero()
	case ClaimNotBefore:
		return !t.NotBefore.IsZero()
	case ClaimIssuedAt:
		return !t.IssuedAt.IsZero()
	case ClaimID:
		return t.ID != ""
	case ClaimConfirmation:
		return t.Confirmation != nil
	}
	_, ok := t.Other[string(c)]
	return ok
}

// Text is a claim without a field that must be a string of 1 to limit bytes; "" if it is absent.
func (t *Token) Text(c Claim, limit int) (string, error) {
	raw, ok := t.Other[string(c)]
	if !ok {
		return "", nil
	}
	s, err := object{name(c): raw}.text(name(c), limit)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrClaims, err)
	}
	return s, nil
}
