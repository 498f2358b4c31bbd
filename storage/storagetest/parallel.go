package storagetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
)

// together calls f n times at once and waits.
func together(n int, f func(i int)) {
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	all.Wait()
}

func parallelRedemption(t *testing.T, db Database) {
	store := house(t, db)
	redeemOnce(t, []authz.Store{store, open(t, db)}, crowd)
}

// redeemOnce lets n callers redeem one code; exactly one gets a token, all others learn that it was spent.
func redeemOnce(t *testing.T, stores []authz.Store, n int) {
	t.Helper()
	ctx := t.Context()
	var minted atomic.Int64
	together(n, func(i int) {
		err := stores[i%len(stores)].Mint(ctx, spec("code"), issue(token(fmt.Sprint("token ", i))))
		var spent *authz.CodeSpentError
		switch {
		case err == nil:
			minted.Add(1)
		case !errors.As(err, &spent):
			t.Errorf("redemption %d: got error %v, want %T", i, err, spent)
		case !spent.ConsumedAt.Equal(spec("").Now):
			t.Errorf("redemption %d: spent at %v, want %v", i, spent.ConsumedAt, spec("").Now)
		}
	})
	if got := minted.Load(); got != 1 {
		t.Errorf("%d tokens for one code, want 1", got)
	}
	equal(t, "tokens stored", len(get(stores[0].TokensOf(ctx, lock(1).ID, evening))(t)), 1)
	equal(t, "audit entries", len(get(stores[0].AuditTail(ctx, n))(t)), 1)
}

// revokeAgainstMint revokes a grant while others mint for it: whatever was minted is in the list that Revoke returns,
// and nothing is minted afterwards.
func revokeAgainstMint(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	for round := range 8 {
		grant := permission(byte(100 + round))
		must(t, store.AddGrant(ctx, grant))
		var mu sync.Mutex
		var minted, ended [][]byte
		var revoked atomic.Bool
		together(17, func(i int) {
			if i == 0 {
				time.Sleep(time.Duration(round) * time.Millisecond / 2)
				tokens, err := store.Revoke(ctx, grant.ID, evening.Add(time.Minute))
				if err != nil {
					t.Errorf("revoke: %v", err)
				}
				revoked.Store(true)
				for _, record := range tokens {
					ended = append(ended, record.Hash)
				}
				return
			}
			for n := range 6 {
				late := revoked.Load()
				s, record := spec(""), token(fmt.Sprint("token ", round, i, n))
				s.Grant, record.Grant = grant.ID, grant.ID
				err := store.Mint(ctx, s, issue(record))
				switch {
				case err == nil && late:
					t.Error("minted after the revocation had returned")
				case err == nil:
					mu.Lock()
					minted = append(minted, record.Hash)
					mu.Unlock()
				case !errors.Is(err, authz.ErrGrantEnded):
					t.Errorf("mint: %v", err)
				}
			}
		})
		slices.SortFunc(minted, slices.Compare)
		slices.SortFunc(ended, slices.Compare)
		equal(t, "tokens that Revoke returned", ended, minted)
	}
}

func parallelSequences(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	second := open(t, db)
	var mu sync.Mutex
	seen := map[uint64]bool{}
	together(16, func(i int) {
		last := uint64(0)
		from := []authz.Store{store, second}[i%2]
		for range 8 {
			next, err := from.NextSequence(ctx, lock(1).ID, authz.SequenceNews, evening)
			if err != nil || next <= last {
				t.Errorf("got %d, %v after %d", next, err, last)
				return
			}
			last = next
			mu.Lock()
			if seen[next] {
				t.Errorf("%d was given twice", next)
			}
			seen[next] = true
			mu.Unlock()
		}
	})
}

func twoProcesses(t *testing.T, db Database) {
	ctx, first := t.Context(), house(t, db)
	second := open(t, db)
	equal(t, "device", get(second.Device(ctx, lock(1).ID))(t), lock(1))
	redeemOnce(t, []authz.Store{first, second}, 32)

	// Each sees at once what the other has written.
	must(t, second.AddGrant(ctx, permission(2)))
	get(first.Revoke(ctx, permission(2).ID, evening))(t)
	s := spec("")
	s.Grant = permission(2).ID
	refused(t, "mint in the other process", second.Mint(ctx, s, issue(token("none"))), authz.ErrGrantEnded)

	var keys atomic.Int64
	together(8, func(i int) {
		s := spec("")
		s.Grant, s.ClientKey = pop.GrantID{}, hash("one key")
		switch err := []authz.Store{first, second}[i%2].Mint(ctx, s, issue(token(fmt.Sprint("key ", i)))); {
		case err == nil:
			keys.Add(1)
		case !errors.Is(err, authz.ErrKeySeen):
			t.Errorf("mint: %v", err)
		}
	})
	equal(t, "uses of one key", keys.Load(), 1)
}

func parallelOpening(t *testing.T, db Database) {
	ctx := t.Context()
	var added atomic.Int64
	together(6, func(i int) {
		store, err := openAt(db, storeKey, evening)
		if err != nil {
			t.Errorf("open: %v", err)
			return
		}
		defer store.Close()
		switch err := store.AddDevice(ctx, lock(1)); {
		case err == nil:
			added.Add(1)
		case !errors.Is(err, authz.ErrExists):
			t.Errorf("add device: %v", err)
		}
	})
	equal(t, "devices added", added.Load(), 1)
}
