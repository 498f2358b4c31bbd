package storagetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

func asError[E error](err error, target *E) bool { return errors.As(err, target) }

func mintStoresTogether(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	want, s := token("one"), spec("code")
	s.ClientKey = hash("client-made key")
	redeemed := code("code")
	redeemed.ConsumedAt = s.Now
	err := store.Mint(ctx, s, func(m authz.Minting) (authz.Issued, error) {
		equal(t, "minting", m, authz.Minting{Code: redeemed, Sequence: uint64(s.Now.Unix()) << 20, Epoch: lock(1).Epoch})
		return authz.Issued{Token: want}, nil
	})
	must(t, err)
	equal(t, "code", get(store.Code(ctx, redeemed.Hash))(t), redeemed)
	equal(t, "tokens", get(store.TokensOf(ctx, lock(1).ID, evening))(t), []authz.TokenRecord{want})
	equal(t, "tokens at their end", get(store.TokensOf(ctx, lock(1).ID, want.Expires))(t), nil)
	equal(t, "audit", get(store.AuditTail(ctx, 10))(t), []authz.AuditEntry{s.Audit})

	// The owner's own rights, by client credentials: no code, no grant.
	own := authz.TokenRecord{Hash: token("own").Hash, ID: token("own").ID, Device: lock(1).ID, Client: "hub", IssuedAt: evening.Add(time.Minute), Expires: want.Expires}
	must(t, store.Mint(ctx, authz.MintSpec{Now: s.Now, Parties: authz.Parties{Device: lock(1).ID}, Audit: decision("own")}, func(m authz.Minting) (authz.Issued, error) {
		equal(t, "minting", m, authz.Minting{Sequence: uint64(s.Now.Unix())<<20 + 1, Epoch: lock(1).Epoch})
		return authz.Issued{Token: own}, nil
	}))
	equal(t, "tokens", get(store.TokensOf(ctx, lock(1).ID, evening))(t), byID(want, own))
}

func refusedMintChangesNothing(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	must(t, store.AddCode(ctx, code("spent"), nil))
	used := spec("spent")
	used.ClientKey = hash("used key")
	must(t, store.Mint(ctx, used, issue(token("first"))))
	sequence := uint64(used.Now.Unix()) << 20
	ended := permission(2)
	ended.RevokedAt = evening
	must(t, store.AddGrant(ctx, ended))

	noToken := errors.New("no token")
	unissued := func(authz.Minting) (authz.Issued, error) { return authz.Issued{Token: token("none")}, noToken }
	tests := []struct {
		name   string
		change func(*authz.MintSpec)
		issue  func(authz.Minting) (authz.Issued, error)
		want   error
	}{
		{"nothing can be issued", func(*authz.MintSpec) {}, unissued, noToken},
		{"the token's id is taken", func(*authz.MintSpec) {}, issue(token("first")), authz.ErrExists},
		{"the grant is revoked", func(s *authz.MintSpec) { s.Grant = ended.ID }, issue(token("none")), authz.ErrGrantEnded},
		{"the grant is unknown", func(s *authz.MintSpec) { s.Grant = pop.GrantID{1} }, issue(token("none")), authz.ErrNotFound},
		{"the device is unknown", func(s *authz.MintSpec) { s.Device = provision.DeviceID{1} }, issue(token("none")), authz.ErrNotFound},
		{"the key was seen", func(s *authz.MintSpec) { s.ClientKey = used.ClientKey }, issue(token("none")), authz.ErrKeySeen},
		{"the clock went back", func(s *authz.MintSpec) {
			s.Now, s.Grant = s.Now.Add(-time.Hour-time.Second), pop.GrantID{}
		}, issue(token("none")), authz.ErrClockStepped},
	}
	for _, tt := range tests {
		s := spec("code")
		s.ClientKey = hash("new key")
		tt.change(&s)
		err := store.Mint(ctx, s, tt.issue)
		refused(t, tt.name, err, tt.want)
		if tt.want == noToken && err != noToken {
			t.Errorf("%s: the error of issue came back wrapped: %v", tt.name, err)
		}
		equal(t, tt.name+": code", get(store.Code(ctx, hash("code")))(t), code("code"))
		equal(t, tt.name+": tokens", get(store.TokensOf(ctx, lock(1).ID, evening))(t), []authz.TokenRecord{token("first")})
		equal(t, tt.name+": audit", len(get(store.AuditTail(ctx, 10))(t)), 1)
	}
	s := spec("code") // all of it is still to be had: the code, the key, the next number
	s.ClientKey = hash("new key")
	must(t, store.Mint(ctx, s, func(m authz.Minting) (authz.Issued, error) {
		equal(t, "sequence", m.Sequence, sequence+1)
		return authz.Issued{Token: token("second")}, nil
	}))
}

