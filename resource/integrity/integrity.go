// Package integrity lets a resource server demand that a call comes from a genuine app, by an integrity token for that very call
// (pop/integrity, D21).
//
// Only public keys are taken, so whoever reads a device learns nothing with which he could vouch for an app. Over CoAP a token answers the
// Echo of its request; over HTTP it is bound to the access token beside it. Start from New.
package integrity

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/integrity"
	"github.com/latchkey-ace/latchkey/pop/jose"
	"github.com/latchkey-ace/latchkey/resource"
)

// Options of a Verifier; Keys is required.
type Options struct {
	Keys     *jose.Set // of the attester; a set holds public keys alone
	Issuer   string    // must be iss; "" for an attester that names none
	Clients  []string  // who sub may be; nil: anybody whom the attester vouches for
	Audience string    // must be among aud, where a token has it; "": such tokens are refused
	// Once lets each token over HTTP count for one call. Those that were used are kept in memory until they end, MaxSpent at most;
	// what comes while there are so many is refused. Over CoAP each counts once anyway.
	Once bool
}

// MaxSpent is how many used tokens are remembered, some 100 bytes each: 70 calls a second of tokens that are good for 15 minutes.
const MaxSpent = 1 << 16

// Verifier judges integrity tokens. It is safe for concurrent use.
type Verifier struct {
	o    Options
	used spent
}

var _ resource.Apps = (*Verifier)(nil)

// New makes a Verifier; a set without keys is an error.
func New(o Options) (*Verifier, error) {
	if o.Keys == nil || len(o.Keys.Keys()) == 0 {
		return nil, errors.New("integrity tokens: no public key to verify them with")
	}
	return &Verifier{o: o}, nil
}

// Reasons to refuse. What pop/integrity says is wrapped.
var (
	ErrLong      = errors.New("longer than 1,024 bytes")
	ErrOther     = errors.New("of another attester, client or audience")
	ErrChallenge = errors.New("for another request")
	ErrUsed      = errors.New("used before, or too many are in use")
)

// Genuine judges the token of a CoAP request (D21).
func (v *Verifier) Genuine(token []byte, challenge string, now time.Time) error {
	if len(token) > coapsec.MaxIntegrity {
		return ErrLong
	}
	t, err := v.verify(string(token), now)
	if err == nil && (challenge == "" || subtle.ConstantTimeCompare([]byte(t.Challenge), []byte(challenge)) != 1) {
		err = ErrChallenge
	}
	return err
}

// Bound judges the token of an HTTP request: it must be bound to authorization, the value of the header of that name. With Once a
// good one is used up by this.
func (v *Verifier) Bound(token, authorization string, now time.Time) error {
	t, err := v.verify(token, now)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(authorization))
	if authorization == "" || subtle.ConstantTimeCompare(t.Payload, sum[:]) != 1 {
		return ErrChallenge
	}
	if v.o.Once && !v.used.spend(token, t.Expires, now) {
		return ErrUsed
	}
	return nil
}

// spent are tokens that were used.
type spent struct {
	mu    sync.Mutex
	until map[[sha256.Size]byte]time.Time
}

// spend reports whether a token was not used before, and uses it. A signature has two spellings, so it is known by what it signs.
func (s *spent) spend(token string, until, now time.Time) bool {
	sum := sha256.Sum256([]byte(token[:strings.LastIndexByte(token, '.')]))
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.until) >= MaxSpent {
		maps.DeleteFunc(s.until, func(_ [sha256.Size]byte, end time.Time) bool { return !now.Before(end) })
	}
	if _, again := s.until[sum]; again || len(s.until) >= MaxSpent {
		return false
	}
	if s.until == nil {
		s.until = map[[sha256.Size]byte]time.Time{}
	}
	s.until[sum] = until
	return true
}

func (v *Verifier) verify(token string, now time.Time) (*integrity.Token, error) {
	t, err := integrity.Verify(token, integrity.Expect{Keys: v.o.Keys.Find, Now: now})
	switch {
	case err != nil:
		return nil, fmt.Errorf("integrity token: %w", err)
	case t.Attester != v.o.Issuer, v.o.Clients != nil && !slices.Contains(v.o.Clients, t.Subject), t.Audience != nil && !slices.Contains(t.Audience, v.o.Audience):
		return nil, ErrOther
	}
	return t, nil
}
