package oscore

import (
	"crypto/cipher"
	"sync"
	"sync/atomic"
)

// schedule is what AES makes of the two keys of a context.
type schedule struct {
	owner   *Context
	send    cipher.AEAD
	receive cipher.AEAD
	used    atomic.Bool // since the hand last passed
	slot    int
}

// Schedules keeps the key schedules of the contexts that are used most. Many contexts share one, and it is safe for
// concurrent use.
//
// When it is full the one that has rested longest gives way, found by a hand that passes over those used since it last came
// by: a message of a context that is in costs no lock. A context gets in by protecting a message or by verifying
// one; what strangers send displaces nobody.
type Schedules struct {
	mu    sync.Mutex
	most  int
	slots []*schedule
	hand  int
}

// NewSchedules returns room for the key schedules of n contexts, one at least.
func NewSchedules(n int) *Schedules {
	return &Schedules{most: max(n, 1)}
}

// Len is how many contexts have key schedules now.
func (s *Schedules) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.slots)
}

// put gives a place to made, unless its context has got one meanwhile.
func (s *Schedules) put(made *schedule) *schedule {
	s.mu.Lock()
	defer s.mu.Unlock()
	if there := made.owner.hot.Load(); there != nil {
		return there
	}
	if len(s.slots) < s.most {
		made.slot = len(s.slots)
		s.slots = append(s.slots, made)
	} else {
		for s.slots[s.hand].used.Swap(false) {
			s.hand = (s.hand + 1) % s.most
		}
		s.slots[s.hand].owner.hot.Store(nil)
		made.slot = s.hand
		s.slots[s.hand] = made
		s.hand = (s.hand + 1) % s.most
	}
	made.owner.hot.Store(made)
	return made
}

// remove takes c's place away.
func (s *Schedules) remove(c *Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := c.hot.Swap(nil)
	if gone == nil {
		return
	}
	last := len(s.slots) - 1
	s.slots[gone.slot] = s.slots[last]
	s.slots[gone.slot].slot = gone.slot
	s.slots[last] = nil
	s.slots = s.slots[:last]
	if s.hand >= len(s.slots) {
		s.hand = 0
	}
}

// Rest drops the key schedules of c; its next message makes them again. A message under way is not disturbed.
func (c *Context) Rest() {
	if c.schedules != nil {
		c.schedules.remove(c)
		return
	}
	c.hot.Store(nil)
}

// keys returns the key schedules, which it makes and keeps if there are none.
func (c *Context) keys() *schedule {
	if s := c.hot.Load(); s != nil {
		if !s.used.Load() {
			s.used.Store(true)
		}
		return s
	}
	return c.keep(c.algorithm.aead(&c.receiveKey))
}

// keep makes the other half of the key schedules and keeps both.
func (c *Context) keep(receive cipher.AEAD) *schedule {
	made := &schedule{owner: c, send: c.algorithm.aead(&c.sendKey), receive: receive}
	if c.schedules != nil {
		return c.schedules.put(made)
	}
	c.hot.Store(made)
	return made
}

// opener returns what opens a message, without keeping it: the message may be a forgery. verified keeps it.
func (c *Context) opener() (receive cipher.AEAD, kept bool) {
	if s := c.hot.Load(); s != nil {
		return s.receive, true
	}
	return c.algorithm.aead(&c.receiveKey), false
}

func (c *Context) verified(receive cipher.AEAD, kept bool) {
	if !kept {
		c.keep(receive)
		return
	}
	if s := c.hot.Load(); s != nil && !s.used.Load() {
		s.used.Store(true)
	}
}
