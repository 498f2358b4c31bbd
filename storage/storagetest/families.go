package storagetest

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
)

// family is a refresh token that rotates.
func family(name string) authz.Family {
	f := authz.Family{
		Client: "phone", User: "mother", Device: lock(1).ID, Grant: permission(1).ID, Rights: door, Details: `[{"type":"door"}]`,
		Material: pop.InputMaterial{ID: []byte("material"), MasterSecret: hash("possession key of " + name)[:16]},
		Series:   token(name).ID, Code: hash("code of " + name), IssuedAt: evening, ExpiresAt: evening.Add(3 * time.Hour),
	}
	copy(f.ID[:], hash("family "+name))
	return f
}

// found mints the first token of a family.
func found(t *testing.T, store authz.Store, f authz.Family, first authz.TokenRecord) {
	t.Helper()
	first.Family = f.ID
	must(t, store.Mint(t.Context(), among(everybody()), func(authz.Minting) (authz.Issued, error) {
		return authz.Issued{Token: first, Family: &f}, nil
	}))
}

// refresh uses a generation at a time after evening and tells which generation is good then.
func refresh(t *testing.T, store authz.Store, use authz.RefreshUse, after time.Duration) (uint32, error) {
	t.Helper()
	s := among(everybody())
	s.Now, s.Refresh = evening.Add(after), &use
	next := uint32(0)
	err := store.Mint(t.Context(), s, func(m authz.Minting) (authz.Issued, error) {
		next = m.Family.Generation
		record := token(fmt.Sprint("refreshed ", m.Sequence))
		record.Family, record.Code = use.Family, nil
		return authz.Issued{Token: record}, nil
	})
	return next, err
}

func familiesComeBackWhole(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	full := family("full")
	bound := family("bound")
	bound.BoundKey, bound.Material, bound.Series, bound.Code = hash("thumbprint"), pop.InputMaterial{}, nil, nil
	bound.Grant, bound.Rights, bound.Details, bound.Client, bound.IssuedAt = pop.GrantID{}, nil, "", "tablet", evening.Add(time.Minute)
	unnamed := family("unnamed") // a possession key whose id is empty
	unnamed.Material.ID, unnamed.User = []byte{}, "alice"
	unnamed.IssuedAt = evening.Add(2 * time.Minute)
	for i, f := range []authz.Family{full, bound, unnamed} {
		found(t, store, f, token(fmt.Sprint("first of ", i)))
		equal(t, "family", get(store.Family(ctx, f.ID))(t), f)
	}
	now := evening.Add(time.Minute)
	equal(t, "all", get(store.Families(ctx, "", "", now))(t), []authz.Family{unnamed, bound, full})
	equal(t, "of a user", get(store.Families(ctx, "mother", "", now))(t), []authz.Family{bound, full})
	equal(t, "of a client", get(store.Families(ctx, "", "tablet", now))(t), []authz.Family{bound})
	equal(t, "of both", get(store.Families(ctx, "alice", "tablet", now))(t), nil)
	equal(t, "of odd text", get(store.Families(ctx, "a\x00b", "", now))(t), nil)
	equal(t, "at their end", get(store.Families(ctx, "", "", full.ExpiresAt))(t), nil)
	_, err := store.Family(ctx, family("none").ID)
	refused(t, "unknown family", err, authz.ErrNotFound)

	taken := full
	refused(t, "family twice", store.Mint(ctx, among(everybody()), func(authz.Minting) (authz.Issued, error) {
		return authz.Issued{Token: token("taken"), Family: &taken}, nil
	}), authz.ErrExists)
	_, err = store.Token(ctx, token("taken").ID)
	refused(t, "its token", err, authz.ErrNotFound)
}

func refreshSecrets(t *testing.T, db Database) {
	store, again := house(t, db), open(t, db)
	one, two := family("one").ID, family("two").ID
	secret := store.RefreshSecret(one, 7)
	equal(t, "length", len(secret), 32)
	equal(t, "in another process", again.RefreshSecret(one, 7), secret)
	for what, other := range map[string][]byte{"generation": store.RefreshSecret(one, 8), "family": store.RefreshSecret(two, 7)} {
		if string(other) == string(secret) {
			t.Errorf("another %s has the same secret", what)
		}
	}
}

