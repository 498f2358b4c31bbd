package backuptest

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/trl"
	"github.com/latchkey-ace/latchkey/storage/storagetest"
)

func recovered(t *testing.T, store authz.Store, at time.Time) authz.Recovery {
	t.Helper()
	r, err := store.Recover(t.Context(), authz.AuditEntry{At: at, Event: "recover", Result: "granted"}, at)
	must(t, err)
	return r
}

// lost is what happens between a backup and the night in which the disk dies.
type lost struct {
	sequence, news, epoch uint64
	cursor                uint64
	token                 authz.TokenRecord
}

func live(t *testing.T, store authz.Store, at time.Time) (l lost) {
	t.Helper()
	ctx := t.Context()
	l.token = mint(t, store, "open", at, nil) // the code is used
	later := mint(t, store, "", at, nil)
	use := spec("", at)
	use.Refresh = &authz.RefreshUse{Family: family, Generation: 0, Rotate: true}
	var token authz.TokenRecord
	must(t, store.Mint(ctx, use, issue(at, nil, &token)))
	end(t, store, later, at)
	must(t, store.EndLogin(ctx, hash("session")))
	must(t, store.Spend(ctx, forMum, unlock))
	must(t, store.TransferDevice(ctx, door, authz.DeviceActive, "alice", uint64(at.Unix())))
	var err error
	l.sequence, err = store.NextSequence(ctx, door, authz.SequenceEXI, at)
	must(t, err)
	l.news, err = store.NextSequence(ctx, door, authz.SequenceNews, at)
	must(t, err)
	list, err := store.Revoked(ctx, authz.Requester{Device: door})
	must(t, err)
	l.cursor = list.Updates[len(list.Updates)-1].Index
	device, err := store.Device(ctx, door)
	must(t, err)
	l.epoch = device.Epoch
	return l
}

// oldBackup is F18 and F19. The store is restored and recovered within the second in which it was lost: the worst case for
// values that count from the clock.
func oldBackup(t *testing.T, fresh func(t *testing.T) storagetest.Database) {
	db := fresh(t)
	first := house(t, db)
	file := save(t, db)
	at := morning
	lost := live(t, first, at)
	store, _ := restored(t, fresh, file)
	ctx := t.Context()
	var token authz.TokenRecord
	refused(t, "before recover: the code", store.Mint(ctx, spec("open", at), issue(at, nil, &token)), authz.ErrRestored)
	r := recovered(t, store, at)
	want := authz.Recovery{Made: evening, Codes: 4, Logins: 1, Invited: 1, Refresh: 1, Tokens: 1, Devices: 2, Logs: 1}
	if r != want {
		t.Errorf("got %+v, want %+v", r, want)
	}
	deadAfterRecover(t, store, at)
	aboveAfterRecover(t, store, lost, at)
	// The rest is there, and goes on.
	must(t, store.LogRead(ctx, door, at))
	must(t, store.AddCode(ctx, code("after", at), nil))
	if next := mint(t, store, "after", at, nil); string(next.ID) <= string(lost.token.ID) {
		t.Errorf("token id %x is not above %x", next.ID, lost.token.ID)
	}
	if made, err := store.Restored(ctx); err != nil || !made.IsZero() {
		t.Errorf("restored: %v, %v", made, err)
	}
	entries, err := store.AuditTail(ctx, 2)
	if err != nil || entries[0].Event != "recover" {
		t.Errorf("audit: %+v, %v", entries, err)
	}
}

