package delivery_test

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
)

var errDisk = errors.New("disk failed")

// watched counts look-ups of a store and lets them fail.
type watched struct {
	authz.Store
	lookups atomic.Int64
	broken  atomic.Bool
}

func (w *watched) Peer(ctx context.Context, senderID []byte) (authz.Peer, error) {
	w.lookups.Add(1)
	if w.broken.Load() {
		return authz.Peer{}, errDisk
	}
	return w.Store.Peer(ctx, senderID)
}

func (w *watched) Grant(ctx context.Context, id pop.GrantID) (authz.Grant, error) {
	if w.broken.Load() {
		return authz.Grant{}, errDisk
	}
	return w.Store.Grant(ctx, id)
}
