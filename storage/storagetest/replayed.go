package storagetest

import (
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/trl"
)

// replayedCode: what a code gave ends in one transaction with the word to the device, and the list's index grows by it, and
// by what expires, and never goes back.
func replayedCode(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	equal(t, "index of an empty list", get(store.RevokedIndex(ctx))(t), 0)
	given, other := token("given"), token("other")
	given.Code = code("code").Hash
	must(t, store.Mint(ctx, spec("code"), issue(given)))
	must(t, store.Mint(ctx, spec(""), issue(other)))
	at := evening.Add(2 * time.Minute)
	ended := get(store.End(ctx, authz.EndSpec{Code: given.Code, Audit: decision("late replay")}, at))(t)
	equal(t, "ended", len(ended), 1)
	equal(t, "the code's token", get(store.Token(ctx, given.ID))(t).Revoked.Equal(at), true)
	equal(t, "another token", get(store.Token(ctx, other.ID))(t).Revoked.IsZero(), true)
	waiting := get(store.Waiting(ctx, lock(1).ID, at))(t)
	if len(waiting) != 1 {
		t.Fatalf("waiting for the device: %+v", waiting)
	}
	equal(t, "told", waiting[0].Hashes, [][]byte{given.Hash, given.AltHash})
	list := get(store.Revoked(ctx, authz.Requester{Device: lock(1).ID}))(t)
	equal(t, "listed", list.Full, []trl.Hash{given.Hash, given.AltHash})
	first := get(store.RevokedIndex(ctx))(t)
	equal(t, "index", first, list.Updates[0].Index)

	must(t, store.Close())
	store = get(openAt(db, storeKey, given.Expires.Add(48*time.Hour)))(t) // opening sweeps
	defer store.Close()
	last := get(store.RevokedIndex(ctx))(t)
	if last <= first {
		t.Errorf("index %d after what was listed has expired, %d before", last, first)
	}
	equal(t, "listed after its end", len(get(store.Revoked(ctx, authz.Requester{Device: lock(1).ID}))(t).Full), 0)
}
