package resource

import (
	"slices"
	"time"

	"github.com/latchkey-ace/latchkey/internal/checks"
)

// Clock is the device's own sense of elapsed time.
type Clock interface {
	// Uptime is the time since the device was switched on, sleep included, and a name for this boot. It never runs
	// backwards while boot stays the same; when boot has changed, or is empty, an unknown time has passed.
	Uptime() (d time.Duration, boot string)
}

// instant is one reading of everything that is known about the time (D16).
type instant struct {
	uptime time.Duration
	boot   string
	low    time.Time // it is at least this late; zero: nothing is known
	known  bool      // low is the time
	boots  uint64
}

// advance reads mark at a later moment. Within one boot the elapsed time is known; across boots it is not, and the bound
// stays where it was.
func (m TimeMark) advance(uptime time.Duration, boot string) instant {
	now := instant{uptime: uptime, boot: boot, low: m.Low, boots: m.Boots}
	if boot != m.Boot || boot == "" || uptime < m.Uptime {
		now.boots++
		return now
	}
	now.known = m.Known
	if !m.Low.IsZero() {
		now.low = m.Low.Add(uptime - m.Uptime)
	}
	return now
}

func (i instant) mark() TimeMark {
	return TimeMark{Low: i.low, Boot: i.boot, Uptime: i.uptime, Known: i.known, Boots: i.boots}
}

// elapsed is the time since a moment of this boot; ok is false when it cannot be known.
func (i instant) elapsed(boot string, started time.Duration) (d time.Duration, ok bool) {
	if boot != i.boot || boot == "" || i.uptime < started {
		return 0, false
	}
	return i.uptime - started, true
}

// within says that an earlier instant of this boot is no longer than limit ago. What cannot be told is not.
func (i instant) within(earlier instant, limit time.Duration) bool {
	d, ok := i.elapsed(earlier.boot, earlier.uptime)
	return ok && d <= limit
}

// stepTooFar says whether t is further ahead than is believed without a live server. The first value ever is believed,
// because there is nothing to measure it against.
func (i instant) stepTooFar(t time.Time) bool {
	return !i.low.IsZero() && t.Sub(i.low) > MaxStep
}

// raise moves the lower bound up to t, never down. live says that t was said now, by the authorization server.
func (i *instant) raise(t time.Time, live bool) {
	if t.After(i.low) && (live || !i.stepTooFar(t)) {
		i.low = t
	}
}

// bounds are what limits a token in time.
type bounds struct {
	expires     time.Time
	notBefore   time.Time
	expiresIn   time.Duration
	sequence    uint64
	hasSequence bool
}

func (r *Record) bounds() bounds {
	return bounds{r.Expires, r.NotBefore, r.ExpiresIn, r.Sequence, true}
}

// over says that a token can never be used again on this device, whatever is learnt about the time.
func (b bounds) over(st *State, now instant) error {
	switch {
	case checks.Expiry && !b.expires.IsZero() && !now.low.IsZero() && !b.expires.After(now.low):
		return ErrExpired
	case b.expiresIn > 0 && b.hasSequence && b.sequence <= st.HighestExpired:
		return ErrReplayOfExpired
	}
	return nil
}

// valid says why a token with these bounds cannot be used now, or nil (D16). Uncertainty shortens, never lengthens.
func (s *Server) valid(st *State, now instant, b bounds) error {
	if err := b.over(st, now); err != nil {
		return err
	}
	if b.expires.IsZero() && b.expiresIn == 0 {
		return ErrNoBound
	}
	if s.synced && !now.known {
		return ErrTimeUnknown
	}
	// A device without a clock measures exi alone (RFC 9200 §5.10.3).
	if !s.synced && b.expiresIn == 0 {
		return ErrNoBound
	}
	if !b.notBefore.IsZero() && now.low.Before(b.notBefore) {
		return ErrNotYetValid
	}
	return nil
}

// now reads the clock.
func (s *Server) now() instant {
	uptime, boot := s.clock.Uptime()
	return s.state.Time.advance(uptime, boot)
}

// sweep ends what has expired, and writes the time down often enough. What an expiry teaches (the highest expired
// sequence number) is stored by the same step that ends the session, so that no power cut can part them.
func (s *Server) sweep() (instant, error) {
	now := s.now()
	late := now.boot != s.savedAt.boot || now.uptime-s.savedAt.uptime >= SaveTimeEvery
	if !late && !s.anythingOver(now) {
		s.prune(now)
		return now, nil
	}
	next := s.state.clone()
	next.expireCounts(now)
	var ended []Entry
	end := func(r *Record) bool {
		why := r.bounds().over(&next, now)
		if why == nil {
			return false
		}
		if r.ExpiresIn > 0 {
			next.expire(r.Sequence)
		}
		ended = append(ended, now.stamp(Entry{Grant: r.Grant.Grant, Action: actionExpire, Result: Refused, Reason: why.Error()}))
		return true
	}
	next.drop(end)
	next.drop(end) // expiring one token may have expired others with lower numbers
	if err := s.save(next, now); err != nil {
		return now, err
	}
	for _, e := range ended {
		s.tell(e)
	}
	return now, nil
}

func (s *Server) anythingOver(now instant) bool {
	return slices.ContainsFunc(s.state.Counts, now.ranOut) ||
		slices.ContainsFunc(s.state.Sessions, func(r Record) bool { return r.bounds().over(&s.state, now) != nil })
}

// ranOut says that a token's time is up, or that nobody can tell any more because the device was off.
func (i instant) ranOut(c Count) bool {
	elapsed, known := i.elapsed(c.Boot, c.Started)
	return !known || elapsed >= c.ExpiresIn
}

func (s *State) expireCounts(now instant) {
	for _, c := range slices.Clone(s.Counts) {
		if now.ranOut(c) {
			s.expire(c.Sequence)
		}
	}
}
