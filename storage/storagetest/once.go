package storagetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
)

func is(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }

func pushed(name string) authz.PushedRequest {
	return authz.PushedRequest{Hash: hash(name), Client: "phone", Query: "scope=view&state=ö", Verdict: verdict(), ExpiresAt: evening.Add(time.Minute)}
}

// A pushed request is there until its end or until a code takes it, whichever comes first.
func pushedRequests(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	want := pushed("request")
	must(t, store.AddRequest(ctx, want))
	refused(t, "twice", store.AddRequest(ctx, want), authz.ErrExists)
	equal(t, "request", get(store.Request(ctx, want.Hash, want.ExpiresAt.Add(-time.Millisecond)))(t), want)
	_, err := store.Request(ctx, want.Hash, want.ExpiresAt)
	refused(t, "at its end", err, authz.ErrNotFound)
	_, err = store.Request(ctx, hash("nothing"), evening)
	refused(t, "unknown", err, authz.ErrNotFound)

	refused(t, "code for no request", store.AddCode(ctx, code("one"), hash("nothing")), authz.ErrNotFound)
	late := code("late")
	late.IssuedAt = want.ExpiresAt
	refused(t, "code at the request's end", store.AddCode(ctx, late, want.Hash), authz.ErrNotFound)
	refused(t, "code that is taken", store.AddCode(ctx, code("code"), want.Hash), authz.ErrExists)
	equal(t, "not consumed by what failed", get(store.Request(ctx, want.Hash, evening))(t), want)
	must(t, store.AddCode(ctx, code("one"), want.Hash))
	refused(t, "code for a consumed request", store.AddCode(ctx, code("two"), want.Hash), authz.ErrNotFound)
	_, err = store.Code(ctx, hash("two"))
	refused(t, "second code", err, authz.ErrNotFound)
}

func parallelRequests(t *testing.T, db Database) {
	store := house(t, db)
	must(t, store.AddRequest(t.Context(), pushed("request")))
	onlyOne(t, []authz.Store{store, open(t, db)}, crowd, func(store authz.Store, i int) error {
		return store.AddCode(t.Context(), code(fmt.Sprint("code ", i)), hash("request"))
	}, is(authz.ErrNotFound))
}

func deviceCode(name string) authz.DeviceCode {
	return authz.DeviceCode{
		Hash: hash(name), UserCode: "WDJB" + name, Client: "phone", Device: lock(1).ID, Asked: door, Details: "[]",
		BoundKey: hash("thumbprint"), Verdict: verdict(), Pace: 5 * time.Second, IssuedAt: evening, ExpiresAt: evening.Add(10 * time.Minute),
	}
}

// read is a device code as it is read back: what was typed is not kept.
func read(c authz.DeviceCode) authz.DeviceCode {
	c.UserCode = ""
	return c
}

func answered(c authz.DeviceCode, answer string) authz.DeviceCode {
	c.Answer, c.User, c.Rights, c.Grant = answer, "mother", door, permission(1).ID
	return c
}