func grantsBoundMint(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	from, until := permission(1).From, permission(1).Until
	must(t, store.AddGrant(ctx, func() authz.Grant {
		g := permission(2)
		g.From, g.Until = time.Time{}, time.Time{}
		return g
	}()))
	tests := []struct {
		name  string
		grant pop.GrantID
		now   time.Time
		want  error
	}{
		{"a millisecond before its start", permission(1).ID, from.Add(-time.Millisecond), authz.ErrGrantEnded},
		{"at its start", permission(1).ID, from, nil},
		{"a millisecond before its end", permission(1).ID, until.Add(-time.Millisecond), nil},
		{"at its end", permission(1).ID, until, authz.ErrGrantEnded},
		{"endless", permission(2).ID, until.Add(24 * 365 * time.Hour), nil},
	}
	for i, tt := range tests {
		s := spec("")
		s.Grant, s.Now = tt.grant, tt.now
		refused(t, tt.name, store.Mint(ctx, s, issue(token(fmt.Sprint(i)))), tt.want)
	}
}

func codeExpires(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	s := spec("code")
	s.Now = code("code").ExpiresAt
	refused(t, "redeemed at its end", store.Mint(ctx, s, issue(token("one"))), authz.ErrNotFound)
	s.Now = s.Now.Add(-time.Millisecond)
	must(t, store.Mint(ctx, s, issue(token("one"))))

	consumed := s.Now
	for _, late := range []time.Duration{time.Second, 24 * time.Hour} { // spent, and expired by now: still a replay
		s.Now, s.Grant = consumed.Add(late), pop.GrantID{}
		var spent *authz.CodeSpentError
		err := store.Mint(ctx, s, issue(token("two")))
		if !errors.As(err, &spent) || !spent.ConsumedAt.Equal(consumed) {
			t.Errorf("replay after %v: got %v, want %v", late, err, &authz.CodeSpentError{ConsumedAt: consumed})
		}
	}
}

func panickingMint(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	func() {
		defer func() { equal(t, "panic", recover(), any("a mistake")) }()
		_ = store.Mint(ctx, spec("code"), func(authz.Minting) (authz.Issued, error) { panic("a mistake") })
	}()
	equal(t, "code", get(store.Code(ctx, hash("code")))(t), code("code"))
	must(t, store.Mint(ctx, spec("code"), issue(token("one"))))
}

