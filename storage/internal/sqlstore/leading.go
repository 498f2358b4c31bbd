package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
)

// step is what a caller of Mint does next.
type step int

const (
	stepDone  step = iota // return what came out
	stepLead              // run a transaction for those who wait
	stepAlone             // run one for itself
)

// mints are those that wait. Who leads is not among them. There is one leader: two would make smaller shares, which costs more
// than working while the other waits for the disk gains.
type mints struct {
	mu      sync.Mutex
	waiting []*mint
	leading bool
}

// join waits for a place in a transaction, at most as long as the caller's context, and for what becomes of it.
func (w *mints) join(m *mint) step {
	w.mu.Lock()
	if !w.leading {
		w.leading = true
		w.mu.Unlock()
		return stepLead
	}
	w.waiting = append(w.waiting, m)
	w.mu.Unlock()
	select {
	case next := <-m.next:
		return next
	case <-m.ctx.Done():
	}
	w.mu.Lock()
	at := slices.Index(w.waiting, m)
	if at >= 0 {
		w.waiting = slices.Delete(w.waiting, at, at+1)
		m.err = m.ctx.Err()
	}
	w.mu.Unlock()
	if at >= 0 {
		return stepDone
	}
	return <-m.next
}

// gather lets those who can run now, and will mint, come along.
func (w *mints) gather() {
	for before := -1; ; {
		w.mu.Lock()
		now := len(w.waiting)
		w.mu.Unlock()
		if now <= before || now >= maxTogether-1 {
			return
		}
		before = now
		runtime.Gosched()
	}
}

// take gives those who share a transaction with its leader.
func (w *mints) take(leader *mint) []*mint {
	w.mu.Lock()
	defer w.mu.Unlock()
	size := min(len(w.waiting), maxTogether-1)
	batch := append([]*mint{leader}, w.waiting[:size]...)
	w.waiting = slices.Delete(w.waiting, 0, size)
	return batch
}

// leave lets the first of those who wait lead.
func (w *mints) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiting) == 0 {
		w.leading = false
		return
	}
	w.waiting[0].next <- stepLead
	w.waiting = slices.Delete(w.waiting, 0, 1)
}

var (
	errAlone   = errors.New("each by itself")
	errNothing = errors.New("all were refused")
	errBroken  = errors.New("the transaction broke off")
)

// lead runs a transaction for its own mint and those that wait when it begins, and says what becomes of its own.
func (s *Store) lead(ctx context.Context, m *mint) (next step) {
	batch, err := []*mint{m}, errBroken
	defer func() { // after a panic too: the others are answered, and somebody leads
		s.mints.leave()
		if errors.Is(err, errAlone) || errors.Is(err, ErrUndone) {
			next = stepAlone
		}
		for _, other := range batch {
			if err != nil && !errors.Is(err, errNothing) {
				other.err = err // also where it was refused: what for may have been undone
			}
			if other != m {
				other.next <- next
			}
		}
	}()
	s.mints.gather()
	err = s.transact(ctx, true, func() []*mint {
		batch = s.mints.take(m)
		return batch
	})
	return stepDone
}

func (s *Store) alone(ctx context.Context, m *mint) {
	err := s.transact(ctx, false, func() []*mint { return []*mint{m} })
	if errors.Is(err, ErrUndone) {
		err = fmt.Errorf("token: %w", s.meaning(err))
	}
	if !errors.Is(err, errNothing) {
		m.err = err
	}
}

// transact runs one transaction for the mints that take gives, which is asked once.
func (s *Store) transact(ctx context.Context, shared bool, take func() []*mint) error {
	take = sync.OnceValue(take)
	var t *transaction
	err := s.engine.Write(ctx, func(ctx context.Context, q Querier) error {
		t = &transaction{Store: s, q: q, shared: shared, batch: take()}
		return t.run(ctx)
	})
	if err == nil {
		t.committed()
	}
	return err
}
