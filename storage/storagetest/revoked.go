package storagetest

import (
	"bytes"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/pop/trl"
)

// bare is a token of device and client known by one hash.
func bare(name string, device provision.DeviceID, client string) authz.TokenRecord {
	return authz.TokenRecord{
		Hash: tokenHash(name), ID: tokenID(device, name), Device: device, Client: client, IssuedAt: evening, Expires: evening.Add(time.Hour),
	}
}

// mintBare mints it for the device alone.
func mintBare(t *testing.T, store authz.Store, r authz.TokenRecord) {
	t.Helper()
	s := spec("")
	s.Parties = authz.Parties{Device: r.Device}
	must(t, store.Mint(t.Context(), s, issue(r)))
}

func end(t *testing.T, store authz.Store, r authz.TokenRecord) {
	t.Helper()
	get(store.End(t.Context(), authz.EndSpec{Token: r.ID}, evening.Add(time.Minute)))(t)
}

func listed(records ...authz.TokenRecord) []trl.Hash {
	var list []trl.Hash
	for _, r := range byID(records...) {
		list = append(list, trl.Hash(r.Hash))
	}
	return list
}

// A requester sees its own tokens and updates and nothing of others (RFC 9770 §6).
func revokedIsPartOfTheList(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	must(t, store.AddDevice(ctx, lock(2)))
	a, b := bare("a", lock(1).ID, "phone"), bare("b", lock(1).ID, "tablet")
	c, live := bare("c", lock(2).ID, "phone"), bare("live", lock(1).ID, "phone")
	b.AltHash = tokenHash("alt b")
	for _, r := range []authz.TokenRecord{a, b, c, live} {
		mintBare(t, store, r)
	}
	for _, r := range []authz.TokenRecord{a, b, c} {
		end(t, store, r)
	}
	floor := uint64(evening.Add(time.Minute).Unix()) << 20
	update := func(n uint64, added ...trl.Hash) trl.Update { return trl.Update{Index: floor + n, Added: added} }
	ofB := []trl.Hash{trl.Hash(b.Hash), trl.Hash(b.AltHash)}
	full := listed(a, b)
	at := slices.IndexFunc(full, func(h trl.Hash) bool { return bytes.Equal(h, ofB[0]) })
	full = slices.Insert(full, at+1, ofB[1])
	for _, tt := range []struct {
		by   authz.Requester
		want trl.Collection
	}{
		{authz.Requester{Device: lock(1).ID}, trl.Collection{Full: full, Updates: []trl.Update{update(0, listed(a)...), update(1, ofB...)}}},
		{authz.Requester{Device: lock(2).ID}, trl.Collection{Full: listed(c), Updates: []trl.Update{update(2, listed(c)...)}}},
		{authz.Requester{Client: "phone"}, trl.Collection{Full: listed(a, c), Updates: []trl.Update{update(0, listed(a)...), update(2, listed(c)...)}}},
		{authz.Requester{Client: "tablet"}, trl.Collection{Full: ofB, Updates: []trl.Update{update(1, ofB...)}}},
		{authz.Requester{Client: "nobody"}, trl.Collection{}},
		{authz.Requester{Device: lock(3).ID}, trl.Collection{}},
		{authz.Requester{All: true}, trl.Collection{
			Full: append(slices.Clone(full), listed(c)...), Updates: []trl.Update{update(0, listed(a)...), update(1, ofB...), update(2, listed(c)...)},
		}},
	} {
		equal(t, fmt.Sprintf("%+v", tt.by), get(store.Revoked(ctx, tt.by))(t), tt.want)
	}
	for _, wrong := range []authz.Requester{
		{}, {All: true, Client: "phone"}, {All: true, Device: lock(1).ID}, {Client: "phone", Device: lock(1).ID}, {Client: "a\x00b"},
	} {
		if c, err := store.Revoked(ctx, wrong); err == nil {
			t.Errorf("%+v is no requester, got %+v", wrong, c)
		}
	}
}

// More updates than are kept of a collection are dropped from the front, and it is told.
func revokedKeepsTheNewest(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	must(t, store.AddDevice(ctx, lock(2)))
	var all []authz.TokenRecord
	for i := range trl.MaxUpdates + 2 {
		r := bare(fmt.Sprint(i), lock(1).ID, "phone")
		mintBare(t, store, r)
		all = append(all, r)
	}
	first := uint64(evening.Add(time.Minute).Unix()) << 20
	for i, r := range all {
		end(t, store, r)
		c := get(store.Revoked(ctx, authz.Requester{Device: lock(1).ID}))(t)
		kept := min(i+1, trl.MaxUpdates)
		equal(t, "updates", len(c.Updates), kept)
		equal(t, "newest", c.Updates[kept-1], trl.Update{Index: first + uint64(i), Added: listed(r)})
		equal(t, "dropped", c.Dropped, i+1 > trl.MaxUpdates)
		if c.Dropped {
			equal(t, "before", c.Before, c.Updates[0].Index-1)
		}
		equal(t, "full", len(c.Full), i+1)
	}
	equal(t, "another device", get(store.Revoked(ctx, authz.Requester{Device: lock(2).ID}))(t), trl.Collection{})
}

