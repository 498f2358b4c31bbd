package sqlstore

import (
	"context"
	"runtime"
	"sync"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// known is what this process keeps in memory of clients, devices, grants, signing keys and tokens. The database has a number that
// each change of such a row replaces by a random one, in its own transaction. An entry is good only while the number is the one
// it was read under, and whoever uses it has read the number after he was asked. So a change counts for everybody from its commit
// on, whichever process or program made it, and also one that a database lost when a standby took its place.
type known struct {
	clients   shelf[string, authz.Client]
	devices   shelf[deviceKey, authz.Device]
	grants    shelf[grantsKey, []authz.Grant]
	standings shelf[authz.Parties, standing]
	signers   shelf[string, bool]              // true: not withdrawn
	tokens    shelf[string, authz.TokenRecord] // by id; under a number of its own
	reading   shared[mark]
}

// deviceKey is one of the ways to ask for a device.
type deviceKey struct{ column, value string }

type grantsKey struct {
	to     authz.Subject
	device provision.DeviceID
}

// mark is how far the database has come.
type mark struct {
	changes int64 // differs after each change of rows that known has, other than tokens
	revoked int64 // differs after each revocation
	clock   int64 // the newest second of any sequence, 0 before the first
}

var markQuery = ask(`SELECT p.state, t.state, (SELECT value FROM counters WHERE name = '` + counterClock + `')
	FROM changed p, changed t WHERE p.what = 'parties' AND t.what = 'tokens'`)

func readMark(ctx context.Context, q Querier) (m mark, err error) {
	err = together(ctx, q, m.read())
	return m, err
}

func (m *mark) read() Step { return markQuery.into(&m.changes, &m.revoked, (*optional)(&m.clock)) }

// mark is read anew, for all who ask meanwhile at once.
func (s *Store) mark(ctx context.Context) (mark, error) {
	return s.known.reading.read(ctx, func(ctx context.Context) (mark, error) { return readMark(ctx, s.engine.Reader()) })
}

// asOf is the key of the mark of a context.
type asOf struct{}

// Recall reads the mark once, for all that is asked within the context.
func (s *Store) Recall(ctx context.Context) (context.Context, error) {
	m, err := s.mark(ctx)
	if err != nil {
		return nil, err
	}
	return context.WithValue(ctx, asOf{}, m), nil
}

// markOf is the context's, or the present one.
func (s *Store) markOf(ctx context.Context) (mark, error) {
	if m, read := ctx.Value(asOf{}).(mark); read {
		return m, nil
	}
	return s.mark(ctx)
}

// shelf keeps rows of one kind, all read under the same number.
type shelf[K comparable, V any] struct {
	mu      sync.RWMutex
	changes int64
	rows    map[K]V
}

// get finds a row that was read under a number.
func (s *shelf[K, V]) get(changes int64, key K) (V, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.changes != changes {
		var none V
		return none, false
	}
	row, found := s.rows[key]
	return row, found
}

// any finds a row of which nobody knows whether it is still good.
func (s *shelf[K, V]) any(key K) (V, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	row, found := s.rows[key]
	return row, found
}

// put keeps a committed row that was read after the number was.
func (s *shelf[K, V]) put(changes int64, key K, row V) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changes != changes || s.rows == nil {
		s.changes, s.rows = changes, map[K]V{}
	}
	for other := range s.rows {
		if len(s.rows) < maxKnown {
			break
		}
		delete(s.rows, other)
	}
	s.rows[key] = row
}

// shared reads a value for many callers at once. Nobody gets what was read before he asked.
type shared[T any] struct {
	mu            sync.Mutex
	running, next *reading[T]
}

type reading[T any] struct {
	done  chan struct{}
	value T
	err   error
}

func (s *shared[T]) read(ctx context.Context, read func(context.Context) (T, error)) (T, error) {
	s.mu.Lock()
	if r := s.next; r != nil { // it has not begun
		s.mu.Unlock()
		return r.wait(ctx)
	}
	mine, before := &reading[T]{done: make(chan struct{})}, s.running
	s.next = mine
	s.mu.Unlock()
	if before != nil {
		<-before.done
	} else {
		runtime.Gosched() // whoever can run now and will ask comes along
	}
	s.mu.Lock()
	s.running, s.next = mine, nil
	s.mu.Unlock()
	s.run(ctx, mine, read)
	return mine.value, mine.err
}

// run reads for others too, so the caller's leaving does not end it.
func (s *shared[T]) run(ctx context.Context, r *reading[T], read func(context.Context) (T, error)) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), markTime)
	defer cancel()
	defer func() {
		s.mu.Lock()
		if s.running == r {
			s.running = nil
		}
		s.mu.Unlock()
		close(r.done)
	}()
	r.value, r.err = read(ctx)
}

func (r *reading[T]) wait(ctx context.Context) (T, error) {
	select {
	case <-r.done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// lookup finds a row in memory or reads it.
func lookup[K comparable, V any](ctx context.Context, s *Store, on *shelf[K, V], key K, read func() (V, error)) (V, error) {
	m, err := s.markOf(ctx)
	if err != nil {
		var none V
		return none, err
	}
	return on.lookup(m.changes, key, read)
}

func (s *shelf[K, V]) lookup(changes int64, key K, read func() (V, error)) (V, error) {
	if row, found := s.get(changes, key); found {
		return row, nil
	}
	row, err := read()
	if err == nil {
		s.put(changes, key, row)
	}
	return row, err
}

// deviceOf finds a device in memory or reads it. Where it was last seen is read anew, unless much is asked about at once.
func (s *Store) deviceOf(ctx context.Context, key deviceKey, read func() (authz.Device, error)) (authz.Device, error) {
	m, err := s.markOf(ctx)
	if err != nil {
		return authz.Device{}, err
	}
	d, found := s.known.devices.get(m.changes, key)
	if !found {
		return s.known.devices.lookup(m.changes, key, read)
	}
	_, recalled := ctx.Value(asOf{}).(mark)
	if d.Delivery != authz.DeliveryHTTP && !recalled {
		d.Registration, err = s.Registration(ctx, d.ID)
	}
	return d, err
}
