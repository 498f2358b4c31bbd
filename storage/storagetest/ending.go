package storagetest

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/trl"
)

// estate is tokens of which each selection of End finds some and leaves some.
type estate struct {
	store  authz.Store
	family authz.FamilyID
	at     time.Time
}

// tokens of the estate by what they differ in from the first.
func (e *estate) token(name string) authz.TokenRecord {
	r := token(name)
	r.Code, r.Expires = nil, evening.Add(time.Hour)
	switch name {
	case "of the code":
		r.Code = hash("the code")
	case "of the family":
		r.Family, r.Code = e.family, hash("the code")
	case "of the other grant":
		r.Grant = permission(2).ID
	case "of the owner":
		r.Grant, r.User = pop.GrantID{}, "alice"
	case "of the other client":
		r.Client = "tablet"
	case "of the other device":
		r.Device, r.ID, r.Grant = lock(2).ID, tokenID(lock(2).ID, name), permission(3).ID
	case "kept longer":
		r.Expires, r.Kept = evening.Add(time.Second), evening.Add(9*time.Hour)
	case "expired":
		r.Expires = evening.Add(time.Second)
	}
	return r
}

var estateNames = []string{
	"plain", "of the code", "of the family", "of the other grant", "of the owner", "of the other client", "of the other device",
	"kept longer", "expired",
}

func newEstate(t *testing.T, db Database) *estate {
	ctx, store := t.Context(), house(t, db)
	e := &estate{store: store, family: family("the family").ID, at: evening.Add(time.Minute)}
	embedded := lock(2)
	embedded.Delivery = authz.DeliveryEmbed // nothing is pushed to it
	must(t, store.AddDevice(ctx, embedded))
	must(t, store.AddClient(ctx, phone("tablet")))
	must(t, store.AddGrant(ctx, permission(2)))
	third := permission(3)
	third.Device = lock(2).ID
	must(t, store.AddGrant(ctx, third))
	for _, name := range estateNames {
		r := e.token(name)
		r.Claims = []byte("claims with a key")
		s := spec("")
		s.Parties = authz.Parties{Client: r.Client, User: r.User, Grant: r.Grant, Device: r.Device}
		must(t, store.Mint(ctx, s, func(authz.Minting) (authz.Issued, error) {
			if r.Family == (authz.FamilyID{}) {
				return authz.Issued{Token: r}, nil
			}
			f := family("the family")
			f.Code = r.Code
			return authz.Issued{Token: r, Family: &f}, nil
		}))
	}
	for _, keep := range []string{`CREATE TABLE tokens_kept AS SELECT id, claims FROM tokens`, `CREATE TABLE families_kept AS SELECT material FROM families`} {
		get(db.Raw.Exec(keep))(t)
	}
	return e
}

// ended are tokens as End leaves them: revoked, without claims.
func (e *estate) ended(names ...string) []authz.TokenRecord {
	var list []authz.TokenRecord
	for _, name := range names {
		r := e.token(name)
		r.Revoked = e.at
		list = append(list, r)
	}
	return byID(list...)
}

// Each selection ends its tokens, their families, their place outside of the list and the silence towards the device, in one
// transaction, and nothing else.
func endSelects(t *testing.T, db Database) {
	e := newEstate(t, db)
	except := func(out ...string) []string {
		return slices.DeleteFunc(slices.Clone(estateNames), func(n string) bool { return n == "expired" || slices.Contains(out, n) })
	}
	tests := []struct {
		name   string
		spec   authz.EndSpec
		ended  []string
		family bool
	}{
		{"token", authz.EndSpec{Token: e.token("plain").ID}, []string{"plain"}, false},
		{"token whose device keeps it", authz.EndSpec{Token: e.token("kept longer").ID}, []string{"kept longer"}, false},
		{"code", authz.EndSpec{Code: hash("the code")}, []string{"of the code", "of the family"}, true},
		{"family", authz.EndSpec{Family: e.family}, []string{"of the family"}, true},
		{"grant", authz.EndSpec{Grant: permission(2).ID}, []string{"of the other grant"}, false},
		{"client", authz.EndSpec{Client: "phone"}, except("of the other client"), true},
		{"user", authz.EndSpec{User: "mother"}, except("of the owner"), true},
		{"device", authz.EndSpec{Device: lock(1).ID}, except("of the other device"), true},
		{"device that is not pushed to", authz.EndSpec{Device: lock(2).ID}, []string{"of the other device"}, false},
		{"expired token", authz.EndSpec{Token: e.token("expired").ID}, nil, false},
		{"unknown token", authz.EndSpec{Token: token("none").ID}, nil, false},
		{"unknown grant", authz.EndSpec{Grant: pop.GrantID{9}}, nil, false},
		{"odd client", authz.EndSpec{Client: "a\x00b"}, nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { e.check(t, db, tt.spec, tt.ended, tt.family) })
	}
	for _, wrong := range []authz.EndSpec{{}, {Client: "phone", User: "mother"}, {Token: []byte{1}, Family: e.family}} {
		if _, err := e.store.End(t.Context(), wrong, e.at); err == nil {
			t.Errorf("%+v names not exactly one thing", wrong)
		}
	}
	if _, err := e.store.End(t.Context(), authz.EndSpec{Client: "phone"}, time.Time{}); err == nil {
		t.Error("ended at no time")
	}
}