// Tokens leave the list when a sweep removes them; old updates are forgotten and who comes back is told so. Indexes never go
// back, also when the clock does.
func revokedAfterSweep(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	a, b := bare("a", lock(1).ID, "phone"), bare("b", lock(1).ID, "phone")
	b.Kept = evening.Add(5 * time.Hour) // a device without a clock may take it so long
	mintBare(t, store, a)
	mintBare(t, store, b)
	end(t, store, a)
	end(t, store, b)
	by := authz.Requester{Client: "phone"}
	sweep := func(after time.Duration) int { return get(store.Sweep(ctx, evening.Add(after), 100))(t) }
	equal(t, "before its end", sweep(time.Hour-time.Millisecond), 0)
	equal(t, "removed", sweep(time.Hour), 2) // a and its message
	c := get(store.Revoked(ctx, by))(t)
	equal(t, "full", c.Full, listed(b))
	equal(t, "newest", c.Updates[2], trl.Update{Index: uint64(evening.Add(time.Hour).Unix()) << 20, Removed: listed(a)})

	back := bare("back", lock(1).ID, "phone") // minted before, ended by a node whose clock is behind
	mintBare(t, store, back)
	end(t, store, back)
	c = get(store.Revoked(ctx, by))(t)
	equal(t, "newest", c.Updates[3].Index, c.Updates[2].Index+1)
	equal(t, "dropped", c.Dropped, false)

	day := 24 * time.Hour
	sweep(30 * day) // takes b and back off the list
	equal(t, "full", len(get(store.Revoked(ctx, by))(t).Full), 0)
	old := c.Updates[3].Index
	sweep(31 * day)
	c = get(store.Revoked(ctx, by))(t)
	equal(t, "forgotten up to", c.Before, old)
	equal(t, "dropped", c.Dropped, true)
	equal(t, "updates", len(c.Updates), 1)
	sweep(90 * day)
	c = get(store.Revoked(ctx, by))(t)
	equal(t, "updates", len(c.Updates), 0)
	equal(t, "forgotten up to", c.Before, uint64(evening.Add(30*day).Unix())<<20)
	fresh := bare("fresh", lock(1).ID, "phone")
	fresh.Expires = evening.Add(99 * day)
	mintBare(t, store, fresh)
	end(t, store, fresh) // at evening, months before what was forgotten
	c = get(store.Revoked(ctx, by))(t)
	equal(t, "updates", len(c.Updates), 1)
	if c.Updates[0].Index <= c.Before {
		t.Errorf("index %d after %d: who asked at %d would never see it", c.Updates[0].Index, c.Before, c.Before)
	}
}

// revokedIsOneState reads while others end and sweep: in each answer the list is what the updates made it.
func revokedIsOneState(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	second := open(t, db)
	var all []authz.TokenRecord
	for i := range 48 {
		r := bare(fmt.Sprint(i), lock(1).ID, "phone")
		r.Expires = evening.Add(time.Duration(i%2+1) * time.Hour)
		mintBare(t, store, r)
		all = append(all, r)
	}
	var left atomic.Int64
	left.Store(3)
	check := func(store authz.Store) (updates int) {
		c, err := store.Revoked(ctx, authz.Requester{Device: lock(1).ID})
		if err != nil {
			t.Errorf("revoked: %v", err)
		}
		on := map[string]bool{}
		last := uint64(0)
		for _, u := range c.Updates {
			if u.Index <= last {
				t.Errorf("index %d after %d", u.Index, last)
			}
			last = u.Index
			for _, h := range u.Removed {
				delete(on, string(h))
			}
			for _, h := range u.Added {
				on[string(h)] = true
			}
		}
		for _, h := range c.Full {
			if !on[string(h)] {
				t.Errorf("a hash is on the list and in no update")
			}
		}
		if len(on) != len(c.Full) && !c.Dropped {
			t.Errorf("%d hashes on the list, %d by its updates", len(c.Full), len(on))
		}
		return len(c.Updates)
	}
	together(6, func(i int) {
		switch {
		case i < 2: // ends every second one
			for n := i; n < len(all); n += 2 {
				if _, err := []authz.Store{store, second}[i].End(ctx, authz.EndSpec{Token: all[n].ID}, evening); err != nil {
					t.Errorf("end: %v", err)
				}
			}
			left.Add(-1)
		case i == 2:
			for range 8 {
				if _, err := second.Sweep(ctx, evening.Add(time.Hour), 2); err != nil {
					t.Errorf("sweep: %v", err)
				}
			}
			left.Add(-1)
		default:
			for left.Load() > 0 {
				check([]authz.Store{store, second}[i%2])
			}
		}
	})
	if n := check(store); n < 24 { // half of them cannot be swept away before they are ended
		t.Errorf("%d updates", n)
	}
}
