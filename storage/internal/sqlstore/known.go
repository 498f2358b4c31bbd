package sqlstore

import (
	"context"
	"sync"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// known is what this process keeps in memory of clients, devices, grants and signing keys. The database has a number that
// each change of such a row replaces by a random one, in its own transaction. An entry is good only while the number is the one
// it was read under, and whoever uses it has read the number after he was asked. So a change counts for everybody from its commit
// on, whichever process or program made it, and also one that a database lost when a standby took its place.
type known struct {
	clients   shelf[string, authz.Client]
	devices   shelf[deviceKey, authz.Device]
	grants    shelf[grantsKey, []authz.Grant]
	standings shelf[authz.Parties, standing]
	signers   shelf[string, bool] // true: not withdrawn
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
	changes int64 // differs after each change of rows that known has
	clock   int64 // the newest second of any sequence, 0 before the first
}

var markQuery = ask(`SELECT state, (SELECT value FROM counters WHERE name = '` + counterClock + `') FROM changed WHERE what = 'parties'`)

func readMark(ctx context.Context, q Querier) (m mark, err error) {
	err = together(ctx, q, m.read())
	return m, err
}

func (m *mark) read() Step { return markQuery.into(&m.changes, (*optional)(&m.clock)) }

// mark is read anew, for all who ask meanwhile at once.
func (s *Store) mark(ctx context.Context) (mark, error) {
	return s.known.reading.read(ctx, func(ctx context.Context) (mark, error) { return readMark(ctx, s.engine.Reader()) })
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
	if before == nil {
		s.running = mine
	} else {
		s.next = mine
	}
	s.mu.Unlock()
	if before != nil {
		<-before.done
		s.mu.Lock()
		s.running, s.next = mine, nil
		s.mu.Unlock()
	}
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
	m, err := s.mark(ctx)
	if err != nil {
		var none V
		return none, err
	}
	if row, found := on.get(m.changes, key); found {
		return row, nil
	}
	row, err := read()
	if err == nil {
		on.put(m.changes, key, row)
	}
	return row, err
}

// registration reads where a device that is in memory was last seen, together with the mark.
func (s *Store) registration(ctx context.Context, id provision.DeviceID) (m mark, r authz.Registration, err error) {
	err = one(ctx, s.engine.Reader(), ask(`SELECT (SELECT state FROM changed WHERE what = 'parties'), reg_address, reg_local_uris,
		reg_expires_at, reg_seen_at FROM devices WHERE id = $1`, id[:]), &m.changes, &r.Address, asJSON{&r.LocalURIs}, (*when)(&r.ExpiresAt), (*when)(&r.SeenAt))
	return m, r, err
}

// recall finds a device in memory. Devices with keys are asked for where they were last seen; HTTP APIs are nowhere.
func (s *Store) recall(ctx context.Context, key deviceKey) (authz.Device, bool) {
	d, found := s.known.devices.any(key)
	if !found {
		return authz.Device{}, false
	}
	var m mark
	var err error
	if d.Delivery == authz.DeliveryHTTP {
		m, err = s.mark(ctx)
	} else {
		m, d.Registration, err = s.registration(ctx, d.ID)
	}
	if err != nil {
		return authz.Device{}, false // whoever reads all of it meets the same
	}
	if _, still := s.known.devices.get(m.changes, key); !still {
		return authz.Device{}, false
	}
	return d, true
}
