package cwt

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// Claim keys (IANA CWT Claims), in registry order; claimGrant is private (D6). client_id and jti have no place here: the
// first is for JWTs, the second is cti.
const (
	claimGrant        int64 = -70001
	claimIssuer       int64 = 1
	claimSubject      int64 = 2
	claimAudience     int64 = 3
	claimExpires      int64 = 4
	claimNotBefore    int64 = 5
	claimIssuedAt     int64 = 6
	claimID           int64 = 7
	claimConfirmation int64 = 8
	claimScope        int64 = 9
	claimProfile      int64 = 38
	claimCNonce       int64 = 39
	claimExpiresIn    int64 = 40
)

// claimsSet is what is encoded.
type claimsSet struct {
	Issuer       string          `cbor:"1,keyasint,omitempty"`
	Subject      string          `cbor:"2,keyasint,omitempty"`
	Audience     string          `cbor:"3,keyasint,omitempty"`
	Expires      *int64          `cbor:"4,keyasint,omitempty"`
	NotBefore    *int64          `cbor:"5,keyasint,omitempty"`
	IssuedAt     *int64          `cbor:"6,keyasint,omitempty"`
	ID           []byte          `cbor:"7,keyasint,omitempty"`
	Confirmation wire.RawMessage `cbor:"8,keyasint,omitempty"`
	Scope        []byte          `cbor:"9,keyasint,omitempty"`
	Profile      pop.Profile     `cbor:"38,keyasint,omitempty"`
	CNonce       []byte          `cbor:"39,keyasint,omitzero"`
	ExpiresIn    int64           `cbor:"40,keyasint,omitempty"`
	Grant        *grantRef       `cbor:"-70001,keyasint,omitempty"`
}

// grantRef is the private claim −70001 (D6).
type grantRef struct {
	Epoch uint64 `cbor:"0,keyasint"`
	Grant []byte `cbor:"1,keyasint"`
	Once  []uint `cbor:"2,keyasint,omitempty"`
}

// encodeClaims gives the deterministic claims set. ClientID is left out: it is for JWTs. What is encoded is read again,
// so that no token leaves that Open would refuse.
func encodeClaims(c *pop.Claims) ([]byte, error) {
	if c.ExpiresIn%time.Second != 0 {
		return nil, fmt.Errorf("exi of %v is not in whole seconds", c.ExpiresIn)
	}
	set := claimsSet{
		Issuer: c.Issuer, Subject: c.Subject, Audience: c.Audience,
		Expires: seconds(c.Expires), NotBefore: seconds(c.NotBefore), IssuedAt: seconds(c.IssuedAt),
		ID: c.ID, Profile: c.Profile, CNonce: c.CNonce, ExpiresIn: int64(c.ExpiresIn / time.Second),
	}
	var err error
	if methods(&c.Confirmation) > 0 {
		if set.Confirmation, err = EncodeConfirmation(c.Confirmation); err != nil {
			return nil, err
		}
	}
	if c.Scope != nil {
		if set.Scope, err = c.Scope.Encode(); err != nil {
			return nil, err
		}
	}
	if g := c.Grant; g != nil {
		if len(g.Once) > 0 && !slices.Equal(c.Scope, aif.New(c.Scope...)) {
			return nil, errors.New("scope is not in order, so an index into it would change its meaning")
		}
		set.Grant = &grantRef{Epoch: g.Epoch, Grant: g.Grant[:], Once: g.Once}
	}
	data, err := wire.Marshal(set)
	if err != nil {
		return nil, err
	}
	_, err = parseClaims(data)
	return data, err
}

// seconds is nil for the zero time, which means that the claim is absent.
func seconds(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	n := t.Unix()
	return &n
}

// readers say how each known claim is read, in registry order. Claims that are not here are ignored (RFC 8392 §3).
var readers = []struct {
	label int64
	read  func(*pop.Claims, wire.RawMessage) error
}{
	{claimGrant, readGrant},
	{claimIssuer, func(c *pop.Claims, raw wire.RawMessage) error { return readText(&c.Issuer, raw) }},
	{claimSubject, func(c *pop.Claims, raw wire.RawMessage) error { return readText(&c.Subject, raw) }},
	{claimAudience, func(c *pop.Claims, raw wire.RawMessage) error { return readText(&c.Audience, raw) }},
	{claimExpires, func(c *pop.Claims, raw wire.RawMessage) error { return readTime(&c.Expires, raw, math.Floor) }},
	{claimNotBefore, func(c *pop.Claims, raw wire.RawMessage) error { return readTime(&c.NotBefore, raw, math.Ceil) }},
	{claimIssuedAt, func(c *pop.Claims, raw wire.RawMessage) error { return readTime(&c.IssuedAt, raw, math.Floor) }},
	{claimID, func(c *pop.Claims, raw wire.RawMessage) error { return readBytes(&c.ID, raw, 1, maxID) }},
	{claimConfirmation, readConfirmation},
	{claimScope, readScope},
	{claimProfile, readProfile},
	{claimCNonce, func(c *pop.Claims, raw wire.RawMessage) error { return readBytes(&c.CNonce, raw, 0, maxCNonce) }},
	{claimExpiresIn, readExpiresIn},
}

