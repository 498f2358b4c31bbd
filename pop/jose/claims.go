package jose

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/grade"
)

var errRequired = errors.New("required by RFC 9068 §2.2")

// encodeClaims writes the payload. It refuses what decodeClaims would.
func encodeClaims(c *pop.Claims) ([]byte, error) {
	if len(c.Unknown) > 0 {
		return nil, errors.New("only claims that are known are written")
	}
	if err := checkTexts(c); err != nil {
		return nil, err
	}
	if err := checkTimes(c); err != nil {
		return nil, err
	}
	if len(c.ID) == 0 || len(c.ID) > maxID || len(c.CNonce) > maxID {
		return nil, fmt.Errorf("jti or cnonce: %w", errNotBytes)
	}
	if err := c.Scope.Check(); err != nil {
		return nil, fmt.Errorf("scope: %w", err)
	}
	profile, err := encodeProfile(c.Profile)
	if err != nil {
		return nil, err
	}
	cnf, err := encodeConfirmation(&c.Confirmation)
	if err != nil {
		return nil, err
	}
	grant, err := encodeGrant(c)
	if err != nil {
		return nil, err
	}
	return claimNames.encode(
		member{claimIssuer, c.Issuer},
		member{claimSubject, c.Subject},
		member{claimAudience, c.Audience},
		member{claimClientID, c.ClientID},
		member{claimExpires, date(c.Expires)},
		member{claimNotBefore, date(c.NotBefore)},
		member{claimIssuedAt, date(c.IssuedAt)},
		member{claimID, encode64(c.ID)},
		member{claimScope, textOrNone(c.Scope.String())},
		member{claimConfirmation, cnf},
		member{claimProfile, profile},
		member{claimExpiresIn, seconds(c.ExpiresIn)},
		member{claimCNonce, bytesOrNone(c.CNonce)},
		member{claimGrant, grant},
	)
}

func checkTexts(c *pop.Claims) error {
	for n, s := range map[name]string{claimIssuer: c.Issuer, claimSubject: c.Subject, claimAudience: c.Audience, claimClientID: c.ClientID} {
		switch {
		case s == "":
			return fmt.Errorf("%s: %w", n, errRequired)
		case len(s) > maxText:
			return fmt.Errorf("%s: %d bytes, at most %d", n, len(s), maxText)
		case !utf8.ValidString(s):
			return fmt.Errorf("%s: %w", n, errUTF8)
		}
	}
	return nil
}

func checkTimes(c *pop.Claims) error {
	if c.Expires.IsZero() || c.IssuedAt.IsZero() {
		return fmt.Errorf("exp and iat: %w", errRequired)
	}
	for n, t := range map[name]time.Time{claimExpires: c.Expires, claimIssuedAt: c.IssuedAt, claimNotBefore: c.NotBefore} {
		if !t.IsZero() && (t.Unix() < 1 || t.Unix() > maxDate) {
			return fmt.Errorf("%s: %w", n, errNotNumber)
		}
	}
	if c.ExpiresIn != 0 && (c.ExpiresIn < time.Second || c.ExpiresIn > maxSeconds*time.Second || c.ExpiresIn%time.Second != 0) {
		return fmt.Errorf("%s: %v is not a number of whole seconds up to %d", claimExpiresIn, c.ExpiresIn, int64(maxSeconds))
	}
	return nil
}

func encodeProfile(p pop.Profile) (any, error) {
	switch p {
	case 0:
		return nil, nil
	case pop.ProfileCoAPDTLS, pop.ProfileCoAPOSCORE:
		return p.String(), nil
	}
	return nil, fmt.Errorf("%s: profile %d has no name", claimProfile, p)
}

func encodeGrant(c *pop.Claims) (any, error) {
	g := c.Grant
	if g == nil {
		return nil, nil
	}
	if g.Epoch > maxEpoch {
		return nil, fmt.Errorf("%s: epoch: %w", claimGrant, errNotNumber)
	}
	if err := checkOnce(g.Once, c.Scope); err != nil {
		return nil, err
	}
	var once any
	if len(g.Once) > 0 {
		once = g.Once
	}
	var looked any
	if g.Grade != (grade.Grade{}) {
		looked = g.Grade
	}
	return grantNames.encode(
		member{grantEpoch, g.Epoch},
		member{grantID, encode64(g.Grant[:])},
		member{grantOnce, once},
		member{grantGrade, looked},
	)
}

// checkOnce asks for ascending indexes into scope: a stray one could point at nothing and leave an action unlimited.
func checkOnce(once []uint, scope aif.Rights) error {
	entries := uint(len(aif.New(scope...)))
	for i, index := range once {
		if index >= entries || i > 0 && index <= once[i-1] {
			return fmt.Errorf("%s: %s: not ascending indexes into scope", claimGrant, grantOnce)
		}
	}
	return nil
}

func date(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.Unix()
}

func seconds(d time.Duration) any {
	if d == 0 {
		return nil
	}
	return int64(d / time.Second)
}

