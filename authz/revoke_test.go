package authz_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/trl"
)

// listed reports whether a token's hash is on the revocation list.
func (w *world) listed(hash []byte) bool {
	w.t.Helper()
	c, err := w.store.Revoked(w.t.Context(), authz.Requester{All: true})
	w.must(err)
	return slices.ContainsFunc(c.Full, func(h trl.Hash) bool { return bytes.Equal(h, hash) })
}

// TestRevokedIsInactiveAndListed: when the answer has left, both say so, on either store and for every shape.
func TestRevokedIsInactiveAndListed(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		for i, s := range allShapes {
			n := byte(2 + i)
			w.device(n, func(d *authz.Device) { d.Shape, d.Private = s.shape, s.private })
			g := w.give(func(g *authz.Grant) { toGateway(g); g.Device = deviceID(n) }, view)
			by := w.granted(w.gateway, own(n)).AccessToken
			with := w.granted(w.gateway, own(n)).AccessToken
			records := w.tokens(n)
			w.must(w.server.RevokeToken(t.Context(), w.gateway, by))
			if messages, err := w.store.Waiting(t.Context(), deviceID(n), w.clock.now()); err != nil || len(messages) != 1 {
				t.Errorf("%s: %d messages wait for the device: %v", s.name, len(messages), err)
			}
			w.inactive(s.name, askingDevice(n), by)
			if !w.listed(records[0].Hash) || w.listed(records[1].Hash) {
				t.Errorf("%s: the list does not have the one token", s.name)
			}
			if !w.introspect(askingDevice(n), with).Active {
				t.Errorf("%s: the other token ended too", s.name)
			}
			_, err := w.server.Revoke(t.Context(), g.ID)
			w.must(err)
			w.inactive(s.name, askingDevice(n), with)
			if !w.listed(records[1].Hash) {
				t.Errorf("%s: the list does not have the grant's token", s.name)
			}
			if s.name == "jwt" && !w.listed(records[1].AltHash) {
				t.Error("the list does not have the hash that the device may compute")
			}
		}
	})
}

// TestRevokeTwiceAndLate: RFC 7009 §2.2: it is not good any more, which is what was wanted.
func TestRevokeTwiceAndLate(t *testing.T) {
	w := newWorld(t)
	w.give(toGateway, view)
	token := w.granted(w.gateway, own(1)).AccessToken
	for range 2 {
		w.must(w.server.RevokeToken(t.Context(), w.gateway, token))
	}
	old := w.granted(w.gateway, own(1)).AccessToken
	w.clock.move(authz.TokenLife)
	w.must(w.server.RevokeToken(t.Context(), w.gateway, old))
	for _, nobodys := range [][]byte{nil, {0}, []byte("no token"), make([]byte, 48), make([]byte, 52), bytes.Repeat([]byte("."), 8192)} {
		w.must(w.server.RevokeToken(t.Context(), w.gateway, nobodys))
	}
}

// TestRevokeAnothers: nothing happens, and it is on record.
func TestRevokeAnothers(t *testing.T) {
	w := newWorld(t)
	w.give(toGateway, view)
	token := w.granted(w.gateway, own(1)).AccessToken
	for _, thief := range []authz.Client{w.phone, {ID: "thief"}} {
		w.must(w.server.RevokeToken(t.Context(), thief, token))
		last := w.audit()
		if e := last[len(last)-1]; e.Event != "token.revoke" || e.Result != "refused" || e.Client != thief.ID || e.Reason != "token of another client" {
			t.Errorf("on record: %+v", e)
		}
	}
	if !w.introspect(askingDevice(1), token).Active {
		t.Error("the token has ended")
	}
	w.must(w.server.RevokeToken(t.Context(), w.gateway, token))
	last := w.audit()
	if e := last[len(last)-1]; e.Event != "token.revoke" || e.Result != "granted" || e.Client != "gateway" {
		t.Errorf("on record: %+v", e)
	}
}