// rotation follows D19 to the millisecond.
func rotation(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	f := family("one")
	found(t, store, f, token("one"))
	use := func(g uint32) authz.RefreshUse { return authz.RefreshUse{Family: f.ID, Generation: g, Rotate: true} }
	reused := func(err error) bool {
		var e *authz.RefreshReusedError
		return errors.As(err, &e) && e.Family == f.ID
	}
	is := func(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }
	first := time.Minute
	for _, tt := range []struct {
		name       string
		generation uint32
		after      time.Duration
		next       uint32
		fails      func(error) bool
	}{
		{"a generation that was never given", 1, first, 0, is(authz.ErrNotFound)},
		{"the first use", 0, first, 1, nil},
		{"a second use in the same moment", 0, first, 0, is(authz.ErrBusy)},
		{"by a node whose clock is behind", 0, first - time.Second, 0, is(authz.ErrBusy)},
		{"a millisecond before the pause ends", 0, first + authz.RefreshPause - time.Millisecond, 0, is(authz.ErrBusy)},
		{"when the pause ends", 0, first + authz.RefreshPause, 1, nil},
		{"in the last moment of grace", 0, first + authz.RefreshGrace, 1, nil},
		{"a millisecond later", 0, first + authz.RefreshGrace + time.Millisecond, 0, reused},
		{"the successor", 1, 2 * first, 2, nil},
		{"the first, its successor used", 0, 2*first + authz.RefreshPause, 0, reused},
		{"a generation ahead", 3, 2 * first, 0, is(authz.ErrNotFound)},
		{"a millisecond before the end", 2, 3*time.Hour - time.Millisecond, 3, nil},
		{"at the end", 3, 3 * time.Hour, 0, is(authz.ErrNotFound)},
		{"a replaced one at the end", 2, 3 * time.Hour, 0, is(authz.ErrNotFound)},
	} {
		next, err := refresh(t, store, use(tt.generation), tt.after)
		if (err == nil) != (tt.fails == nil) || tt.fails != nil && !tt.fails(err) || next != tt.next {
			t.Errorf("%s: got generation %d, error %v, want %d", tt.name, next, err, tt.next)
		}
	}
	after := get(store.Family(ctx, f.ID))(t)
	equal(t, "generation", after.Generation, 3)
	equal(t, "not ended by a reuse: its caller does that", after.RevokedAt, time.Time{})
}

// A refresh that fails for any reason leaves the generation good; a family of another key never rotates.
func refreshUndone(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	f := family("one")
	found(t, store, f, token("one"))
	s := among(everybody())
	s.Refresh = &authz.RefreshUse{Family: f.ID, Rotate: true}
	noToken := errors.New("no token")
	refused(t, "not issued", store.Mint(ctx, s, func(authz.Minting) (authz.Issued, error) { return authz.Issued{}, noToken }), noToken)
	must(t, store.SuspendUser(ctx, "mother", evening))
	stopped(t, "suspended", store.Mint(ctx, s, issue(token("none"))), "user")
	must(t, store.SuspendUser(ctx, "mother", time.Time{}))
	equal(t, "family", get(store.Family(ctx, f.ID))(t), f)

	bound := family("bound")
	bound.BoundKey = hash("thumbprint")
	found(t, store, bound, token("bound"))
	for i := range 3 {
		next, err := refresh(t, store, authz.RefreshUse{Family: bound.ID}, time.Duration(i)*time.Hour/2)
		if err != nil || next != 0 {
			t.Errorf("use %d: got generation %d, error %v", i, next, err)
		}
	}
	get(store.End(ctx, authz.EndSpec{Family: bound.ID}, evening.Add(time.Hour)))(t)
	_, err := refresh(t, store, authz.RefreshUse{Family: bound.ID}, 0)
	refused(t, "ended", err, authz.ErrNotFound)
	ended := get(store.Family(ctx, bound.ID))(t)
	equal(t, "possession key", ended.Material, pop.InputMaterial{})
	equal(t, "end", ended.RevokedAt, evening.Add(time.Hour))
}

// onlyOne counts the successes of n uses at once over the stores; every other use must fail as told.
func onlyOne(t *testing.T, stores []authz.Store, n int, use func(store authz.Store, i int) error, fails func(error) bool) {
	t.Helper()
	var good atomic.Int64
	together(n, func(i int) {
		switch err := use(stores[i%len(stores)], i); {
		case err == nil:
			good.Add(1)
		case !fails(err):
			t.Errorf("use %d: got error %v", i, err)
		}
	})
	equal(t, "successes", good.Load(), 1)
}

// crowd is how many come at once for what is there once.
const crowd = 1000

func parallelRefresh(t *testing.T, db Database) {
	store := house(t, db)
	f := family("one")
	found(t, store, f, token("one"))
	onlyOne(t, []authz.Store{store, open(t, db)}, crowd, func(store authz.Store, _ int) error {
		_, err := refresh(t, store, authz.RefreshUse{Family: f.ID, Rotate: true}, time.Minute)
		return err
	}, func(err error) bool { return errors.Is(err, authz.ErrBusy) })
	equal(t, "generation", get(store.Family(t.Context(), f.ID))(t).Generation, 1)
	equal(t, "tokens", len(get(store.TokensOf(t.Context(), lock(1).ID, evening))(t)), 2)
}
