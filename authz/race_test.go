package authz_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/ace"
)

// interrupted is a store in which something happens right before a mint.
type interrupted struct {
	authz.Store
	before func()
}

func (s interrupted) Mint(ctx context.Context, spec authz.MintSpec, issue func(authz.Minting) (authz.Issued, error)) error {
	s.before()
	return s.Store.Mint(ctx, spec, issue)
}

// interrupt lets before happen between the decision and the mint of every token from now on.
func (w *world) interrupt(before func()) {
	w.t.Helper()
	whole := w.store
	w.store = interrupted{whole, before}
	w.serve(authz.Options{})
	w.store = whole
}

// TestWhatHappensBeforeTheMint: the decision was right, but the world has moved on; the transaction sees it.
func TestWhatHappensBeforeTheMint(t *testing.T) {
	tests := []struct {
		name   string
		before func(w *world, g authz.Grant, code string)
		want   ace.ErrorCode
		reason string
		spent  bool
	}{
		{"the grant is revoked", func(w *world, g authz.Grant, _ string) {
			_, err := w.store.Revoke(w.t.Context(), g.ID, w.clock.now())
			w.must(err)
		}, ace.InvalidScope, "the grant has ended", false},
		{"the code is redeemed", func(w *world, _ authz.Grant, code string) {
			w.must(w.store.Mint(w.t.Context(), authz.MintSpec{Now: w.clock.now(), Code: hashOf(code), Parties: authz.Parties{Device: deviceID(1)}}, func(authz.Minting) (authz.Issued, error) {
				id := deviceID(1)
				return authz.Issued{Token: authz.TokenRecord{
					Hash: append([]byte{1}, hashOf("x")...), ID: append(id[:], "the id x"...), Device: id, IssuedAt: evening, Expires: evening.Add(time.Hour),
				}}, nil
			}))
		}, ace.InvalidGrant, "code was redeemed before", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			g := w.give(nil, unlock)
			code := w.code()
			w.interrupt(func() { tt.before(w, g, code) })
			_, err := w.token(w.phone, redemption(code))
			w.refused(err, tt.want, tt.reason)
			row, err := w.store.Code(t.Context(), hashOf(code))
			if err != nil || row.ConsumedAt.IsZero() == tt.spent {
				t.Errorf("code %+v, %v", row, err)
			}
		})
	}
}

// TestVanishedDevice: what the store has lost is a fault of the server, and no word about codes to who used none.
func TestVanishedDevice(t *testing.T) {
	w := newWorld(t)
	w.give(toGateway, view)
	whole := w.store
	w.store = lost{whole}
	w.serve(authz.Options{})
	w.store = whole
	if _, err := w.token(w.gateway, own(1)); !errors.Is(err, authz.ErrNotFound) || errors.As(err, new(*ace.Error)) {
		t.Errorf("got %v", err)
	}
}

type lost struct{ authz.Store }

func (lost) Mint(context.Context, authz.MintSpec, func(authz.Minting) (authz.Issued, error)) error {
	return authz.ErrNotFound
}

// TestRevokeAmongRedemptions: once Revoke has returned, no redemption that was under way gives a token.
func TestRevokeAmongRedemptions(t *testing.T) {
	w := newWorld(t)
	g := w.give(nil, unlock)
	var codes []string
	for range 32 {
		codes = append(codes, w.code())
	}
	var all sync.WaitGroup
	for _, code := range codes {
		all.Go(func() {
			_, err := w.token(w.phone, redemption(code))
			if err != nil && !errors.Is(err, &ace.Error{Code: ace.InvalidScope}) {
				t.Errorf("got %v", err)
			}
		})
	}
	_, err := w.server.Revoke(t.Context(), g.ID)
	before := len(w.tokens(1))
	all.Wait()
	if after := len(w.tokens(1)); err != nil || after != before {
		t.Errorf("%d tokens when Revoke returned, %d in the end, %v", before, after, err)
	}
}
