package storagetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
)

func invitation(name string) authz.RegistrationToken {
	return authz.RegistrationToken{
		Hash: hash(name), Note: "for the installer", Uses: 3, CreatedAt: evening, ExpiresAt: evening.Add(time.Hour),
		Allowed: authz.Allowed{
			GrantTypes: []string{authz.AuthorizationCode}, AuthMethods: []authz.AuthMethod{authz.AuthNone}, Scope: []string{"view"},
			Bearer: true, ClientMadeKeys: true,
		},
	}
}

// self is a client that registered itself.
func self(id string) authz.Client {
	return authz.Client{
		ID: id, Name: "Self", AuthMethod: authz.AuthSecretPost, SecretHash: hash("secret"), RedirectURIs: []string{"https://self.example/cb"},
		GrantTypes: []string{authz.AuthorizationCode}, Ceiling: []string{"view"}, CreatedAt: evening, Management: hash("management of " + id),
		Settings: authz.ClientSettings{DPoPBound: true, Registered: &authz.Registered{Allowed: invitation("").Allowed, SoftwareID: "4NRB1-0XZABZI9E6-5SM3R"}},
	}
}

func registering(id string, at time.Time) authz.AuditEntry {
	return authz.AuditEntry{At: at, Event: "client.register", Result: "granted", Client: id}
}

// An invitation is found until its end, listed, and can be taken back.
func invitationsEnd(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	first, second := invitation("first"), invitation("second")
	second.CreatedAt, second.Allowed = evening.Add(time.Minute), authz.Allowed{}
	must(t, store.AddRegistrationToken(ctx, first))
	must(t, store.AddRegistrationToken(ctx, second))
	refused(t, "twice", store.AddRegistrationToken(ctx, first), authz.ErrExists)
	last := first.ExpiresAt.Add(-time.Millisecond)
	equal(t, "invitation", get(store.RegistrationToken(ctx, first.Hash, last))(t), first)
	equal(t, "all, newest first", get(store.RegistrationTokens(ctx, last))(t), []authz.RegistrationToken{second, first})
	equal(t, "at their end", len(get(store.RegistrationTokens(ctx, first.ExpiresAt))(t)), 0)
	_, err := store.RegistrationToken(ctx, first.Hash, first.ExpiresAt)
	refused(t, "at its end", err, authz.ErrNotFound)

	must(t, store.EndRegistrationToken(ctx, first.Hash, decision("taken back")))
	equal(t, "on record", get(store.AuditTail(ctx, 9))(t), []authz.AuditEntry{decision("taken back")})
	_, err = store.RegistrationToken(ctx, first.Hash, evening)
	refused(t, "taken back", err, authz.ErrNotFound)
	refused(t, "register with it", store.RegisterClient(ctx, first.Hash, self("app"), registering("app", evening)), authz.ErrNotFound)
	refused(t, "again", store.EndRegistrationToken(ctx, first.Hash, decision("again")), authz.ErrNotFound)
	equal(t, "on record", len(get(store.AuditTail(ctx, 9))(t)), 1)
}

// A use, the client and the entry are kept together or not at all.
func registrationTokens(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	token := invitation("invitation")
	must(t, store.AddRegistrationToken(ctx, token))
	register := func(name, id string, at time.Time) error {
		return store.RegisterClient(ctx, hash(name), self(id), registering(id, at))
	}
	refused(t, "at its end", register("invitation", "late", token.ExpiresAt), authz.ErrNotFound)
	refused(t, "unknown", register("nothing", "stranger", evening), authz.ErrNotFound)
	refused(t, "an id in use", register("invitation", "phone", evening), authz.ErrExists)
	equal(t, "nothing was used", get(store.RegistrationToken(ctx, token.Hash, evening))(t), token)
	equal(t, "nothing is on record", len(get(store.AuditTail(ctx, 9))(t)), 0)
	equal(t, "nobody was added", len(get(store.Clients(ctx))(t)), 1)

	must(t, register("invitation", "one", token.ExpiresAt.Add(-time.Millisecond)))
	equal(t, "client", get(store.Client(ctx, "one"))(t), self("one"))
	equal(t, "on record", get(store.AuditTail(ctx, 9))(t), []authz.AuditEntry{registering("one", token.ExpiresAt.Add(-time.Millisecond))})
	equal(t, "uses left", get(store.RegistrationToken(ctx, token.Hash, evening))(t).Uses, 2)
	must(t, register("invitation", "two", evening))
	must(t, register("invitation", "three", evening))
	refused(t, "a fourth", register("invitation", "four", evening), authz.ErrNotFound)
	_, err := store.RegistrationToken(ctx, token.Hash, evening)
	refused(t, "used up", err, authz.ErrNotFound)
}

