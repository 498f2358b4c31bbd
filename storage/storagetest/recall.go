package storagetest

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
)

// everything is each thing that may be answered from memory, as text.
func everything(ctx context.Context, store authz.Store) (all [8]string) {
	now, next := evening.Add(time.Minute), 0
	note := func(v any, err error) {
		text, unreadable := json.Marshal(v)
		all[next] = fmt.Sprint(string(text), unreadable, err)
		next++
	}
	note(store.Client(ctx, "phone"))
	device := func(d authz.Device, err error) {
		d.Registration = authz.Registration{} // is asked for by itself
		note(d, err)
	}
	device(store.Device(ctx, lock(1).ID))
	device(store.DeviceByName(ctx, lock(1).Name))
	note(store.Registration(ctx, lock(1).ID))
	note(store.DeviceByResource(ctx, "https://api.example/"))
	note(store.GrantsOf(ctx, permission(1).To, lock(1).ID, now))
	t, err := store.Token(ctx, token("kept").ID)
	t.Kept, t.Claims = time.Time{}, nil // how long the row is there is not what memory is asked for
	note(t, err)
	note(nil, store.Live(ctx, everybody(), now))
	return all
}

// Whatever changes, and whichever process changes it: who begins after that sees it.
func recallIsCurrent(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	must(t, store.Mint(ctx, spec(""), issue(token("kept"))))
	other := open(t, db)
	later := evening.Add(30 * time.Second)
	changed, registered := phone("phone"), lock(1).Registration
	changed.RedirectURIs, registered.Address = []string{"app:/other"}, "192.0.2.21:5683"
	second := permission(2)
	second.Until = time.Time{}
	grant := permission(1).ID
	changes := []struct {
		name string
		do   func() error
	}{
		{"client", func() error { return other.UpdateClient(ctx, changed) }},
		{"suspended client", func() error { return other.SuspendClient(ctx, "phone", later) }},
		{"client goes on", func() error { return other.SuspendClient(ctx, "phone", time.Time{}) }},
		{"suspended owner", func() error { return other.SuspendUser(ctx, "alice", later) }},
		{"owner goes on", func() error { return other.SuspendUser(ctx, "alice", time.Time{}) }},
		{"suspended device", func() error { return other.SuspendDevice(ctx, lock(1).ID, later) }},
		{"device goes on", func() error { return other.SuspendDevice(ctx, lock(1).ID, time.Time{}) }},
		{"registration", func() error { return other.Register(ctx, lock(1).ID, registered) }},
		{"suspended grant", func() error { return other.SuspendGrant(ctx, grant, later) }},
		{"grant goes on", func() error { return other.SuspendGrant(ctx, grant, time.Time{}) }},
		{"spent right", func() error { return other.Spend(ctx, grant, aif.Entry{Path: "/door/unlock", Methods: aif.POST}) }},
		{"new grant", func() error { return other.AddGrant(ctx, second) }},
		{"ended token", func() error { return ended(ctx, other, authz.EndSpec{Token: token("kept").ID}, later) }},
		{"ended grant", func() error { _, err := other.Revoke(ctx, grant, later); return err }},
		{"transferred device", func() error { return other.TransferDevice(ctx, lock(1).ID, authz.DeviceActive, "mother", 1) }},
		{"deleted client", func() error { return other.DeleteClient(ctx, "phone") }},
	}
	before := everything(get(store.Recall(ctx))(t), store)
	for _, c := range changes {
		must(t, c.do())
		now, fresh := everything(get(store.Recall(ctx))(t), store), everything(ctx, other)
		for i := range now {
			if now[i] != fresh[i] {
				t.Errorf("after %q memory says\n%s\nand the store\n%s", c.name, now[i], fresh[i])
			}
		}
		if now == before {
			t.Errorf("%q changed nothing that is compared", c.name)
		}
		before = now
	}
}

func ended(ctx context.Context, store authz.Store, spec authz.EndSpec, now time.Time) error {
	spec.Audit = decision("ended")
	_, err := store.End(ctx, spec, now)
	return err
}

// Within one context a record is read once; what is not there, each time; and a grant ends when it does.
func recallHolds(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	within := get(store.Recall(ctx))(t)
	equal(t, "client", get(store.Client(within, "phone"))(t), phone("phone"))
	_, err := store.Client(within, "new")
	refused(t, "no client yet", err, authz.ErrNotFound)
	changed := phone("phone")
	changed.Name = "changed"
	must(t, store.UpdateClient(ctx, changed))
	must(t, store.AddClient(ctx, phone("new")))
	equal(t, "client as it was", get(store.Client(within, "phone"))(t), phone("phone"))
	equal(t, "new client", get(store.Client(within, "new"))(t), phone("new"))
	equal(t, "outside of the context", get(store.Client(ctx, "phone"))(t), changed)

	endless := permission(2)
	endless.Until = time.Time{}
	must(t, store.AddGrant(ctx, endless))
	within = get(store.Recall(ctx))(t)
	ids := func(now time.Time) (ids []pop.GrantID) {
		for _, g := range get(store.GrantsOf(within, permission(1).To, lock(1).ID, now))(t) {
			ids = append(ids, g.ID)
		}
		return ids
	}
	end := permission(1).Until
	equal(t, "grants", ids(end.Add(-time.Millisecond)), []pop.GrantID{permission(1).ID, endless.ID})
	equal(t, "grants at the end of one", ids(end), []pop.GrantID{endless.ID})
	equal(t, "parties", store.Live(within, everybody(), end.Add(-time.Millisecond)), nil)
	refused(t, "parties after the grant", store.Live(within, everybody(), end), authz.ErrGrantEnded)
}