func deviceCodes(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	yes, no, silent := deviceCode("yes"), deviceCode("no"), deviceCode("silent")
	for _, c := range []authz.DeviceCode{yes, no, silent} {
		must(t, store.AddDeviceCode(ctx, c))
		equal(t, "device code", get(store.DeviceCode(ctx, c.Hash))(t), read(c))
		equal(t, "by what was typed", get(store.DeviceCodeFor(ctx, c.UserCode, evening))(t), read(c))
	}
	typed := deviceCode("other")
	typed.UserCode = yes.UserCode
	refused(t, "user code in use", store.AddDeviceCode(ctx, typed), authz.ErrExists)
	_, err := store.DeviceCodeFor(ctx, yes.UserCode, yes.ExpiresAt)
	refused(t, "typed at its end", err, authz.ErrNotFound)
	_, err = store.DeviceCodeFor(ctx, "WDJB", evening)
	refused(t, "mistyped", err, authz.ErrNotFound)
	_, err = store.DeviceCode(ctx, hash("nothing"))
	refused(t, "unknown", err, authz.ErrNotFound)

	if err := store.AnswerDeviceCode(ctx, answered(yes, "maybe"), evening); err == nil {
		t.Error("an answer that is neither yes nor no")
	}
	refused(t, "answer at its end", store.AnswerDeviceCode(ctx, answered(yes, authz.AnswerYes), yes.ExpiresAt), authz.ErrNotFound)
	must(t, store.AnswerDeviceCode(ctx, answered(yes, authz.AnswerYes), evening))
	must(t, store.AnswerDeviceCode(ctx, answered(no, authz.AnswerNo), evening))
	refused(t, "a second answer", store.AnswerDeviceCode(ctx, answered(no, authz.AnswerYes), evening), authz.ErrNotFound)
	equal(t, "answered", get(store.DeviceCode(ctx, yes.Hash))(t), read(answered(yes, authz.AnswerYes)))
	_, err = store.DeviceCodeFor(ctx, yes.UserCode, evening)
	refused(t, "typed again", err, authz.ErrNotFound)

	mint := func(c authz.DeviceCode, at time.Time) error {
		s := among(everybody())
		s.Now, s.DeviceCode = at, c.Hash
		return store.Mint(ctx, s, issue(token("of "+string(c.Answer))))
	}
	soon := evening.Add(time.Minute)
	refused(t, "not answered", mint(silent, soon), authz.ErrPending)
	refused(t, "answered with no", mint(no, soon), authz.ErrDenied)
	refused(t, "unknown", mint(deviceCode("nothing"), soon), authz.ErrNotFound)
	for _, c := range []authz.DeviceCode{yes, no, silent} {
		refused(t, "at its end", mint(c, yes.ExpiresAt), authz.ErrNotFound)
	}
	must(t, mint(yes, yes.ExpiresAt.Add(-time.Millisecond)))
	var spent *authz.CodeSpentError
	if err := mint(yes, yes.ExpiresAt.Add(time.Hour)); !errors.As(err, &spent) || !spent.ConsumedAt.Equal(yes.ExpiresAt.Add(-time.Millisecond)) {
		t.Errorf("used again: got %v", err)
	}
}

// Whoever polls too fast is told to slow down, and by how much is on record (RFC 8628 §3.5).
func pollingPace(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	c := deviceCode("slow")
	must(t, store.AddDeviceCode(ctx, c))
	at := evening
	for i, tt := range []struct {
		after time.Duration
		early bool
		pace  time.Duration
	}{
		{0, false, 5 * time.Second},
		{5*time.Second - time.Millisecond, true, 10 * time.Second},
		{10*time.Second - time.Millisecond, true, 15 * time.Second},
		{15 * time.Second, false, 15 * time.Second},
		{-time.Minute, true, 20 * time.Second}, // another node, whose clock is behind
	} {
		at = at.Add(tt.after)
		early, err := store.PollDeviceCode(ctx, c.Hash, at)
		if err != nil || early != tt.early {
			t.Errorf("poll %d: got early %v, %v, want %v", i, early, err, tt.early)
		}
		found := get(store.DeviceCode(ctx, c.Hash))(t)
		equal(t, "pace", found.Pace, tt.pace)
		equal(t, "polled", found.PolledAt, at)
	}
	for range 80 {
		get(store.PollDeviceCode(ctx, c.Hash, at))(t)
	}
	equal(t, "slowest pace", get(store.DeviceCode(ctx, c.Hash))(t).Pace, 300*time.Second)
	_, err := store.PollDeviceCode(ctx, hash("nothing"), at)
	refused(t, "unknown", err, authz.ErrNotFound)

	// Of many polls at once one is in time.
	must(t, store.AddDeviceCode(ctx, deviceCode("many")))
	onlyOne(t, []authz.Store{store, open(t, db)}, 32, func(store authz.Store, _ int) error {
		early, err := store.PollDeviceCode(ctx, hash("many"), evening)
		if err == nil && early {
			err = authz.ErrBusy
		}
		return err
	}, is(authz.ErrBusy))
}

func parallelDeviceCodes(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	c := deviceCode("one")
	must(t, store.AddDeviceCode(ctx, c))
	must(t, store.AnswerDeviceCode(ctx, answered(c, authz.AnswerYes), evening))
	onlyOne(t, []authz.Store{store, open(t, db)}, crowd, func(store authz.Store, i int) error {
		s := among(everybody())
		s.DeviceCode = c.Hash
		return store.Mint(ctx, s, issue(token(fmt.Sprint(i))))
	}, func(err error) bool { return errors.As(err, new(*authz.CodeSpentError)) })
	equal(t, "tokens", len(get(store.TokensOf(ctx, lock(1).ID, evening))(t)), 1)
}

