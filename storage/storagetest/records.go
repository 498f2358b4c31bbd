package storagetest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

func recordsComeBackWhole(t *testing.T, db Database) {
	ctx := t.Context()
	user := authz.User{Name: "mother", PasswordHash: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA", CreatedAt: evening.Add(time.Millisecond)}
	login := authz.Login{Hash: hash("login"), User: "mother", ExpiresAt: evening.Add(time.Hour)}
	signer := authz.SigningKey{ID: "1", Private: hash("pkcs 8"), CreatedAt: evening}
	grant := permission(1)
	grant.Spent = aif.New(aif.Entry{Path: "/door/unlock", Methods: aif.POST})
	grant.RevokedAt, grant.ConfirmedAt = evening, evening.Add(time.Second)

	store := open(t, db)
	must(t, store.AddClient(ctx, phone("phone")))
	must(t, store.AddUser(ctx, user))
	must(t, store.AddDevice(ctx, lock(1)))
	must(t, store.AddGrant(ctx, grant))
	must(t, store.AddCode(ctx, code("code"), nil))
	must(t, store.AddLogin(ctx, login))
	must(t, store.AddSigningKey(ctx, signer))
	must(t, store.Record(ctx, decision("seen")))
	must(t, store.Close())

	store = open(t, db) // another process, after the first has ended
	equal(t, "client", get(store.Client(ctx, "phone"))(t), phone("phone"))
	equal(t, "user", get(store.User(ctx, "mother"))(t), user)
	equal(t, "device", get(store.Device(ctx, lock(1).ID))(t), lock(1))
	equal(t, "device by name", get(store.DeviceByName(ctx, lock(1).Name))(t), lock(1))
	equal(t, "grant", get(store.Grant(ctx, grant.ID))(t), grant)
	equal(t, "code", get(store.Code(ctx, hash("code")))(t), code("code"))
	equal(t, "login", get(store.Login(ctx, login.Hash, evening))(t), login)
	equal(t, "signing keys", get(store.SigningKeys(ctx))(t), []authz.SigningKey{signer})
	equal(t, "audit", get(store.AuditTail(ctx, 10))(t), []authz.AuditEntry{decision("seen")})

	device, client := lock(1), phone("phone")
	equal(t, "peer that is a device", get(store.Peer(ctx, device.SenderID))(t), authz.Peer{Device: &device})
	equal(t, "peer that is a client", get(store.Peer(ctx, client.Channel.PeerID))(t), authz.Peer{Client: &client})
}

// A ceiling that is nil bounds nothing and one that is empty bounds everything; the empty Sender ID is an id.
func emptyAndAbsentStayApart(t *testing.T, db Database) {
	ctx, store := t.Context(), open(t, db)
	bare := authz.Client{ID: "bare", AuthMethod: authz.AuthNone}
	empty := authz.Client{
		ID: "empty", AuthMethod: authz.AuthNone, RedirectURIs: []string{}, GrantTypes: []string{}, Ceiling: []string{},
		Channel: &authz.Channel{MasterSecret: []byte{7}, MasterSalt: []byte{}, PeerID: []byte{}, ServerID: []byte{}},
	}
	for _, c := range []authz.Client{bare, empty} {
		must(t, store.AddClient(ctx, c))
		equal(t, "client", get(store.Client(ctx, c.ID))(t), c)
	}
	equal(t, "peer with the empty id", get(store.Peer(ctx, nil))(t), authz.Peer{Client: &empty})
	if _, err := store.Peer(ctx, []byte{0}); err == nil {
		t.Error("a zero byte was taken for the empty id")
	}

	plain := lock(1)
	plain.Actions, plain.Demands, plain.RootKey, plain.PublicKey, plain.SenderID = nil, nil, nil, nil, nil
	plain.Kind, plain.Delivery, plain.Profile, plain.Clock, plain.Shape = 0, "", 0, 0, 0
	plain.Registration = authz.Registration{}
	plain.CreatedAt, plain.Private, plain.RequireCNonce, plain.Remote = time.Time{}, false, false, false
	must(t, store.AddDevice(ctx, plain))
	equal(t, "device", get(store.Device(ctx, plain.ID))(t), plain)

	own := code("own") // of the owner: no grant
	own.Grant, own.Rights = pop.GrantID{}, nil
	must(t, store.AddCode(ctx, own, nil))
	equal(t, "code", get(store.Code(ctx, own.Hash))(t), own)

	must(t, store.Record(ctx, authz.AuditEntry{Event: "login"}))
	equal(t, "audit", get(store.AuditTail(ctx, 1))(t), []authz.AuditEntry{{Event: "login"}})
}

func takenNamesAreRefused(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	taken := func(what string, err error) {
		t.Helper()
		refused(t, what, err, authz.ErrExists)
	}
	taken("client id", store.AddClient(ctx, authz.Client{ID: "phone"}))
	samePeer := phone("tablet")
	samePeer.Channel.PeerID = phone("phone").Channel.PeerID
	taken("client named like a user", store.AddClient(ctx, authz.Client{ID: "mother"}))
	taken("user named like a client", store.AddUser(ctx, authz.User{Name: "phone"}))
	taken("peer id of a client", store.AddClient(ctx, samePeer))
	samePeer.Channel.PeerID = lock(1).SenderID
	taken("peer id of a device", store.AddClient(ctx, samePeer))
	if _, err := store.Client(ctx, "tablet"); err == nil {
		t.Error("the client that was refused is there")
	}

	device := lock(2)
	device.ID = lock(1).ID
	taken("device id", store.AddDevice(ctx, device))
	device = lock(2)
	device.Name = lock(1).Name
	taken("device name", store.AddDevice(ctx, device))
	device = lock(2)
	device.SenderID = lock(1).SenderID
	taken("sender id of a device", store.AddDevice(ctx, device))
	device.SenderID = phone("phone").Channel.PeerID
	taken("sender id of a client", store.AddDevice(ctx, device))
	must(t, store.AddDevice(ctx, lock(2)))

	taken("grant", store.AddGrant(ctx, permission(1)))
	taken("code", store.AddCode(ctx, code("code"), nil))
	taken("user", store.AddUser(ctx, authz.User{Name: "mother"}))
	must(t, store.AddLogin(ctx, authz.Login{Hash: hash("login")}))
	taken("login", store.AddLogin(ctx, authz.Login{Hash: hash("login")}))
	must(t, store.AddSigningKey(ctx, authz.SigningKey{ID: "1"}))
	taken("signing key", store.AddSigningKey(ctx, authz.SigningKey{ID: "1"}))
	must(t, store.Mint(ctx, spec(""), issue(token("one"))))
	taken("token hash", store.Mint(ctx, spec(""), issue(token("one"))))
}

func absentIsNotFound(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	absent := func(what string, err error) {
		t.Helper()
		refused(t, what, err, authz.ErrNotFound)
	}
	_, err := store.Client(ctx, "tablet")
	absent("Client", err)
	_, err = store.User(ctx, "father")
	absent("User", err)
	_, err = store.Device(ctx, lock(2).ID)
	absent("Device", err)
	_, err = store.DeviceByName(ctx, "window")
	absent("DeviceByName", err)
	absent("Register", store.Register(ctx, lock(2).ID, authz.Registration{}))
	_, err = store.Registration(ctx, lock(2).ID)
	absent("Registration", err)
	_, err = store.Peer(ctx, []byte("nobody"))
	absent("Peer", err)
	_, err = store.Grant(ctx, permission(2).ID)
	absent("Grant", err)
	_, err = store.Revoke(ctx, permission(2).ID, evening)
	absent("Revoke", err)
	absent("Confirm", store.Confirm(ctx, permission(2).ID, evening))
	absent("Confirm of a live grant", store.Confirm(ctx, permission(1).ID, evening))
	absent("Spend", store.Spend(ctx, permission(2).ID, door[0]))
	_, err = store.Code(ctx, hash("nothing"))
	absent("Code", err)
	_, err = store.Login(ctx, hash("nothing"), evening)
	absent("Login", err)
	absent("EndLogin", store.EndLogin(ctx, hash("nothing")))
	absent("Mint with a code", store.Mint(ctx, spec("nothing"), issue(token("one"))))
	unknown := spec("code")
	unknown.Grant = permission(2).ID
	absent("Mint for a grant", store.Mint(ctx, unknown, issue(token("one"))))
	unknown = spec("code")
	unknown.Device = lock(2).ID
	absent("Mint for a device", store.Mint(ctx, unknown, issue(token("one"))))
	_, err = store.NextSequence(ctx, lock(2).ID, authz.SequenceNews, evening)
	absent("NextSequence", err)
	elsewhere := permission(2)
	elsewhere.Device = lock(2).ID
	absent("AddGrant on a device", store.AddGrant(ctx, elsewhere))

	equal(t, "signing keys", get(store.SigningKeys(ctx))(t), nil)
	equal(t, "tokens", get(store.TokensOf(ctx, lock(2).ID, evening))(t), nil)
	equal(t, "grants", get(store.Grants(ctx, "bob"))(t), nil)
	equal(t, "audit", get(store.AuditTail(ctx, 10))(t), nil)
}

func badValuesAreRefused(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	wrong := func(what string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	grant := permission(2)
	grant.ID = pop.GrantID{}
	wrong("grant with the owner's id", store.AddGrant(ctx, grant))
	grant = permission(2)
	grant.To.Client = "phone"
	wrong("grant to two subjects", store.AddGrant(ctx, grant))
	grant.To = authz.Subject{}
	wrong("grant to nobody", store.AddGrant(ctx, grant))
	grant = permission(2)
	grant.Rights = aif.Rights{{Path: "no path", Methods: aif.GET}}
	wrong("rights without a path", store.AddGrant(ctx, grant))
	device := lock(2)
	device.Epoch = 1 << 63
	wrong("epoch that would turn negative", store.AddDevice(ctx, device))
	wrong("code without a hash", store.AddCode(ctx, authz.CodeGrant{}, nil))
	_, err := store.NextSequence(ctx, lock(1).ID, "other", evening)
	wrong("unknown sequence", err)

	// Without a time a code would be marked as consumed at zero, which means unspent.
	for _, now := range []time.Time{{}, time.Unix(0, 0), time.Unix(-5, 0)} {
		timeless := spec("code")
		timeless.Now = now
		wrong("mint without time", store.Mint(ctx, timeless, issue(token("one"))))
		_, err := store.Revoke(ctx, permission(1).ID, now)
		wrong("revocation without time", err)
		_, err = store.NextSequence(ctx, lock(1).ID, authz.SequenceNews, now)
		wrong("sequence without time", err)
	}
	must(t, store.Mint(ctx, spec("code"), issue(token("one"))))
}

func oddText(t *testing.T, db Database) {
	ctx, store := t.Context(), open(t, db)
	for _, odd := range []string{"a\x00b", "a\xffb"} {
		_, err := store.Client(ctx, odd)
		refused(t, "client", err, authz.ErrNotFound)
		_, err = store.User(ctx, odd)
		refused(t, "user", err, authz.ErrNotFound)
		_, err = store.DeviceByName(ctx, odd)
		refused(t, "device", err, authz.ErrNotFound)
		if err := store.AddUser(ctx, authz.User{Name: odd}); err == nil {
			t.Errorf("user %q: accepted, and would never be found", odd)
		}
		equal(t, "grants", get(store.Grants(ctx, odd))(t), nil)
		equal(t, "grants", get(store.GrantsOf(ctx, authz.Subject{User: odd}, lock(1).ID, evening))(t), nil)
		entry := decision("refused")
		entry.Client = odd
		must(t, store.Record(ctx, entry))
		entry.Client = "a�b"
		equal(t, "audit", get(store.AuditTail(ctx, 1))(t), []authz.AuditEntry{entry})
	}
	quoted := authz.User{Name: `Robert'); DROP TABLE users;-- "$1" ?1 ☃`}
	must(t, store.AddUser(ctx, quoted))
	equal(t, "user", get(store.User(ctx, quoted.Name))(t), quoted)
}

func listsAreInOrder(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	must(t, store.AddClient(ctx, phone("a tablet")))
	equal(t, "clients", get(store.Clients(ctx))(t), []authz.Client{phone("a tablet"), phone("phone")})
	must(t, store.AddDevice(ctx, lock(0)))
	equal(t, "devices", get(store.Devices(ctx))(t), []authz.Device{lock(0), lock(1)})
	older := authz.SigningKey{ID: "9", Private: []byte{9}, CreatedAt: evening.Add(-time.Hour)}
	newer := authz.SigningKey{ID: "1", Private: []byte{1}, CreatedAt: evening}
	must(t, store.AddSigningKey(ctx, older))
	must(t, store.AddSigningKey(ctx, newer))
	equal(t, "signing keys", get(store.SigningKeys(ctx))(t), []authz.SigningKey{newer, older})

	grant := func(n byte, change func(*authz.Grant)) authz.Grant {
		g := permission(n)
		g.CreatedAt = evening.Add(time.Duration(n) * time.Minute)
		change(&g)
		must(t, store.AddGrant(ctx, g))
		return g
	}
	future := grant(2, func(g *authz.Grant) { g.From = evening.Add(time.Hour) })
	endless := grant(3, func(g *authz.Grant) { g.From, g.Until = time.Time{}, time.Time{} })
	ended := grant(4, func(g *authz.Grant) { g.Until = evening })
	revoked := grant(5, func(g *authz.Grant) { g.RevokedAt = evening.Add(-time.Minute) })
	elsewhere := grant(6, func(g *authz.Grant) { g.Device = lock(0).ID })
	toClient := grant(7, func(g *authz.Grant) { g.To = authz.Subject{Client: "mother"} })
	bobs := grant(8, func(g *authz.Grant) { g.Owner = "bob" })
	equal(t, "grants of mother", get(store.GrantsOf(ctx, authz.Subject{User: "mother"}, lock(1).ID, evening))(t),
		[]authz.Grant{bobs, endless, future, permission(1)})
	equal(t, "grants of a client", get(store.GrantsOf(ctx, authz.Subject{Client: "mother"}, lock(1).ID, evening))(t),
		[]authz.Grant{toClient})
	alices := []authz.Grant{toClient, elsewhere, revoked, ended, endless, future, permission(1)}
	equal(t, "grants of alice", get(store.Grants(ctx, "alice"))(t), alices)
	equal(t, "grants of all", get(store.Grants(ctx, ""))(t), slices.Insert(alices, 0, bobs))
}

func loginsEnd(t *testing.T, db Database) {
	ctx, store := t.Context(), open(t, db)
	login := authz.Login{Hash: hash("login"), User: "mother", ExpiresAt: evening}
	must(t, store.AddLogin(ctx, login))
	equal(t, "login", get(store.Login(ctx, login.Hash, evening.Add(-time.Millisecond)))(t), login)
	_, err := store.Login(ctx, login.Hash, evening)
	refused(t, "login at its end", err, authz.ErrNotFound)
	must(t, store.EndLogin(ctx, login.Hash))
	_, err = store.Login(ctx, login.Hash, evening.Add(-time.Hour))
	refused(t, "login after its end", err, authz.ErrNotFound)
}

func auditTail(t *testing.T, db Database) {
	ctx, store := t.Context(), open(t, db)
	var all []authz.AuditEntry
	for i := range 5 {
		entry := decision(fmt.Sprint("decision ", i))
		entry.At = evening.Add(-time.Duration(i) * time.Hour) // order is that of recording, whatever the clock says
		must(t, store.Record(ctx, entry))
		all = append(all, entry)
	}
	for limit, want := range map[int][]authz.AuditEntry{-1: nil, 0: nil, 1: all[4:], 3: all[2:], 5: all, 99: all} {
		equal(t, fmt.Sprint("tail of ", limit), get(store.AuditTail(ctx, limit))(t), want)
	}
}

func registrationIsReplaced(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	want := lock(1)
	want.Registration = authz.Registration{Address: "[2001:db8::1]:5683", ExpiresAt: evening.Add(time.Minute), SeenAt: evening}
	must(t, store.Register(ctx, want.ID, want.Registration))
	equal(t, "device", get(store.Device(ctx, want.ID))(t), want)
}

func spentRightsAddUp(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	want := permission(1)
	var reports sync.WaitGroup
	for i := range 16 {
		entry := aif.Entry{Path: fmt.Sprint("/door/", i%8), Methods: aif.POST << (i % 2)}
		want.Spent = want.Spent.Union(aif.New(entry))
		reports.Go(func() {
			if err := store.Spend(ctx, want.ID, entry); err != nil {
				t.Errorf("spend: %v", err)
			}
		})
	}
	reports.Wait()
	equal(t, "grant", get(store.Grant(ctx, want.ID))(t), want)
}

func revocationIsKept(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	must(t, store.AddGrant(ctx, permission(2)))
	kept, later, ended, other := token("kept"), token("later"), token("ended"), token("other")
	later.IssuedAt = evening.Add(time.Minute)
	ended.Expires = evening.Add(time.Hour)
	other.Grant = permission(2).ID
	for _, record := range []authz.TokenRecord{later, kept, ended, other} {
		must(t, store.Mint(ctx, spec(""), issue(record)))
	}
	first := evening.Add(time.Hour)
	for i := range 3 { // the second and third change nothing
		at := first.Add(time.Duration(i) * time.Minute)
		tokens := get(store.Revoke(ctx, permission(1).ID, at))(t)
		keptToo, laterToo := kept, later
		keptToo.Revoked, laterToo.Revoked = first, first
		equal(t, "tokens to be ended", tokens, byID(keptToo, laterToo))
	}
	want := permission(1)
	want.RevokedAt = first
	equal(t, "revoked grant", get(store.Grant(ctx, want.ID))(t), want)
	want.ConfirmedAt = first.Add(2 * time.Hour)
	must(t, store.Confirm(ctx, want.ID, want.ConfirmedAt))
	must(t, store.Confirm(ctx, want.ID, want.ConfirmedAt.Add(time.Hour)))
	equal(t, "confirmed grant", get(store.Grant(ctx, want.ID))(t), want)
	equal(t, "other grant", get(store.Grant(ctx, permission(2).ID))(t), permission(2))
}

func expiredIsRemoved(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	must(t, store.AddLogin(ctx, authz.Login{Hash: hash("login"), ExpiresAt: evening}))
	must(t, store.AddCode(ctx, code("spent"), nil))
	must(t, store.Mint(ctx, spec("spent"), issue(token("one"))))
	must(t, store.Close())

	after := func(since time.Duration) authz.Store {
		store := get(openAt(db, storeKey, evening.Add(since)))(t)
		t.Cleanup(func() { store.Close() })
		return store
	}
	day := 24 * time.Hour
	store = after(day + time.Minute)
	_, err := store.Login(ctx, hash("login"), evening.Add(-time.Hour))
	refused(t, "expired login", err, authz.ErrNotFound)
	_, err = store.Code(ctx, hash("code"))
	refused(t, "expired code", err, authz.ErrNotFound)
	var spent *authz.CodeSpentError
	if err := store.Mint(ctx, spec("spent"), issue(token("two"))); !asError(err, &spent) {
		t.Errorf("the tombstone of a spent code: got %v, want %T", err, spent)
	}
	equal(t, "expired tokens", len(get(store.TokensOf(ctx, lock(1).ID, evening))(t)), 0)
	store = after(3 * day)
	_, err = store.Code(ctx, hash("spent"))
	refused(t, "old tombstone", err, authz.ErrNotFound)
	equal(t, "device", get(store.Device(ctx, lock(1).ID))(t).ID, provision.DeviceID(lock(1).ID))
}