func textOrNone(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func bytesOrNone(b []byte) any {
	if b == nil {
		return nil
	}
	return encode64(b)
}

// decodeClaims reads a payload whose signature is verified. Every error is ErrClaims. Unknown claims are kept for the caller
// (RFC 7519 §4); duplicate names are refused inside them too.
func decodeClaims(payload []byte) (*pop.Claims, error) {
	o, err := parse(payload)
	if err != nil {
		return nil, fmt.Errorf("%w: payload: %w", ErrClaims, err)
	}
	c := new(pop.Claims)
	for _, read := range []func(object, *pop.Claims) error{decodeTexts, decodeTimes, decodeIDs, decodeScope, decodeGrant} {
		if err := read(o, c); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrClaims, err)
		}
	}
	if c.Confirmation, err = decodeConfirmation(o[claimConfirmation]); err != nil {
		return nil, fmt.Errorf("%w: %s: %v", ErrClaims, claimConfirmation, err)
	}
	if err := keepUnknown(o, c); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrClaims, err)
	}
	return c, nil
}

func keepUnknown(o object, c *pop.Claims) error {
	for n, raw := range o {
		switch {
		case claimNames[n]:
			continue
		case n == "":
			return errors.New("claim without a name")
		case len(c.Unknown) == maxOther:
			return fmt.Errorf("more than %d unknown claims", maxOther)
		case c.Unknown == nil:
			c.Unknown = make(map[pop.ClaimLabel][]byte)
		}
		c.Unknown[pop.ClaimLabel{Name: string(n)}] = bytes.Clone(raw)
	}
	return nil
}

func decodeTexts(o object, c *pop.Claims) error {
	for n, to := range map[name]*string{claimIssuer: &c.Issuer, claimSubject: &c.Subject, claimAudience: &c.Audience, claimClientID: &c.ClientID} {
		s, err := o.text(n, maxText)
		if err != nil {
			return err
		}
		if s == "" {
			return fmt.Errorf("%s: %w", n, errRequired)
		}
		*to = s
	}
	return nil
}

func decodeTimes(o object, c *pop.Claims) error {
	for n, to := range map[name]*time.Time{claimExpires: &c.Expires, claimNotBefore: &c.NotBefore, claimIssuedAt: &c.IssuedAt} {
		v, err := o.number(n, maxDate)
		if err != nil {
			return err
		}
		if v != 0 {
			*to = time.Unix(int64(v), 0)
		}
	}
	if c.Expires.IsZero() || c.IssuedAt.IsZero() {
		return fmt.Errorf("exp and iat: %w", errRequired)
	}
	v, err := o.number(claimExpiresIn, maxSeconds)
	c.ExpiresIn = time.Duration(v) * time.Second
	return err
}

func decodeIDs(o object, c *pop.Claims) (err error) {
	if c.ID, err = o.bytes(claimID, 1, maxID); err != nil {
		return err
	}
	if c.ID == nil {
		return fmt.Errorf("%s: %w", claimID, errRequired)
	}
	c.CNonce, err = o.bytes(claimCNonce, 0, maxID)
	return err
}

func decodeScope(o object, c *pop.Claims) error {
	s, err := o.text(claimScope, aif.MaxText)
	if err != nil {
		return err
	}
	if c.Scope, err = aif.ParseText(s); err != nil {
		return fmt.Errorf("%s: %w", claimScope, err)
	}
	if c.Scope.String() != s { // another order would shift what the once indexes point at
		return fmt.Errorf("%s: not in its one spelling", claimScope)
	}
	profile, err := o.text(claimProfile, maxID)
	switch {
	case err != nil:
		return err
	case profile == "":
	case profile == pop.ProfileCoAPOSCORE.String():
		c.Profile = pop.ProfileCoAPOSCORE
	case profile == pop.ProfileCoAPDTLS.String():
		c.Profile = pop.ProfileCoAPDTLS
	default:
		return fmt.Errorf("%s: unknown profile", claimProfile)
	}
	return nil
}

func decodeGrant(o object, c *pop.Claims) error {
	raw, ok := o[claimGrant]
	if !ok {
		return nil
	}
	g, err := grantNames.parseOnly(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", claimGrant, err)
	}
	ref := new(pop.GrantRef)
	if ref.Epoch, err = parseNumber(g[grantEpoch], maxEpoch); err != nil {
		return fmt.Errorf("%s: %s: %w", claimGrant, grantEpoch, err)
	}
	id, err := g.bytes(grantID, len(ref.Grant), len(ref.Grant))
	if err != nil || id == nil {
		return fmt.Errorf("%s: %s: not %d bytes", claimGrant, grantID, len(ref.Grant))
	}
	copy(ref.Grant[:], id)
	if once, ok := g[grantOnce]; ok {
		if ref.Once, err = decodeOnce(once); err != nil {
			return err
		}
	}
	if looked, ok := g[grantGrade]; ok {
		if err := json.Unmarshal(looked, &ref.Grade); err != nil {
			return fmt.Errorf("%s: %s: %w", claimGrant, grantGrade, err)
		}
	}
	c.Grant = ref
	return checkOnce(ref.Once, c.Scope)
}

func decodeOnce(raw json.RawMessage) ([]uint, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil || len(list) == 0 {
		return nil, fmt.Errorf("%s: %s: not a list of indexes", claimGrant, grantOnce)
	}
	once := make([]uint, 0, len(list))
	for _, item := range list {
		index, err := parseNumber(item, aif.MaxEntries)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", claimGrant, grantOnce, err)
		}
		once = append(once, uint(index))
	}
	return once, nil
}
