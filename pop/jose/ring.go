package jose

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrNoSigner means that no key of a ring may sign now.
var ErrNoSigner = errors.New("no key to sign with")

// Ring is the signing keys of one party over time: a key is published before it is used, so that every verifier knows it when
// its first signature arrives, and stays published after it was used, until nothing that it signed can be valid. It is
// immutable, and so safe for concurrent use: Rotate and Withdraw return another.
type Ring struct {
	pace  Pace
	slots []Slot
}

// Pace says how long the phases of a key are.
type Pace struct {
	// Lead is from publication to the first signature: as long as verifiers keep our set.
	Lead time.Duration
	// Keep is from the last signature to the end of publication: the longest life of what was signed, and the skew of clocks.
	Keep time.Duration
}

// Slot is one key and its times.
type Slot struct {
	Signer  Signer
	Publish time.Time // from here on in the set
	From    time.Time // from here on it signs
	Until   time.Time // from here on it signs no more, and Keep later it leaves the set; zero: not decided yet
}

func (s *Slot) signs(now time.Time) bool {
	return !now.Before(s.From) && (s.Until.IsZero() || now.Before(s.Until))
}

func (s *Slot) waits(now time.Time) bool { return now.Before(s.From) }

// NewRing takes the slots that an earlier ring had, or none.
func NewRing(p Pace, slots ...Slot) (*Ring, error) {
	if p.Lead < 0 || p.Keep < 0 {
		return nil, errors.New("key ring: a phase is negative")
	}
	r := &Ring{pace: p, slots: slices.Clone(slots)}
	for _, s := range r.slots {
		if s.Publish.IsZero() || s.From.Before(s.Publish) || !s.Until.IsZero() && s.Until.Before(s.From) {
			return nil, fmt.Errorf("key ring: key %.64q: its times are in another order than publish, sign, end", s.Signer.ID)
		}
	}
	_, err := r.set(func(*Slot) bool { return true })
	return r, err
}

// Slots are the keys and their times, to be stored.
func (r *Ring) Slots() []Slot { return slices.Clone(r.slots) }

// Signer is the key that signs now. Errors: ErrNoSigner.
func (r *Ring) Signer(now time.Time) (Signer, error) {
	for i := range r.slots {
		if r.slots[i].signs(now) {
			return r.slots[i].Signer, nil
		}
	}
	return Signer{}, ErrNoSigner
}

// Set is what verifiers are given now, and what our own signatures are verified with.
func (r *Ring) Set(now time.Time) (*Set, error) {
	return r.set(func(s *Slot) bool { return !now.Before(s.Publish) && !r.gone(s, now) })
}

func (r *Ring) set(in func(*Slot) bool) (*Set, error) {
	var keys []*Key
	for i := range r.slots {
		s := &r.slots[i]
		if !in(s) {
			continue
		}
		if _, err := s.Signer.algorithm(); err != nil {
			return nil, fmt.Errorf("key ring: key %.64q: %w", s.Signer.ID, err)
		}
		k, err := NewKey(s.Signer.Key.Public(), s.Signer.ID)
		if err != nil {
			return nil, fmt.Errorf("key ring: key %.64q: %w", s.Signer.ID, err)
		}
		keys = append(keys, k)
	}
	return NewSet(keys...)
}

func (r *Ring) gone(s *Slot, now time.Time) bool {
	return !s.Until.IsZero() && !now.Before(s.Until.Add(r.pace.Keep))
}

// Rotate publishes a new key now, lets it sign after Lead and the present key until then. Where no key signs, the new one does
// at once. While a key waits for its time, no other can be added. Keys that are gone are dropped.
func (r *Ring) Rotate(next Signer, now time.Time) (*Ring, error) {
	from := now
	var slots []Slot
	for _, s := range r.slots {
		switch {
		case s.waits(now):
			return nil, fmt.Errorf("key ring: key %.64q is still waiting for its time", s.Signer.ID)
		case r.gone(&s, now):
			continue
		case s.signs(now):
			from = now.Add(r.pace.Lead)
			s.Until = from
		}
		slots = append(slots, s)
	}
	return NewRing(r.pace, append(slots, Slot{Signer: next, Publish: now, From: from})...)
}

// Withdraw takes a key away at once, because it is no longer secret: nothing that it signed is believed any more. If it is the
// one that signs, a waiting key takes over; without one there is ErrNoSigner until the next Rotate. If it is the one that
// waits, the present key signs on.
func (r *Ring) Withdraw(kid string, now time.Time) (*Ring, error) {
	i := slices.IndexFunc(r.slots, func(s Slot) bool { return s.Signer.ID == kid })
	if i < 0 {
		return nil, fmt.Errorf("key ring: key %.64q: %w", kid, ErrUnknownKey)
	}
	lost := r.slots[i]
	slots := slices.Delete(slices.Clone(r.slots), i, i+1)
	for j := range slots {
		s := &slots[j]
		switch {
		case lost.signs(now) && s.waits(now):
			s.From = now
			if s.Publish.After(now) {
				s.Publish = now
			}
		case lost.waits(now) && s.signs(now):
			s.Until = time.Time{}
		}
	}
	return NewRing(r.pace, slots...)
}