// deadAfterRecover tries what had been used, and what had not.
func deadAfterRecover(t *testing.T, store authz.Store, at time.Time) {
	t.Helper()
	ctx := t.Context()
	var token authz.TokenRecord
	for _, name := range []string{"open", "redeemed"} {
		refused(t, "code "+name, store.Mint(ctx, spec(name, at), issue(at, nil, &token)), authz.ErrNotFound)
	}
	for generation := range uint32(3) {
		use := spec("", at)
		use.Refresh = &authz.RefreshUse{Family: family, Generation: generation, Rotate: true}
		refused(t, "refresh token", store.Mint(ctx, use, issue(at, nil, &token)), authz.ErrNotFound)
	}
	_, login := store.Login(ctx, hash("session"), at)
	_, request := store.Request(ctx, hash("request"), at)
	_, device := store.DeviceCode(ctx, hash("device code"))
	_, typed := store.DeviceCodeFor(ctx, "ABCD", at)
	for what, err := range map[string]error{
		"session": login, "pushed request": request, "device code": device, "user code": typed,
		"invitation": store.RegisterClient(ctx, hash("invitation"), authz.Client{ID: "late"}, authz.AuditEntry{At: at}),
	} {
		refused(t, what, err, authz.ErrNotFound)
	}
	f, err := store.Family(ctx, family)
	if err != nil || f.RevokedAt.IsZero() || f.Material.MasterSecret != nil {
		t.Errorf("family: revoked %v, material %v, %v", f.RevokedAt, f.Material.MasterSecret != nil, err)
	}
	if tokens, err := store.TokensOf(ctx, door, at); err != nil || len(tokens) != 0 {
		t.Errorf("%d live tokens, %v", len(tokens), err)
	}
	if got, err := store.Lease(ctx, "leader", "another", at, at.Add(time.Minute)); err != nil || !got {
		t.Errorf("the lease of a server that is gone holds: %v, %v", got, err)
	}
}

// aboveAfterRecover compares with what the lost server had given out.
func aboveAfterRecover(t *testing.T, store authz.Store, lost lost, at time.Time) {
	t.Helper()
	ctx := t.Context()
	exi, err := store.NextSequence(ctx, door, authz.SequenceEXI, at)
	if err != nil || exi <= lost.sequence {
		t.Errorf("sequence %d, %v, want above %d", exi, err, lost.sequence)
	}
	// The backup had no news sequence.
	news, err := store.NextSequence(ctx, door, authz.SequenceNews, at)
	if err != nil || news <= lost.news {
		t.Errorf("news sequence %d, %v, want above %d", news, err, lost.news)
	}
	device, err := store.Device(ctx, door)
	if err != nil || device.Epoch <= lost.epoch {
		t.Errorf("epoch %d, %v, want above %d", device.Epoch, err, lost.epoch)
	}
	list, err := store.Revoked(ctx, authz.Requester{Device: door})
	must(t, err)
	n := uint64(0)
	answer, err := list.Answer(trl.Query{Diff: &n, Cursor: &lost.cursor})
	if err != nil || !answer.More || answer.Cursor != nil || len(answer.Diffs) != 0 {
		t.Errorf("an old cursor got %+v, %v, want to be told to ask for all", answer, err)
	}
}

func onceAfterRecover(t *testing.T, fresh func(t *testing.T) storagetest.Database) {
	db := fresh(t)
	house(t, db)
	store, _ := restored(t, fresh, save(t, db))
	ctx := t.Context()
	recovered(t, store, morning)
	var token authz.TokenRecord
	try := func() error { return store.Mint(ctx, spec("", morning), issue(morning, nil, &token)) }
	refused(t, "once, before the log", try(), authz.ErrLogWanted)
	many := authz.Grant{ID: pop.GrantID{2}, Owner: "alice", To: authz.Subject{User: "mother"}, Device: door, CreatedAt: morning}
	must(t, store.AddGrant(ctx, many))
	usual := spec("", morning)
	usual.Grant = many.ID
	must(t, store.Mint(ctx, usual, issue(morning, nil, &token)))
	wanted, err := store.LogWanted(ctx, door)
	if err != nil || !wanted.Equal(morning) {
		t.Errorf("wanted: %v, %v", wanted, err)
	}
	if other, err := store.LogWanted(ctx, api); err != nil || !other.IsZero() {
		t.Errorf("an API sends no log: %v, %v", other, err)
	}
	// A log that was wanted by an earlier recover, and was read before this one.
	recovered(t, store, morning.Add(time.Second))
	must(t, store.LogRead(ctx, door, wanted))
	refused(t, "once, with an earlier log", try(), authz.ErrLogWanted)
	must(t, store.LogRead(ctx, door, morning.Add(time.Second)))
	must(t, try())
}

