package storagetest

import (
	"context"
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

// changesAreSeen lets one process change what the other has in memory, by the store and behind its back.
func changesAreSeen(t *testing.T, db Database) {
	ctx, first := t.Context(), house(t, db)
	second := open(t, db)
	to, parties := authz.Subject{User: "mother"}, everybody()
	warm := func() { // twice: what is in memory is asked for too
		for range 2 {
			get(first.Client(ctx, "phone"))(t)
			get(first.Device(ctx, lock(1).ID))(t)
			get(first.DeviceByName(ctx, lock(1).Name))(t)
			get(first.GrantsOf(ctx, to, lock(1).ID, evening))(t)
			must(t, first.Live(ctx, parties, evening))
		}
	}
	warm()
	must(t, second.Register(ctx, lock(1).ID, authz.Registration{Address: "192.0.2.99:5683"}))
	equal(t, "address", get(first.DeviceByName(ctx, lock(1).Name))(t).Registration.Address, "192.0.2.99:5683")
	must(t, second.SuspendClient(ctx, "phone", evening))
	equal(t, "suspended", get(first.Client(ctx, "phone"))(t).SuspendedAt, evening)
	stopped(t, "live", first.Live(ctx, parties, evening), "client")
	must(t, second.SuspendClient(ctx, "phone", time.Time{}))
	warm()
	must(t, second.AddGrant(ctx, permission(2)))
	equal(t, "grants", len(get(first.GrantsOf(ctx, to, lock(1).ID, evening))(t)), 2)
	equal(t, "grants after their end", len(get(first.GrantsOf(ctx, to, lock(1).ID, evening.Add(24*time.Hour)))(t)), 0)
	get(second.Revoke(ctx, permission(2).ID, evening))(t)
	equal(t, "grants", len(get(first.GrantsOf(ctx, to, lock(1).ID, evening))(t)), 1)
	get(db.Raw.Exec(`UPDATE devices SET owner = 'mother'`))(t)
	equal(t, "owner", get(first.Device(ctx, lock(1).ID))(t).Owner, "mother")
	get(db.Raw.Exec(`UPDATE clients SET name = 'behind'`))(t)
	equal(t, "name", get(first.Client(ctx, "phone"))(t).Name, "behind")
	must(t, second.DeleteClient(ctx, "phone"))
	_, err := first.Client(ctx, "phone")
	refused(t, "client that is gone", err, authz.ErrNotFound)
}

// Every column of what processes have in memory moves the number that says whether it is still good, but for where a device was
// last seen. Who adds a column to devices adds it to the trigger, in a new migration.
func everyColumnIsSeen(t *testing.T, db Database) {
	store := house(t, db)
	must(t, store.AddSigningKey(t.Context(), authz.SigningKey{ID: "1", CreatedAt: evening}))
	seen := func() (state int64) {
		t.Helper()
		must(t, db.Raw.QueryRow("SELECT state FROM changed WHERE what = 'parties'").Scan(&state))
		return state
	}
	places := []string{"reg_address", "reg_local_uris", "reg_expires_at", "reg_seen_at"}
	for _, table := range []string{"clients", "users", "devices", "grants", "signing_keys"} {
		rows := get(db.Raw.Query("SELECT * FROM " + table))(t)
		columns := get(rows.Columns())(t)
		must(t, rows.Close())
		for _, column := range columns {
			if column == "id" {
				continue // nothing changes it
			}
			before := seen()
			get(db.Raw.Exec("UPDATE " + table + " SET " + column + " = " + column))(t)
			if got := seen() != before; got == slices.Contains(places, column) {
				t.Errorf("a change of %s.%s: seen %v", table, column, got)
			}
		}
	}
	for _, table := range []string{"grants", "users"} {
		before := seen()
		get(db.Raw.Exec("DELETE FROM " + table))(t)
		if seen() == before {
			t.Errorf("rows of %s go unseen", table)
		}
	}
}

var errMine = errors.New("mine")

// neighbour is one of many mints at a time, and what is to become of it.
type neighbour struct {
	name  string
	spec  func(i int, s *authz.MintSpec)
	issue func(i int, t *authz.TokenRecord) error
	want  func(error) bool
	once  bool // one of all of them succeeds
}

var neighbours = []neighbour{
	{name: "good", want: func(err error) bool { return err == nil }},
	{name: "of a client that is suspended", spec: func(_ int, s *authz.MintSpec) { s.Client = "thief" },
		want: func(err error) bool { return errors.As(err, new(*authz.SuspendedError)) }},
	{name: "refused by issue", issue: func(int, *authz.TokenRecord) error { return errMine }, want: being(errMine)},
	{name: "refused by issue when a code is spent", spec: func(i int, s *authz.MintSpec) { s.Code = hash(fmt.Sprint("kept ", i)) },
		issue: func(int, *authz.TokenRecord) error { return errMine }, want: being(errMine)},
	{name: "without a hash", issue: func(_ int, t *authz.TokenRecord) error { t.Hash = nil; return nil },
		want: func(err error) bool { return err != nil }},
	{name: "with one code", spec: func(_ int, s *authz.MintSpec) { s.Code = hash("code") }, once: true,
		want: func(err error) bool { return errors.As(err, new(*authz.CodeSpentError)) }},
	{name: "with one key", spec: func(_ int, s *authz.MintSpec) { s.ClientKey = hash("one key") }, once: true, want: being(authz.ErrKeySeen)},
	{name: "with one proof", spec: func(i int, s *authz.MintSpec) {
		s.Proofs = []authz.Use{{Kind: "own", Value: []byte{byte(i)}, Until: evening.Add(time.Hour)}, {Kind: "jti", Value: []byte{1}, Until: evening.Add(time.Hour)}}
	}, once: true, want: being(authz.ErrReplayed)},
	{name: "with one token id", issue: func(_ int, t *authz.TokenRecord) error { t.ID = tokenID(t.Device, "the same"); return nil }, once: true, want: being(authz.ErrExists)},
	{name: "of a device that is not there", spec: func(_ int, s *authz.MintSpec) { s.Device, s.Grant = lock(9).ID, pop.GrantID{} }, want: being(authz.ErrNotFound)},
	{name: "of a caller who has left", want: being(context.Canceled)},
	{name: "that panics", issue: func(int, *authz.TokenRecord) error { panic(errMine) }, want: being(errMine)},
}

func being(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }

// neighboursFailAlone: of mints that come together, and so share a transaction, each gets its own answer.
func neighboursFailAlone(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	must(t, store.AddClient(ctx, authz.Client{ID: "thief", SuspendedAt: evening}))
	const rounds = 6
	for i := range rounds {
		c := code("")
		c.Hash = hash(fmt.Sprint("kept ", i))
		must(t, store.AddCode(ctx, c, nil))
	}
	gone, leave := context.WithCancel(ctx)
	leave()
	succeeded := make([]atomic.Int64, len(neighbours))
	var mu sync.Mutex
	numbers := map[uint64]bool{}
	together(rounds*len(neighbours), func(n int) {
		i, kind := n/len(neighbours), n%len(neighbours)
		like, as := neighbours[kind], ctx
		if like.name == "of a caller who has left" {
			as = gone
		}
		s := spec("")
		if like.spec != nil {
			like.spec(i, &s)
		}
		err := guarded(func() error {
			return store.Mint(as, s, func(m authz.Minting) (authz.Issued, error) {
				record := token(fmt.Sprint("token ", n))
				var err error
				if like.issue != nil {
					err = like.issue(i, &record)
				}
				if err == nil && kind == 0 {
					mu.Lock()
					defer mu.Unlock()
					numbers[m.Sequence] = true // a number of a transaction that was undone may come again
				}
				return authz.Issued{Token: record}, err
			})
		})
		switch {
		case err == nil:
			succeeded[kind].Add(1)
		case !like.want(err):
			t.Errorf("%s: got error %v", like.name, err)
		}
	})
	total := countNeighbours(t, succeeded, rounds)
	if len(numbers) < rounds {
		t.Errorf("%d numbers for %d tokens", len(numbers), rounds)
	}
	equal(t, "tokens", len(get(store.TokensOf(ctx, lock(1).ID, evening))(t)), total)
	equal(t, "audit entries", len(get(store.AuditTail(ctx, 1000))(t)), total)
	for i := range rounds { // none of them was spent
		s := spec(fmt.Sprint("kept ", i))
		must(t, store.Mint(ctx, s, issue(token(fmt.Sprint("after ", i)))))
	}
}

// countNeighbours compares how many of each kind were minted, and gives how many that are in all.
func countNeighbours(t *testing.T, succeeded []atomic.Int64, rounds int64) (total int) {
	t.Helper()
	for kind, like := range neighbours {
		want := int64(0)
		if like.once {
			want = 1
		} else if kind == 0 {
			want = rounds
		}
		equal(t, like.name+", minted", succeeded[kind].Load(), want)
		total += int(want)
	}
	return total
}

// guarded turns a panic into its value.
func guarded(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = p.(error)
		}
	}()
	return do()
}