// check ends by spec, looks at everything that must follow, and takes it back for the next.
func (e *estate) check(t *testing.T, db Database, spec authz.EndSpec, names []string, hasFamily bool) {
	ctx := t.Context()
	spec.Audit = decision("ended")
	want := e.ended(names...)
	before := len(get(e.store.AuditTail(ctx, 1000))(t))
	for i := range 2 { // the second time finds nothing left to do
		got := get(e.store.End(ctx, spec, e.at.Add(time.Duration(i)*time.Minute)))(t)
		equal(t, fmt.Sprint("ended, time ", i), got, [][]authz.TokenRecord{want, nil}[i])
	}
	var pushes [][]byte
	for _, name := range estateNames {
		r := get(e.store.Token(ctx, e.token(name).ID))(t)
		ended := slices.Contains(names, name)
		equal(t, name+": revoked", !r.Revoked.IsZero(), ended)
		equal(t, name+": claims", r.Claims == nil, ended)
		if ended && r.Device == lock(1).ID {
			pushes = append(pushes, r.Hash, r.AltHash)
		}
	}
	f := get(e.store.Family(ctx, e.family))(t)
	equal(t, "family ended", !f.RevokedAt.IsZero(), hasFamily)
	equal(t, "family's key", f.Material.MasterSecret == nil, hasFamily)
	list := get(e.store.Revoked(ctx, authz.Requester{All: true}))(t)
	equal(t, "on the list", len(list.Full), 2*len(names))
	equal(t, "updates", len(list.Updates), min(1, len(names)))
	var told [][]byte
	for _, m := range get(e.store.Waiting(ctx, lock(1).ID, e.at))(t) {
		told = append(told, m.Hashes...)
	}
	for _, l := range []*[][]byte{&told, &pushes} {
		slices.SortFunc(*l, bytes.Compare)
	}
	equal(t, "to be pushed", told, pushes)
	equal(t, "to be pushed where nothing is pushed", get(e.store.Waiting(ctx, lock(2).ID, e.at))(t), nil)
	if names != nil || spec.Client != "a\x00b" {
		equal(t, "audit", len(get(e.store.AuditTail(ctx, 1000))(t)), before+2)
	}
	for _, undo := range []string{
		`DELETE FROM outbox`, `DELETE FROM trl_updates`, `UPDATE families SET revoked_at = 0, material = (SELECT material FROM families_kept)`,
		`UPDATE tokens SET revoked_at = 0, claims = (SELECT claims FROM tokens_kept WHERE tokens_kept.id = tokens.id)`,
	} {
		get(db.Raw.Exec(undo))(t)
	}
}

// A client with very many tokens ends in steps, none of which is left out.
func veryManyEnd(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	second := open(t, db)
	f := family("one")
	found(t, store, f, token("first"))
	together(30, func(i int) {
		for n := range 35 {
			r := token(fmt.Sprint(i, "/", n))
			r.AltHash = nil
			if err := []authz.Store{store, second}[i%2].Mint(ctx, spec(""), issue(r)); err != nil {
				t.Errorf("mint: %v", err)
			}
		}
	})
	for i, want := range []int{1051, 0} {
		ended := get(store.End(ctx, authz.EndSpec{Client: "phone", Audit: decision("ended")}, evening))(t)
		equal(t, fmt.Sprint("ended, time ", i), len(ended), want)
		equal(t, "in order", slices.IsSortedFunc(ended, func(a, b authz.TokenRecord) int { return bytes.Compare(a.ID, b.ID) }), true)
	}
	list := get(second.Revoked(ctx, authz.Requester{Client: "phone"}))(t)
	equal(t, "on the list", len(list.Full), 1052) // the first has two hashes
	equal(t, "updates", len(list.Updates), 2)
	_, err := refresh(t, second, authz.RefreshUse{Family: f.ID, Rotate: true}, 0)
	refused(t, "refresh", err, authz.ErrNotFound)
}

