package coapapi

import (
	"context"
	"sync"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/delivery"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/trl"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// observer is who is told when the answer to his query changes.
type observer struct {
	peer    *delivery.Peer
	queries []string
	last    uint64 // index of the newest update that he was told of
}

// observers are told of changes by one task, which runs while there are any. When this process ends tokens it is woken; what
// other processes do it finds by itself within lookTime.
type observers struct {
	tell func(context.Context, map[coapsec.Observation]*observer)
	wake chan struct{}

	mu      sync.Mutex
	all     map[coapsec.Observation]*observer
	fresh   bool // somebody has come whom nobody has looked after yet
	running bool // the task
}

func newObservers() *observers {
	return &observers{all: map[coapsec.Observation]*observer{}, wake: make(chan struct{}, 1)}
}

// ring makes the task look now.
func (l *observers) ring() {
	select {
	case l.wake <- struct{}{}:
	default: // it is about to look
	}
}

// add takes an observer in, false when there are too many. The observation may turn out to be over.
func (l *observers) add(of coapsec.Observation, o *observer) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) >= maxObservers {
		l.prune()
	}
	if len(l.all) >= maxObservers {
		return false
	}
	l.all[of], l.fresh = o, true
	if !l.running {
		l.running = true
		go l.watch()
	}
	return true
}

// prune forgets observations that are over.
func (l *observers) prune() {
	for of := range l.all {
		select {
		case <-of.Done():
			delete(l.all, of)
		default:
		}
	}
}

// watch looks after observers until there are none.
func (l *observers) watch() {
	look := time.NewTicker(lookTime)
	defer look.Stop()
	for {
		select {
		case <-look.C:
		case <-l.wake:
		}
		now := l.present()
		if len(now) == 0 {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), tellTime)
		l.tell(ctx, now)
		cancel()
	}
}

// present lists those whose observation goes on; with none of them the task is over.
func (l *observers) present() map[coapsec.Observation]*observer {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.prune()
	l.running = len(l.all) > 0
	now := make(map[coapsec.Observation]*observer, len(l.all))
	for of, o := range l.all {
		now[of] = o
	}
	return now
}

// someoneNew says whether an observer has come since it was asked last.
func (l *observers) someoneNew() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.fresh
	l.fresh = false
	return was
}

// tellObservers notifies those whose part of the list has changed (RFC 9770 §5). One look at the newest index of all spares the
// rest when nothing has.
func (f *face) tellObservers(ctx context.Context, all map[coapsec.Observation]*observer) {
	fresh := f.observers.someoneNew() // before the look: whoever comes after it has seen what it sees
	index, err := f.server.Store().RevokedIndex(ctx)
	if err != nil {
		f.log.Error("revocation list", "err", err)
		return
	}
	if index == f.index && !fresh {
		return
	}
	see := f.once()
	for of, o := range all {
		before := o.last
		m := f.list(ctx, o, see)
		if m.Code == codes.InternalServerError {
			o.last = before
			return // the store is away: nobody has to leave for that
		}
		if o.last == before && m.Code == codes.Content {
			continue
		}
		m.Options = m.Options.Add(message.Option{ID: message.Observe, Value: []byte{}})
		_ = of.Notify(ctx, m) // who has left is found by Done
	}
	f.index = index
}

// once reads each requester's part once.
func (f *face) once() look {
	type part struct {
		collection trl.Collection
		err        error
	}
	seen := map[authz.Requester]part{}
	return func(ctx context.Context, by authz.Requester) (trl.Collection, error) {
		p, ok := seen[by]
		if !ok {
			p.collection, p.err = f.server.Store().Revoked(ctx, by)
			seen[by] = p
		}
		return p.collection, p.err
	}
}
