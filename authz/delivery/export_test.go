package delivery

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
)

// Round is one look into the outbox, until all that was taken has been tried.
func (e *Engine) Round(ctx context.Context) {
	var tellers errgroup.Group
	tellers.SetLimit(tellersAtOnce)
	e.round(ctx, &tellers)
	_ = tellers.Wait()
}

// Pause is how long a message waits after so many attempts.
func (e *Engine) Pause(attempts int) time.Duration { return e.pause(attempts) }

// LeaseTime is how long a message belongs to who took it.
const LeaseTime = leaseTime

// PeersKept is how many peers the engine keeps a channel for.
func (e *Engine) PeersKept() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.peers)
}