// refreshing mints a token with a family, as a grant with refresh tokens would, and returns its refresh token.
func (w *world) refreshing(family byte) []byte {
	w.t.Helper()
	id := authz.FamilyID{family}
	spec := authz.MintSpec{Now: w.clock.now(), Parties: authz.Parties{Client: "gateway", Device: deviceID(1)}}
	w.must(w.store.Mint(w.t.Context(), spec, func(m authz.Minting) (authz.Issued, error) {
		d := deviceID(1)
		token := authz.TokenRecord{
			ID: binary.BigEndian.AppendUint64(d[:], m.Sequence), Hash: bytes.Repeat([]byte{family}, 33), Device: d, Client: "gateway", Family: id,
			IssuedAt: w.clock.now(), Expires: w.clock.now().Add(time.Hour),
		}
		return authz.Issued{Token: token, Family: &authz.Family{
			ID: id, Client: "gateway", Device: d, Rights: aif.New(view), IssuedAt: w.clock.now(), ExpiresAt: w.clock.now().Add(24 * time.Hour),
		}}, nil
	}))
	return slices.Concat(id[:], []byte{0, 0, 0, 0}, w.store.RefreshSecret(id, 0))
}

// TestRevokeRefreshToken: with it ends everything that came with it (RFC 7009 §2.1); an HMAC that is not ours ends nothing.
func TestRevokeRefreshToken(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		token := w.refreshing(7)
		forged := bytes.Clone(token)
		forged[51] ^= 1
		other := bytes.Clone(token)
		other[0]++
		for _, bad := range [][]byte{forged, other, token[:51], append(bytes.Clone(token), 0)} {
			w.must(w.server.RevokeToken(t.Context(), w.gateway, bad))
		}
		w.must(w.server.RevokeToken(t.Context(), w.phone, token))
		if f, err := w.store.Family(t.Context(), authz.FamilyID{7}); err != nil || !f.RevokedAt.IsZero() || len(w.tokens(1)) != 1 {
			t.Fatalf("it ended: %v", err)
		}
		w.must(w.server.RevokeToken(t.Context(), w.gateway, token))
		if f, err := w.store.Family(t.Context(), authz.FamilyID{7}); err != nil || f.RevokedAt.IsZero() || len(w.tokens(1)) != 0 {
			t.Errorf("it lives: %v", err)
		}
		if !w.listed(bytes.Repeat([]byte{7}, 33)) {
			t.Error("its access token is not on the list")
		}
	})
}

// TestRevokeWhileMinting: whoever revokes at the same moment as others ask leaves no update of the series alive that began
// before the answer.
func TestRevokeWhileMinting(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.give(toGateway, view)
		first := w.granted(w.gateway, own(1))
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				for range 5 {
					if _, err := w.token(w.gateway, updating(1, keyIDOf(first))); err != nil {
						return
					}
				}
			})
		}
		w.must(w.server.RevokeToken(t.Context(), w.gateway, first.AccessToken))
		_, err := w.token(w.gateway, updating(1, keyIDOf(first)))
		if err == nil {
			t.Error("an update after the revocation")
		}
		group.Wait()
		w.inactive("the first", askingDevice(1), first.AccessToken)
	})
}

// TestFailingStoreRevokesNothing: what could not be stored is no success.
func TestFailingStoreRevokesNothing(t *testing.T) {
	w := newWorld(t)
	w.give(toGateway, view)
	token := w.granted(w.gateway, own(1)).AccessToken
	w.must(w.store.Close())
	if err := w.server.RevokeToken(t.Context(), w.gateway, token); err == nil {
		t.Error("revoked in a store that is closed")
	}
	if _, err := w.server.Introspect(t.Context(), askingDevice(1), token); err == nil || errors.Is(err, authz.ErrNotEntitled) {
		t.Errorf("got %v", err)
	}
}
