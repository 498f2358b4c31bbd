package storagetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
)

// closing is something that stops mints; from the moment it has returned none may go through.
type closing struct {
	name  string
	close func(store authz.Store, g authz.Grant, f authz.Family) error
	open  func(store authz.Store, g authz.Grant, f authz.Family) error // nil: what it closed stays closed
	end   bool                                                         // tokens that were minted end with it
}

func (s *history) closings() []closing {
	ctx, at := s.t.Context(), evening.Add(time.Minute)
	return []closing{
		{"client suspended", func(s authz.Store, _ authz.Grant, _ authz.Family) error { return s.SuspendClient(ctx, "phone", at) },
			func(s authz.Store, _ authz.Grant, _ authz.Family) error {
				return s.SuspendClient(ctx, "phone", time.Time{})
			}, false},
		{"user suspended", func(s authz.Store, _ authz.Grant, _ authz.Family) error { return s.SuspendUser(ctx, "mother", at) },
			func(s authz.Store, _ authz.Grant, _ authz.Family) error {
				return s.SuspendUser(ctx, "mother", time.Time{})
			}, false},
		{"owner suspended", func(s authz.Store, _ authz.Grant, _ authz.Family) error { return s.SuspendUser(ctx, "alice", at) },
			func(s authz.Store, _ authz.Grant, _ authz.Family) error {
				return s.SuspendUser(ctx, "alice", time.Time{})
			}, false},
		{"device suspended", func(s authz.Store, _ authz.Grant, _ authz.Family) error { return s.SuspendDevice(ctx, lock(1).ID, at) },
			func(s authz.Store, _ authz.Grant, _ authz.Family) error {
				return s.SuspendDevice(ctx, lock(1).ID, time.Time{})
			}, false},
		{"grant suspended", func(s authz.Store, g authz.Grant, _ authz.Family) error { return s.SuspendGrant(ctx, g.ID, at) }, nil, false},
		{"grant revoked", func(s authz.Store, g authz.Grant, _ authz.Family) error {
			_, err := s.Revoke(ctx, g.ID, at)
			return err
		}, nil, true},
		{"refresh token ended", func(s authz.Store, _ authz.Grant, f authz.Family) error {
			_, err := s.End(ctx, authz.EndSpec{Family: f.ID}, at)
			return err
		}, nil, true},
		{"user's tokens ended", func(s authz.Store, _ authz.Grant, _ authz.Family) error {
			_, err := s.End(ctx, authz.EndSpec{User: "mother"}, at)
			return err
		}, nil, true},
		{"device handed over", func(s authz.Store, _ authz.Grant, _ authz.Family) error {
			return s.TransferDevice(ctx, lock(1).ID, authz.DeviceActive, "mother", 0)
		}, func(s authz.Store, _ authz.Grant, _ authz.Family) error {
			return s.TransferDevice(ctx, lock(1).ID, authz.DeviceActive, "alice", 0)
		}, false},
	}
}

// history is mints by several processes and one closing among them.
type history struct {
	t      *testing.T
	stores []authz.Store
	grant  authz.Grant
	family authz.Family
	name   string

	closed   atomic.Bool
	minted   atomic.Int64
	mu       sync.Mutex
	tokens   []authz.TokenRecord
	midway   chan struct{} // closed when enough have minted for the closing to come in between
	reported sync.Once
}

const (
	minters   = 12
	mintsEach = 8
)

// closingsAgainstMints plays each closing against mints that refresh, in two processes. What is looked for is a mint that is
// still in its transaction after the closing has returned, and a token that nobody ended.
func closingsAgainstMints(t *testing.T, db Database) {
	first := house(t, db)
	stores := []authz.Store{first, open(t, db)}
	for i, c := range (&history{t: t}).closings() {
		for round := range 2 {
			name := fmt.Sprint(c.name, " ", round)
			h := &history{t: t, stores: stores, name: name, grant: permission(byte(20 + 2*i + round)), family: family(name), midway: make(chan struct{})}
			h.family.Grant, h.family.BoundKey, h.family.Material = h.grant.ID, hash("thumbprint"), family("").Material
			h.play(c)
		}
	}
}

func (h *history) play(c closing) {
	ctx, store := h.t.Context(), h.stores[0]
	must(h.t, store.AddGrant(ctx, h.grant))
	h.mint(store, 0, 0, &h.family)
	together(minters+1, func(i int) {
		if i < minters {
			for n := 1; n <= mintsEach && h.mint(h.stores[i%2], i, n, nil); n++ {
			}
			return
		}
		<-h.midway
		if err := c.close(h.stores[1], h.grant, h.family); err != nil {
			h.t.Errorf("%s: %v", h.name, err)
		}
		h.closed.Store(true)
	})
	if h.mint(store, 99, 0, nil) {
		h.t.Errorf("%s: minted afterwards", h.name)
	}
	if c.end {
		for _, r := range h.tokens {
			if get(store.Token(ctx, r.ID))(h.t).Revoked.IsZero() {
				h.t.Errorf("%s: a token of before is live", h.name)
			}
		}
	}
	if c.open != nil {
		must(h.t, c.open(store, h.grant, h.family))
	}
	if len(h.tokens) < minters {
		h.t.Errorf("%s: only %d mints", h.name, len(h.tokens))
	}
}

// mint refreshes once and reports whether there was a token.
func (h *history) mint(store authz.Store, who, n int, first *authz.Family) bool {
	r := token(fmt.Sprint(h.name, who, "/", n))
	r.Grant, r.Family = h.grant.ID, h.family.ID
	p := everybody()
	p.Grant = h.grant.ID
	s := among(p)
	if first == nil {
		s.Refresh = &authz.RefreshUse{Family: h.family.ID}
	}
	err := store.Mint(h.t.Context(), s, func(authz.Minting) (authz.Issued, error) {
		if h.closed.Load() {
			h.t.Errorf("%s: a mint is on its way after it was closed", h.name)
		}
		return authz.Issued{Token: r, Family: first}, nil
	})
	if err == nil {
		h.mu.Lock()
		h.tokens = append(h.tokens, r)
		h.mu.Unlock()
		if h.minted.Add(1) == minters {
			h.reported.Do(func() { close(h.midway) })
		}
		return true
	}
	var gone *authz.SuspendedError
	if !errors.As(err, &gone) && !errors.Is(err, authz.ErrGrantEnded) && !errors.Is(err, authz.ErrNotFound) {
		h.t.Errorf("%s: mint: %v", h.name, err)
	}
	return false
}