func cancelledCaller(t *testing.T, db Database) {
	store := house(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	refused(t, "cancelled before", store.Mint(ctx, spec("code"), issue(token("none"))), context.Canceled)
	equal(t, "code", get(store.Code(t.Context(), hash("code")))(t), code("code"))

	// Once it has begun, the transaction is not left in doubt: it happens, and the caller is told so.
	ctx, cancel = context.WithCancel(t.Context())
	must(t, store.Mint(ctx, spec("code"), func(authz.Minting) (authz.Issued, error) {
		cancel()
		return authz.Issued{Token: token("one")}, nil
	}))
	equal(t, "tokens", get(store.TokensOf(t.Context(), lock(1).ID, evening))(t), []authz.TokenRecord{token("one")})
}

func sequencesNeverGoBack(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	must(t, store.AddDevice(ctx, lock(2)))
	next := func(device byte, kind string, now time.Time) uint64 {
		t.Helper()
		return get(store.NextSequence(ctx, lock(device).ID, kind, now))(t)
	}
	base := uint64(evening.Unix()) << 20
	equal(t, "first", next(1, authz.SequenceNews, evening), base)
	equal(t, "in the same second", next(1, authz.SequenceNews, evening.Add(900*time.Millisecond)), base+1)
	equal(t, "another kind", next(1, authz.SequenceEXI, evening), base)
	equal(t, "another device", next(2, authz.SequenceNews, evening), base)
	equal(t, "with the clock back by half an hour", next(1, authz.SequenceNews, evening.Add(-30*time.Minute)), base+2)
	must(t, store.Close())

	store = open(t, db)
	equal(t, "after a restart", next(1, authz.SequenceNews, evening.Add(-30*time.Minute)), base+3)
	later := evening.Add(time.Minute)
	equal(t, "a minute later", next(1, authz.SequenceNews, later), uint64(later.Unix())<<20)
	must(t, store.Mint(ctx, spec(""), func(m authz.Minting) (authz.Issued, error) {
		equal(t, "a mint uses the exi sequence", m.Sequence, uint64(spec("").Now.Unix())<<20)
		return authz.Issued{Token: token("one")}, nil
	}))
}

func steppedClock(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	must(t, store.AddDevice(ctx, lock(2)))
	get(store.NextSequence(ctx, lock(1).ID, authz.SequenceNews, evening))(t)
	for _, device := range []byte{1, 2} { // the newest value of any device counts
		_, err := store.NextSequence(ctx, lock(device).ID, authz.SequenceNews, evening.Add(-time.Hour-time.Second))
		refused(t, "more than an hour back", err, authz.ErrClockStepped)
		s := spec("")
		s.Device, s.Grant, s.Now = lock(device).ID, pop.GrantID{}, evening.Add(-time.Hour-time.Second)
		refused(t, "mint more than an hour back", store.Mint(ctx, s, issue(token("one"))), authz.ErrClockStepped)
	}
	for _, device := range []byte{1, 2} {
		get(store.NextSequence(ctx, lock(device).ID, authz.SequenceNews, evening.Add(-time.Hour)))(t)
	}
}

func clientKeys(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	must(t, store.AddDevice(ctx, lock(2)))
	s := spec("")
	s.ClientKey = hash("key")
	must(t, store.Mint(ctx, s, issue(token("one"))))
	refused(t, "again", store.Mint(ctx, s, issue(token("two"))), authz.ErrKeySeen)
	s.Device, s.Grant = lock(2).ID, pop.GrantID{}
	other := token("two")
	other.Client, other.User, other.Device, other.Grant = "tablet", "father", lock(2).ID, pop.GrantID{}
	other.ID = tokenID(lock(2).ID, "two")
	refused(t, "by another client for another device", store.Mint(ctx, s, issue(other)), authz.ErrKeySeen)
	s.ClientKey = hash("another key")
	must(t, store.Mint(ctx, s, issue(other)))
	must(t, store.Close())
	refused(t, "after a restart", open(t, db).Mint(ctx, s, issue(token("three"))), authz.ErrKeySeen)
}

func clientKeysForgotten(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	const day = 24 * time.Hour
	mint := func(store authz.Store, name string, since, life time.Duration) error {
		record := token(fmt.Sprint(name, since))
		record.Expires = evening.Add(since + life)
		return store.Mint(ctx, authz.MintSpec{Now: evening.Add(since), Parties: authz.Parties{Device: lock(1).ID}, ClientKey: hash(name)}, issue(record))
	}
	must(t, mint(store, "short", 0, time.Hour))
	must(t, mint(store, "long", 0, 500*day))
	must(t, mint(store, "swept", 0, time.Hour))
	refused(t, "after 399 days", mint(store, "short", 399*day, time.Hour), authz.ErrKeySeen)
	must(t, mint(store, "short", 400*day, time.Hour))
	refused(t, "once more", mint(store, "short", 401*day, time.Hour), authz.ErrKeySeen)
	refused(t, "29 days past its last token", mint(store, "long", 529*day, time.Hour), authz.ErrKeySeen)
	must(t, mint(store, "long", 530*day, time.Hour))
	must(t, store.Close())

	later := get(openAt(db, storeKey, evening.Add(530*day)))(t)
	defer later.Close()
	must(t, mint(later, "swept", 530*day, time.Hour))
	refused(t, "a key still known is kept", mint(later, "short", 530*day, time.Hour), authz.ErrKeySeen)
}