// A grant's end is in many messages when it is of many tokens, each of one datagram, and is confirmed by the last.
func outboxWorks(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	for i := range 30 {
		must(t, store.Mint(ctx, spec(""), issue(token(fmt.Sprint(i)))))
	}
	get(store.Revoke(ctx, permission(1).ID, evening))(t)
	waiting := get(store.Waiting(ctx, lock(1).ID, evening))(t)
	equal(t, "messages", len(waiting), 3)
	total := 0
	for _, m := range waiting {
		total += len(m.Hashes)
		if len(m.Hashes) > 24 || len(m.Hashes[0]) != trl.HashSize {
			t.Errorf("message of %d hashes", len(m.Hashes))
		}
		m.Hashes, m.ID = nil, 0
		equal(t, "message", m, authz.Message{Device: lock(1).ID, Grant: permission(1).ID, CreatedAt: evening, ExpiresAt: token("0").Expires})
	}
	equal(t, "hashes", total, 60)
	at := func(s int) time.Time { return evening.Add(time.Duration(s) * time.Second) }
	due := func(what string, now, lease, limit, want int) []authz.Message {
		t.Helper()
		list := get(store.Due(ctx, at(now), at(lease), limit))(t)
		equal(t, what, len(list), want)
		return list
	}
	first := due("limited", 0, 10, 2, 2)
	last := due("the rest", 0, 10, 9, 1)
	equal(t, "attempts", first[0].Attempts, 1)
	due("all are leased", 9, 20, 9, 0)
	due("the leases ran out", 10, 20, 9, 3)
	must(t, store.Retry(ctx, at(100), first[0].ID, last[0].ID))
	equal(t, "attempts", due("one was not put off", 20, 30, 9, 1)[0].Attempts, 3)
	due("those put off", 100, 110, 9, 3)

	must(t, store.Told(ctx, at(101), first[0].ID, first[1].ID))
	equal(t, "waits", len(get(store.Waiting(ctx, lock(1).ID, at(101)))(t)), 1)
	equal(t, "confirmed", get(store.Grant(ctx, permission(1).ID))(t).ConfirmedAt, time.Time{})
	must(t, store.Retry(ctx, at(0), first[0].ID)) // too late
	due("not what is told", 102, 110, 9, 0)
	must(t, store.Told(ctx, at(103), first[0].ID, last[0].ID, 1<<40)) // once more, and one that is gone
	equal(t, "confirmed", get(store.Grant(ctx, permission(1).ID))(t).ConfirmedAt, at(103))
	due("nothing is left", 1000, 1001, 9, 0)
}

// The last two messages of a grant are confirmed at once on two processes: one of them is the last.
func outboxInParallel(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	both := []authz.Store{store, open(t, db)}
	for round := range byte(12) {
		g := permission(100 + round)
		must(t, store.AddGrant(ctx, g))
		for i := range 13 {
			r := token(fmt.Sprint(round, i))
			s := spec("")
			s.Grant, r.Grant, r.AltHash = g.ID, g.ID, nil
			must(t, store.Mint(ctx, s, issue(r)))
		}
		get(store.Revoke(ctx, g.ID, evening))(t)
		taken := make([][]authz.Message, 4)
		together(4, func(i int) {
			var err error
			if taken[i], err = both[i%2].Due(ctx, evening, evening.Add(time.Hour), 1); err != nil {
				t.Errorf("due: %v", err)
			}
		})
		messages := slices.Concat(taken...)
		messages = append(messages, get(store.Due(ctx, evening, evening.Add(time.Hour), 9))(t)...)
		equal(t, "messages taken", len(messages), 2)
		together(2, func(i int) {
			if err := both[i%2].Told(ctx, evening, messages[i].ID); err != nil {
				t.Errorf("told: %v", err)
			}
		})
		equal(t, "confirmed", get(store.Grant(ctx, g.ID))(t).ConfirmedAt, evening)
	}
}

// A message that outlived its tokens holds up no confirmation.
func expiredMessages(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	short, long := token("short"), token("long")
	short.Expires = evening.Add(time.Minute)
	must(t, store.Mint(ctx, spec(""), issue(short)))
	must(t, store.Mint(ctx, spec(""), issue(long)))
	get(store.End(ctx, authz.EndSpec{Token: short.ID}, evening))(t)
	get(store.Revoke(ctx, permission(1).ID, evening))(t)
	later := evening.Add(2 * time.Minute)
	left := get(store.Due(ctx, later, later.Add(time.Minute), 9))(t)
	equal(t, "still worth telling", len(left), 1)
	must(t, store.Told(ctx, later, left[0].ID))
	equal(t, "confirmed", get(store.Grant(ctx, permission(1).ID))(t).ConfirmedAt, later)
}