func recoverWhole(t *testing.T, fresh func(t *testing.T) storagetest.Database) {
	db := fresh(t)
	house(t, db)
	store, again := restored(t, fresh, save(t, db))
	before := rows(t, again)
	_, err := again.Raw.Exec(`ALTER TABLE audit RENAME TO away`) // the last statement fails
	must(t, err)
	if _, err := store.Recover(t.Context(), authz.AuditEntry{At: morning, Event: "recover"}, morning); err == nil {
		t.Error("recovered without a record of it")
	}
	_, err = again.Raw.Exec(`ALTER TABLE away RENAME TO audit`)
	must(t, err)
	if after := rows(t, again); !reflect.DeepEqual(after, before) {
		t.Error("half of it has happened")
	}
	// A clock that is behind would not reach what was given out.
	_, err = store.Recover(t.Context(), authz.AuditEntry{}, evening.Add(-2*time.Hour))
	refused(t, "clock", err, authz.ErrClockStepped)
	recovered(t, store, morning)
}

func recoverAgain(t *testing.T, fresh func(t *testing.T) storagetest.Database) {
	db := fresh(t)
	house(t, db)
	store, again := restored(t, fresh, save(t, db))
	other := open(t, again) // as another process
	ctx := t.Context()
	refused(t, "the other process before", other.AddUser(ctx, authz.User{Name: "bob"}), authz.ErrRestored)
	recovered(t, store, morning)
	must(t, other.AddUser(ctx, authz.User{Name: "bob", CreatedAt: morning}))
	first, err := store.Device(ctx, door)
	must(t, err)
	r := recovered(t, store, morning)
	if want := (authz.Recovery{Devices: 2, Logs: 1}); r != want {
		t.Errorf("again: got %+v, want %+v", r, want)
	}
	second, err := store.Device(ctx, door)
	must(t, err)
	if second.Epoch <= first.Epoch {
		t.Errorf("epoch %d after %d", second.Epoch, first.Epoch)
	}
	// With a context that has ended nothing happens.
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := store.Recover(gone, authz.AuditEntry{At: morning}, morning); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// withdrawnKey: a backup of before a key was compromised has it as good (F110). Nobody can know, but it can be withdrawn
// again, and what comes after is kept.
func withdrawnKey(t *testing.T, fresh func(t *testing.T) storagetest.Database) {
	db := fresh(t)
	first := house(t, db)
	file := save(t, db)
	withdraw := func(store authz.Store) []authz.SigningKey {
		must(t, store.UpdateSigningKeys(t.Context(), authz.SigningKey{ID: "1", From: evening, Until: morning, Withdrawn: morning}))
		must(t, store.AddSigningKey(t.Context(), authz.SigningKey{ID: "2", Private: hash("second"), CreatedAt: morning, From: morning}))
		keys, err := store.SigningKeys(t.Context())
		must(t, err)
		return keys
	}
	want := withdraw(first)
	store, _ := restored(t, fresh, file)
	recovered(t, store, morning)
	keys, err := store.SigningKeys(t.Context())
	if err != nil || len(keys) != 1 || !keys[0].Withdrawn.IsZero() {
		t.Errorf("the keys of the backup: %d, %v", len(keys), err)
	}
	if got := withdraw(store); !reflect.DeepEqual(got, want) {
		t.Error("withdrawn again, the keys are others than before")
	}
	// A backup of after keeps it withdrawn.
	later, _ := restored(t, fresh, save(t, db))
	if got, err := later.SigningKeys(t.Context()); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("keys of a later backup differ: %v", err)
	}
}

// Failover is F13: a standby is promoted that lacks the last commits. lose makes and follows the primary, does what it is
// given on it so that the standby does not hear of it, and gives the standby, promoted. Whoever used something is the only
// one who knows; recover ends it.
func Failover(t *testing.T, primary storagetest.Database, lose func(live func()) storagetest.Database) {
	store := house(t, primary)
	at := morning
	var lost lost
	promoted := open(t, lose(func() {
		lost = live(t, store, at)
		must(t, store.Close())
	}))
	if code, err := promoted.Code(t.Context(), hash("open")); err != nil || !code.ConsumedAt.IsZero() {
		t.Fatalf("the standby has not lost anything: %v, %v", code.ConsumedAt, err)
	}
	if r := recovered(t, promoted, at); !r.Made.IsZero() || r.Codes != 4 {
		t.Errorf("got %+v", r)
	}
	deadAfterRecover(t, promoted, at)
	aboveAfterRecover(t, promoted, lost, at)
}