func proof(name string, life time.Duration) authz.Use {
	return authz.Use{Kind: "dpop", Value: hash(name), Until: evening.Add(life)}
}

// Proofs are spent all or none, for as long as they could be shown.
func usesAreSpent(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	a, b := proof("a", time.Minute), proof("b", time.Minute)
	must(t, store.UseOnce(ctx, evening))
	must(t, store.UseOnce(ctx, evening, a))
	refused(t, "one of two used before", store.UseOnce(ctx, evening, b, a), authz.ErrReplayed)
	must(t, store.UseOnce(ctx, evening, b)) // the other was not spent with it
	refused(t, "twice in one call", store.UseOnce(ctx, evening, proof("c", time.Minute), proof("c", time.Minute)), authz.ErrReplayed)
	otherKind := a
	otherKind.Kind = "jti"
	must(t, store.UseOnce(ctx, evening, otherKind))
	refused(t, "in its last millisecond", store.UseOnce(ctx, a.Until.Add(-time.Millisecond), proof("a", time.Hour)), authz.ErrReplayed)
	must(t, store.UseOnce(ctx, a.Until, proof("a", time.Hour))) // nobody would have taken it any more
	refused(t, "and again", store.UseOnce(ctx, a.Until, proof("a", time.Hour)), authz.ErrReplayed)

	s := spec("code")
	s.Proofs = []authz.Use{proof("fresh", time.Hour), proof("a", time.Hour)}
	refused(t, "mint with a replay", store.Mint(ctx, s, issue(token("none"))), authz.ErrReplayed)
	equal(t, "code", get(store.Code(ctx, hash("code")))(t), code("code"))
	equal(t, "audit", len(get(store.AuditTail(ctx, 10))(t)), 0)
	noToken := errors.New("no token")
	s.Proofs = s.Proofs[:1]
	refused(t, "mint that fails", store.Mint(ctx, s, func(authz.Minting) (authz.Issued, error) { return authz.Issued{}, noToken }), noToken)
	must(t, store.Mint(ctx, s, issue(token("one"))))
	refused(t, "outside of a mint", store.UseOnce(ctx, evening, s.Proofs...), authz.ErrReplayed)

	both := []authz.Store{store, open(t, db)}
	onlyOne(t, both, 16, func(store authz.Store, _ int) error { return store.UseOnce(ctx, evening, proof("raced", time.Hour)) }, is(authz.ErrReplayed))
	onlyOne(t, both, 16, func(store authz.Store, i int) error {
		s := spec("")
		s.Proofs = []authz.Use{proof("raced in a mint", time.Hour)}
		return store.Mint(ctx, s, issue(token(fmt.Sprint("raced ", i))))
	}, is(authz.ErrReplayed))
}

// A lease is one holder's until it lets it lapse.
func leases(t *testing.T, db Database) {
	ctx, one, two := t.Context(), house(t, db), open(t, db)
	at := func(s int) time.Time { return evening.Add(time.Duration(s) * time.Second) }
	for i, tt := range []struct {
		store      authz.Store
		holder     string
		now, until int
		want       bool
	}{
		{one, "one", 0, 10, true},
		{two, "two", 5, 15, false},
		{one, "one", 9, 19, true}, // prolonged
		{two, "two", 18, 30, false},
		{two, "two", 19, 29, true},
		{one, "one", 20, 40, false}, // it comes back too late
		{two, "two", 21, 22, true},  // given back early
		{one, "one", 22, 40, true},
	} {
		has, err := tt.store.Lease(ctx, "sweep", tt.holder, at(tt.now), at(tt.until))
		if err != nil || has != tt.want {
			t.Errorf("step %d: got %v, %v, want %v", i, has, err, tt.want)
		}
	}
	equal(t, "another lease", get(two.Lease(ctx, "outbox", "two", at(0), at(9)))(t), true)
	onlyOne(t, []authz.Store{one, two}, 32, func(store authz.Store, i int) error {
		has, err := store.Lease(ctx, "raced", fmt.Sprint("holder ", i), at(0), at(9))
		if err == nil && !has {
			err = authz.ErrBusy
		}
		return err
	}, is(authz.ErrBusy))
}
