package storagetest

import (
	"errors"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/attest"
)

// verdict is what was found out about an app instance.
func verdict() attest.Verdict {
	return attest.Verdict{Kind: attest.AppAttest, App: "TEAM.example.door", Key: attest.KeyHardware, System: attest.SystemVerified, At: evening}
}

func instance(name string) authz.Instance {
	return authz.Instance{
		ID: hash(name), Client: "phone", App: "TEAM.example.door", PublicKey: hash("point"), Verdict: verdict(), Counter: 4_000_000_000,
		Serials:   []string{"1f", "2e"},
		CreatedAt: evening, ExpiresAt: evening.Add(time.Hour),
	}
}

func instances(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	want := instance("one")
	must(t, store.AddInstance(ctx, want))
	refused(t, "twice", store.AddInstance(ctx, want), authz.ErrExists)
	equal(t, "instance", get(store.Instance(ctx, "phone", want.ID, evening))(t), want)
	for _, tt := range []struct {
		name, client string
		id           []byte
		at           time.Time
	}{
		{"of another client", "gateway", want.ID, evening}, {"unknown", "phone", hash("two"), evening},
		{"without an id", "phone", nil, evening}, {"at its end", "phone", want.ID, want.ExpiresAt},
	} {
		_, err := store.Instance(ctx, tt.client, tt.id, tt.at)
		refused(t, tt.name, err, authz.ErrNotFound)
	}
	later := want.ExpiresAt.Add(time.Hour)
	refused(t, "the same count", store.CountInstance(ctx, want.ID, want.Counter, later), authz.ErrReplayed)
	refused(t, "a lower count", store.CountInstance(ctx, want.ID, 1, later), authz.ErrReplayed)
	refused(t, "of nothing", store.CountInstance(ctx, hash("two"), 1, later), authz.ErrReplayed)
	equal(t, "unchanged", get(store.Instance(ctx, "phone", want.ID, evening))(t), want)
	want.Counter, want.ExpiresAt = 4_294_967_295, later
	must(t, store.CountInstance(ctx, want.ID, want.Counter, later))
	equal(t, "counted", get(store.Instance(ctx, "phone", want.ID, evening))(t), want)
}

func parallelCounts(t *testing.T, db Database) {
	store := house(t, db)
	must(t, store.AddInstance(t.Context(), instance("one")))
	onlyOne(t, []authz.Store{store, open(t, db)}, crowd, func(store authz.Store, _ int) error {
		return store.CountInstance(t.Context(), hash("one"), 4_000_000_001, evening.Add(time.Hour))
	}, func(err error) bool { return errors.Is(err, authz.ErrReplayed) })
}

func demandsAreReplaced(t *testing.T, db Database) {
	ctx, store, other := t.Context(), house(t, db), open(t, db)
	want := get(store.Device(ctx, lock(1).ID))(t)
	get(other.Device(ctx, want.ID))(t)
	for _, demands := range []map[string]attest.Demand{
		{"view": {System: attest.SystemDegraded}, "unlock": {Key: attest.KeyStrongBox}}, nil, {"unlock": {MaxAge: time.Minute}},
	} {
		must(t, store.SetDemands(ctx, want.ID, demands))
		want.Demands = demands
		equal(t, "here", get(store.Device(ctx, want.ID))(t), want)
		equal(t, "in another process", get(other.Device(ctx, want.ID))(t), want)
	}
	must(t, store.SetDemands(ctx, want.ID, map[string]attest.Demand{"fly": {Key: attest.KeyHardware}}))
	want.Demands = nil
	equal(t, "of no action", get(store.Device(ctx, want.ID))(t), want)
	refused(t, "no device", store.SetDemands(ctx, lock(9).ID, nil), authz.ErrNotFound)
}
