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
	"github.com/latchkey-ace/latchkey/pop/grade"
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
	Grade []uint `cbor:"3,keyasint,omitempty"`
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
		if set.Confirmation, err = encodeConfirmation(&c.Confirmation); err != nil {
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
		if g.Grade != (grade.Grade{}) {
			set.Grant.Grade = g.Grade.Numbers()
		}
	}
	data, err := wire.Marshal(set)
	if err == nil && len(c.Unknown) > 0 {
		data, err = addUnknown(data, c.Unknown)
	}
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

// claimReader says how one known claim is read.
type claimReader struct {
	label int64
	read  func(*pop.Claims, wire.RawMessage) error
}

// readers are the known claims, the frequent ones first.
var readers = []claimReader{
	{claimAudience, func(c *pop.Claims, raw wire.RawMessage) error { return readText(&c.Audience, raw) }},
	{claimExpires, func(c *pop.Claims, raw wire.RawMessage) error { return readTime(&c.Expires, raw, math.Floor) }},
	{claimIssuedAt, func(c *pop.Claims, raw wire.RawMessage) error { return readTime(&c.IssuedAt, raw, math.Floor) }},
	{claimID, func(c *pop.Claims, raw wire.RawMessage) error { return readBytes(&c.ID, raw, 1, maxID) }},
	{claimConfirmation, readConfirmation},
	{claimScope, readScope},
	{claimProfile, readProfile},
	{claimExpiresIn, readExpiresIn},
	{claimGrant, readGrant},
	{claimIssuer, func(c *pop.Claims, raw wire.RawMessage) error { return readText(&c.Issuer, raw) }},
	{claimSubject, func(c *pop.Claims, raw wire.RawMessage) error { return readText(&c.Subject, raw) }},
	{claimNotBefore, func(c *pop.Claims, raw wire.RawMessage) error { return readTime(&c.NotBefore, raw, math.Ceil) }},
	{claimCNonce, func(c *pop.Claims, raw wire.RawMessage) error { return readBytes(&c.CNonce, raw, 0, maxCNonce) }},
}

func readerOf(label pop.ClaimLabel) *claimReader {
	for i := range readers {
		if readers[i].label == label.Number && label.Name == "" {
			return &readers[i]
		}
	}
	return nil
}

// parseClaims reads a claims set. Claims that are not known are kept and not looked at (RFC 8392 §3). Every error is
// ErrClaims.
func parseClaims(data []byte) (*pop.Claims, error) {
	var space room
	set, err := parseMap(data, &space)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrClaims, err)
	}
	c := &pop.Claims{}
	for _, f := range set {
		r := readerOf(f.label)
		if r == nil {
			err = keepUnknown(c, f)
		} else {
			err = r.read(c, f.value)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: claim %.64v: %w", ErrClaims, f.label, err)
		}
	}
	if err := checkClaims(c, set); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrClaims, err)
	}
	return c, nil
}

// checkClaims looks at what claims say about each other.
func checkClaims(c *pop.Claims, set fields) error {
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
	rawScope, _ := set.get(claimScope)
	if sent, err := content(rawScope); err != nil || !bytes.Equal(sent, sorted) {
		return errors.New("indexes into a scope that is not in deterministic order")
	}
	if slices.Max(c.Grant.Once) >= uint(len(c.Scope)) {
		return errors.New("index beyond the scope")
	}
	return nil
}

func readText(to *string, raw wire.RawMessage) error {
	s, err := text(raw)
	if err == nil && (s == "" || len(s) > maxText) {
		err = fmt.Errorf("text of %d bytes, want 1 to %d", len(s), maxText)
	}
	*to = s
	return err
}

func readBytes(to *[]byte, raw wire.RawMessage, least, most int) error {
	b, err := byteString(raw)
	if err == nil && (len(b) < least || len(b) > most) {
		err = fmt.Errorf("%d bytes, want %d to %d", len(b), least, most)
	}
	*to = b
	return err
}

// readTime reads a NumericDate, an integer or a float without tag 1 (RFC 8392 §2). round takes the stricter second.
func readTime(to *time.Time, raw wire.RawMessage, round func(float64) float64) error {
	n, err := integer(raw)
	if err != nil {
		v, err := as[float64](raw)
		if err != nil {
			return err
		}
		if !(v >= 0 && v <= maxSeconds) { // NaN is neither
			return errors.New("time out of range")
		}
		n = int64(round(v))
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
	encoded, err := content(raw)
	if err != nil {
		return err
	}
	if c.Scope, err = aif.Parse(encoded); c.Scope == nil {
		c.Scope = aif.Rights{} // no rights, which is not the same as an absent claim
	}
	return err
}

func readProfile(c *pop.Claims, raw wire.RawMessage) error {
	n, err := integer(raw)
	if err == nil && (n < 1 || n > maxProfile) {
		err = errors.New("profile out of range")
	}
	c.Profile = pop.Profile(n)
	return err
}

func readExpiresIn(c *pop.Claims, raw wire.RawMessage) error {
	n, err := integer(raw)
	if err == nil && (n < 1 || n > maxExpiresIn) {
		err = fmt.Errorf("exi of %d s, want 1 to %d", n, int64(maxExpiresIn))
	}
	c.ExpiresIn = time.Duration(n) * time.Second
	return err
}

// readGrant is strict about labels and encoding, because nobody but our own server writes this claim.
func readGrant(c *pop.Claims, raw wire.RawMessage) error {
	var space room
	set, ok := scanMap(raw, &space)
	if !ok || len(set) < 2 || set[0].label != (pop.ClaimLabel{Number: 0}) || set[1].label != (pop.ClaimLabel{Number: 1}) {
		return errGrant
	}
	epoch, err := integer(set[0].value)
	if err != nil || epoch < 0 {
		return errGrant
	}
	ref := &pop.GrantRef{Epoch: uint64(epoch)}
	id, err := content(set[1].value)
	if err != nil || len(id) != len(ref.Grant) {
		return errGrant
	}
	copy(ref.Grant[:], id)
	for _, f := range set[2:] {
		if err := readOptional(ref, f); err != nil {
			return err
		}
	}
	c.Grant = ref
	return nil
}

// readOptional reads what may stand in the claim beside epoch and grant.
func readOptional(ref *pop.GrantRef, f field) error {
	list, err := numbers(f.value)
	switch {
	case err != nil:
		return err
	case f.label == pop.ClaimLabel{Number: 2} && strictlyAscending(list):
		ref.Once = list
	case f.label == pop.ClaimLabel{Number: 3}:
		ref.Grade, err = grade.Of(list)
	default:
		err = errGrant
	}
	return err
}

var errGrant = errors.New("not {0: epoch, 1: grant id, ? 2: ascending indexes, ? 3: [kind, key, os]}")

// numbers reads an array of few small numbers.
func numbers(raw wire.RawMessage) ([]uint, error) {
	major, n, rest, ok := wire.Head(raw)
	if !ok || major != wire.MajorArray || n == 0 || n > maxOnce {
		return nil, errGrant
	}
	list := make([]uint, 0, n)
	for range n {
		var number uint64
		if major, number, rest, ok = wire.Head(rest); !ok || major != wire.MajorUint || number >= aif.MaxEntries {
			return nil, errGrant
		}
		list = append(list, uint(number))
	}
	if len(rest) > 0 {
		return nil, errGrant
	}
	return list, nil
}

func strictlyAscending(list []uint) bool {
	for i := 1; i < len(list); i++ {
		if list[i] <= list[i-1] {
			return false
		}
	}
	return true
}
