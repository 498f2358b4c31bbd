package delivery

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"golang.org/x/sync/errgroup"
)

// errLate is for messages whose lease is over: somebody else may be telling them.
var errLate = errors.New("not told in time")

// Run tells devices what waits for them in the outbox, until ctx ends; then it lets go of what is under way and returns nil.
// What no device has confirmed is tried again, after ever longer pauses, until it expires. Several processes may run on one
// store: each message is told by one of them at a time. Call it once.
func (e *Engine) Run(ctx context.Context) error {
	var tellers errgroup.Group
	tellers.SetLimit(tellersAtOnce)
	poll := time.NewTicker(pollTime)
	defer poll.Stop()
	for ctx.Err() == nil {
		if e.round(ctx, &tellers) {
			continue
		}
		select {
		case <-ctx.Done():
		case <-e.wake:
		case <-poll.C:
		}
	}
	return tellers.Wait()
}

// Wake makes Run look into the outbox now. What others put there it finds by itself within a second.
func (e *Engine) Wake() {
	select {
	case e.wake <- struct{}{}:
	default: // it is about to look
	}
}

// Arrived takes note that a device has just registered: what waits for it is told now (D5), then its log is collected.
func (e *Engine) Arrived(ctx context.Context, id provision.DeviceID) {
	if err := e.bringForward(ctx, id); err != nil {
		e.log.Warn("outbox", "device", provision.Audience(id), "err", err)
	}
	e.Collect(ctx, id)
}

func (e *Engine) bringForward(ctx context.Context, id provision.DeviceID) error {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	now := e.now()
	waiting, err := e.store.Waiting(ctx, id, now)
	if err != nil || len(waiting) == 0 || e.isTelling(id) {
		return err
	}
	defer e.Wake()
	return e.store.Retry(ctx, now, ids(waiting)...)
}

// round takes what is due and has it told; more says that there may be more to take.
func (e *Engine) round(ctx context.Context, tellers *errgroup.Group) (more bool) {
	now := e.now()
	lease := now.Add(leaseTime)
	taken, err := e.store.Due(ctx, now, lease, batch)
	if err != nil {
		if ctx.Err() == nil {
			e.log.Error("outbox", "err", err)
		}
		return false
	}
	for _, messages := range byDevice(taken) {
		tellers.Go(func() error {
			e.tellDevice(ctx, messages, lease)
			return nil
		})
	}
	return len(taken) == batch
}

// byDevice keeps together what waits for one device, in its order.
func byDevice(all []authz.Message) (list [][]authz.Message) {
	place := map[provision.DeviceID]int{}
	for _, m := range all {
		i, known := place[m.Device]
		if !known {
			i = len(list)
			place[m.Device], list = i, append(list, nil)
		}
		list[i] = append(list[i], m)
	}
	return list
}

// tellDevice tells one device its messages, in as few pieces of news as they fit, and stops at the first that it does not
// confirm.
func (e *Engine) tellDevice(ctx context.Context, messages []authz.Message, lease time.Time) {
	id := messages[0].Device
	e.telling(id, 1)
	defer e.telling(id, -1)
	d, err := e.store.Device(ctx, id)
	for err == nil && len(messages) > 0 {
		var piece []authz.Message
		piece, messages = join(messages)
		if err = e.tellPiece(ctx, d, piece, lease); err != nil {
			messages = append(piece, messages...)
		}
	}
	if err != nil {
		e.later(ctx, messages, err)
	}
}

// join parts the first messages whose hashes fit into one piece of news from the rest, one message at least.
func join(messages []authz.Message) (piece, rest []authz.Message) {
	n, hashes := 1, len(messages[0].Hashes)
	for n < len(messages) && hashes+len(messages[n].Hashes) <= authz.HashesPerNews {
		hashes += len(messages[n].Hashes)
		n++
	}
	return messages[:n:n], messages[n:]
}

func (e *Engine) tellPiece(ctx context.Context, d authz.Device, piece []authz.Message, lease time.Time) error {
	if e.now().Add(exchangeTime).After(lease) {
		return errLate
	}
	var hashes [][]byte
	for _, m := range piece {
		hashes = append(hashes, m.Hashes...)
	}
	teller := authz.Teller{Sequences: e.store, Deliverer: e, Now: e.now}
	if err := teller.Tell(ctx, d, hashes); err != nil {
		return err
	}
	// The device has said so: that it is on record must not depend on ctx.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTime)
	defer cancel()
	return e.store.Told(ctx, e.now(), ids(piece)...)
}

// later has messages wait. When the server stops they are due at once, for the next one.
func (e *Engine) later(ctx context.Context, messages []authz.Message, why error) {
	if errors.Is(why, errLate) {
		return // they are due again already
	}
	due := e.now()
	if ctx.Err() == nil {
		due = due.Add(e.pause(messages[0].Attempts))
		e.log.Debug("not told yet", "device", provision.Audience(messages[0].Device), "attempts", messages[0].Attempts, "err", why)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTime)
	defer cancel()
	if err := e.store.Retry(ctx, due, ids(messages)...); err != nil {
		e.log.Error("outbox", "err", err) // they are due again when the lease ends
	}
}

// pause doubles with each attempt, from firstPause to longestPause; by chance it is up to a half shorter, so that devices that
// failed together do not come together again.
func (e *Engine) pause(attempts int) time.Duration {
	p := longestPause
	if doublings := max(attempts-1, 0); doublings < 16 {
		p = min(firstPause<<doublings, longestPause)
	}
	var chance [4]byte
	if _, err := io.ReadFull(e.rand, chance[:]); err != nil {
		return p
	}
	half := uint64(p / 2 / time.Millisecond)
	return p - time.Duration(half*uint64(binary.BigEndian.Uint32(chance[:]))>>32)*time.Millisecond
}

func ids(messages []authz.Message) (list []int64) {
	for _, m := range messages {
		list = append(list, m.ID)
	}
	return list
}

// telling counts who is telling a device in this process.
func (e *Engine) telling(id provision.DeviceID, by int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.tellers[id] += by; e.tellers[id] == 0 {
		delete(e.tellers, id)
	}
}

func (e *Engine) isTelling(id provision.DeviceID) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.tellers[id] > 0
}