// parseClaims reads a claims set. Every error is ErrClaims.
func parseClaims(data []byte) (*pop.Claims, error) {
	set, err := parseMap(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrClaims, err)
	}
	c := &pop.Claims{}
	for _, r := range readers {
		raw, ok := set[r.label]
		if !ok {
			continue
		}
		if err := r.read(c, raw); err != nil {
			return nil, fmt.Errorf("%w: claim %d: %w", ErrClaims, r.label, err)
		}
	}
	if err := checkClaims(c, set[claimScope]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrClaims, err)
	}
	return c, nil
}

// checkClaims looks at what claims say about each other.
func checkClaims(c *pop.Claims, rawScope wire.RawMessage) error {
	if c.ExpiresIn != 0 && c.ID == nil {
		return errors.New("exi without cti") // RFC 9200 §5.10.3
	}
	if c.Grant == nil || len(c.Grant.Once) == 0 {
		return nil
	}
	// The indexes mean positions in the order in which the scope was sent. We sort scopes, so only a sorted one will do.
	sorted, err := c.Scope.Encode()
	if err != nil {
		return err
	}
	if sent, err := as[[]byte](rawScope); err != nil || !bytes.Equal(sent, sorted) {
		return errors.New("indexes into a scope that is not in deterministic order")
	}
	if int(slices.Max(c.Grant.Once)) >= len(c.Scope) {
		return errors.New("index beyond the scope")
	}
	return nil
}

func readText(to *string, raw wire.RawMessage) error {
	s, err := as[string](raw)
	if err == nil && (s == "" || len(s) > maxText) {
		err = fmt.Errorf("text of %d bytes, want 1 to %d", len(s), maxText)
	}
	*to = s
	return err
}

func readBytes(to *[]byte, raw wire.RawMessage, least, most int) error {
	b, err := as[[]byte](raw)
	if err == nil && (len(b) < least || len(b) > most) {
		err = fmt.Errorf("%d bytes, want %d to %d", len(b), least, most)
	}
	*to = b
	return err
}

// readTime reads a NumericDate, an integer or a float without tag 1 (RFC 8392 §2). round takes the stricter second.
func readTime(to *time.Time, raw wire.RawMessage, round func(float64) float64) error {
	item, err := as[any](raw)
	if err != nil {
		return err
	}
	var n int64
	switch v := item.(type) {
	case int64:
		n = v
	case float64:
		if !(v >= 0 && v <= maxSeconds) { // NaN is neither
			return errors.New("time out of range")
		}
		n = int64(round(v))
	default:
		return errWrongType
	}
	if n < 0 || n > maxSeconds {
		return errors.New("time out of range")
	}
	*to = time.Unix(n, 0)
	return nil
}

func readConfirmation(c *pop.Claims, raw wire.RawMessage) (err error) {
	c.Confirmation, err = ParseConfirmation(raw)
	return err
}

func readScope(c *pop.Claims, raw wire.RawMessage) error {
	encoded, err := as[[]byte](raw)
	if err != nil {
		return err
	}
	if c.Scope, err = aif.Parse(encoded); c.Scope == nil {
		c.Scope = aif.Rights{} // no rights, which is not the same as an absent claim
	}
	return err
}

func readProfile(c *pop.Claims, raw wire.RawMessage) error {
	n, err := as[int64](raw)
	if err == nil && (n < 1 || n > maxProfile) {
		err = errors.New("profile out of range")
	}
	c.Profile = pop.Profile(n)
	return err
}

func readExpiresIn(c *pop.Claims, raw wire.RawMessage) error {
	n, err := as[int64](raw)
	if err == nil && (n < 1 || n > maxExpiresIn) {
		err = fmt.Errorf("exi of %d s, want 1 to %d", n, int64(maxExpiresIn))
	}
	c.ExpiresIn = time.Duration(n) * time.Second
	return err
}

// readGrant is strict about its labels, because nobody but our own server writes this claim.
func readGrant(c *pop.Claims, raw wire.RawMessage) error {
	var ref grantRef
	if err := wire.Unmarshal(raw, &ref); err != nil {
		return err
	}
	again, err := wire.Marshal(ref)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, raw) || len(ref.Grant) != len(pop.GrantID{}) || ref.Epoch > maxEpoch {
		return errors.New("not {0: epoch, 1: grant id, ? 2: indexes}")
	}
	if len(ref.Once) > maxOnce || !strictlyAscending(ref.Once) {
		return errors.New("indexes are not few, different and ascending")
	}
	c.Grant = &pop.GrantRef{Epoch: ref.Epoch, Grant: pop.GrantID(ref.Grant), Once: ref.Once}
	return nil
}

func strictlyAscending(list []uint) bool {
	for i := 1; i < len(list); i++ {
		if list[i] <= list[i-1] {
			return false
		}
	}
	return true
}
