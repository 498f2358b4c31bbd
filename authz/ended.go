package authz

import (
	"context"
	"sync"
	"time"
)

// OnEnded has f called after each commit of this server that ended tokens or took them off the revocation list. f must be
// quick. What other processes commit on the same store is for f's owner to find. Call it before the server serves.
func (s *Server) OnEnded(f func()) { s.bell.add(f) }

// bell is who wants to know at once.
type bell struct {
	mu   sync.Mutex
	told []func()
}

func (b *bell) add(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.told = append(b.told, f)
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.told {
		f()
	}
}

// ringing is the server's store, which rings when tokens have ended, whoever ended them through it. Server.Revoke rings itself.
type ringing struct {
	Store
	bell *bell
}

// End implements Store.
func (r ringing) End(ctx context.Context, spec EndSpec, now time.Time) ([]TokenRecord, error) {
	ended, err := r.Store.End(ctx, spec, now)
	if len(ended) > 0 {
		r.bell.ring()
	}
	return ended, err
}

// Sweep implements Store.
func (r ringing) Sweep(ctx context.Context, now time.Time, limit int) (int, error) {
	n, err := r.Store.Sweep(ctx, now, limit)
	if n > 0 {
		r.bell.ring()
	}
	return n, err
}
