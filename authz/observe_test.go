package authz_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/latchkey-ace/latchkey/authz"
)

// burning is a store that may fail to mint.
type burning struct {
	authz.Store
	broken bool
}

func (f *burning) Mint(ctx context.Context, spec authz.MintSpec, issue func(authz.Minting) (authz.Issued, error)) error {
	if f.broken {
		return errors.New("disk on fire")
	}
	return f.Store.Mint(ctx, spec, issue)
}

// TestObserve: each decision is told once, with what may be counted of it.
func TestObserve(t *testing.T) {
	w := newWorld(t)
	w.give(toGateway, unlock)
	store := &burning{Store: w.store}
	w.store = store
	var mu sync.Mutex
	var got []authz.Observation
	w.serve(authz.Options{Observe: func(o authz.Observation) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, o)
	}})
	w.granted(w.gateway, own(1))
	if _, err := w.token(w.gateway, own(2)); err == nil {
		t.Error("a token for an unknown device")
	}
	if _, err := w.token(w.phone, redemption("no such code")); err == nil {
		t.Error("a token for an unknown code")
	}
	w.server.ClientRefused(t.Context(), "gateway", "")
	store.broken = true
	if _, err := w.token(w.gateway, own(1)); err == nil {
		t.Error("a token from a broken store")
	}
	const cc, code = authz.ClientCredentials, authz.AuthorizationCode
	want := []authz.Observation{
		{Event: "token", Result: "granted", GrantType: cc}, {Event: "token", Result: "refused", GrantType: cc, Reason: "invalid_request"},
		{Event: "token", Result: "refused", GrantType: code, Reason: "invalid_grant"}, {Event: "client", Result: "refused", Reason: "client authentication"},
		{Event: "token", Result: "failed", GrantType: cc},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}