func parallelRegistrations(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	token := invitation("invitation")
	token.Uses = 1
	must(t, store.AddRegistrationToken(ctx, token))
	onlyOne(t, []authz.Store{store, open(t, db)}, crowd, func(store authz.Store, i int) error {
		id := fmt.Sprint("app ", i)
		return store.RegisterClient(ctx, token.Hash, self(id), registering(id, evening))
	}, is(authz.ErrNotFound))
	equal(t, "clients", len(get(store.Clients(ctx))(t)), 2)
	equal(t, "on record", len(get(store.AuditTail(ctx, 9))(t)), 1)
}

// Of another, suspended, gone or added by the operator: nothing changes.
func registeredClientChanges(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	must(t, store.AddClient(ctx, self("app")))
	want := self("app")
	want.Name, want.AuthMethod, want.SecretHash, want.RedirectURIs = "New", authz.AuthNone, nil, []string{"app:/cb"}
	must(t, store.ReplaceClient(ctx, want, registering("app", evening)))
	equal(t, "client", get(store.Client(ctx, "app"))(t), want)

	foreign, nobody, operators := want, want, phone("phone")
	foreign.Name, foreign.Management = "Evil", hash("guess")
	nobody.ID, operators.Name = "nobody", "Evil"
	for _, c := range []authz.Client{foreign, nobody, operators} {
		refused(t, c.ID+" replaced", store.ReplaceClient(ctx, c, registering(c.ID, evening)), authz.ErrNotFound)
		refused(t, c.ID+" removed", store.UnregisterClient(ctx, c.ID, c.Management, registering(c.ID, evening)), authz.ErrNotFound)
	}
	must(t, store.SuspendClient(ctx, "app", evening))
	refused(t, "suspended", store.ReplaceClient(ctx, self("app"), registering("app", evening)), authz.ErrNotFound)
	refused(t, "suspended", store.UnregisterClient(ctx, "app", want.Management, registering("app", evening)), authz.ErrNotFound)
	want.SuspendedAt = evening
	equal(t, "client", get(store.Client(ctx, "app"))(t), want)
	equal(t, "the operator's", get(store.Client(ctx, "phone"))(t), phone("phone"))
	equal(t, "on record", get(store.AuditTail(ctx, 9))(t), []authz.AuditEntry{registering("app", evening)})
}

func registeredClientLeaves(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	must(t, store.AddClient(ctx, self("app")))
	own := permission(2)
	own.To = authz.Subject{Client: "app"}
	must(t, store.AddGrant(ctx, own))
	mint := spec("")
	mint.Parties = authz.Parties{Client: "app", Grant: own.ID, Device: lock(1).ID}
	must(t, store.Mint(ctx, mint, issue(token("before"))))
	leaving := registering("app", evening.Add(time.Minute))
	must(t, store.UnregisterClient(ctx, "app", self("app").Management, leaving))
	_, err := store.Client(ctx, "app")
	refused(t, "client", err, authz.ErrNotFound)
	refused(t, "again", store.UnregisterClient(ctx, "app", self("app").Management, leaving), authz.ErrNotFound)
	stopped(t, "mint", store.Mint(ctx, mint, issue(token("after"))), "client")
	equal(t, "its grant is revoked", get(store.Grant(ctx, own.ID))(t).RevokedAt, leaving.At)
	equal(t, "another's is not", get(store.Grant(ctx, permission(1).ID))(t).RevokedAt, time.Time{})
	entries := get(store.AuditTail(ctx, 9))(t)
	equal(t, "on record", entries[len(entries)-1], leaving)
}
