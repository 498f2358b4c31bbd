package authz

import (
	"errors"
	"sync"
	"time"
)

// ErrClockMoved stops all mints until the server starts again.
var ErrClockMoved = errors.New("the clock was set by more than an hour while the server ran: check it, then start the server again")

// ClockMove is as far as a clock may be set at once. A sequence that a wrong clock made never goes back (D4), so a device would take
// nothing of the right one until that time has come.
const ClockMove = time.Hour

// steady finds a clock that was set between two mints (D4), beside one that nobody sets.
type steady struct {
	uptime func() time.Duration // nil: there is none

	mu    sync.Mutex
	moved bool
	now   time.Time // of the last mint
	up    time.Duration
}

func (c *steady) check(now time.Time) error {
	if c.uptime == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	up, now := c.uptime(), now.Round(0) // without the reading of the monotonic clock, which stands still in sleep
	c.moved = c.moved || !c.now.IsZero() && (now.Sub(c.now)-(up-c.up)).Abs() > ClockMove
	if c.moved {
		return ErrClockMoved
	}
	c.now, c.up = now, up
	return nil
}
