package storagetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// everybody is mother's phone using what alice gave her.
func everybody() authz.Parties {
	return authz.Parties{Client: "phone", User: "mother", Grant: permission(1).ID, Device: lock(1).ID}
}

// among is a mint without a code for these parties.
func among(p authz.Parties) authz.MintSpec {
	s := spec("")
	s.Parties = p
	return s
}

// stopped wants a *authz.SuspendedError that names what.
func stopped(t *testing.T, name string, err error, what string) {
	t.Helper()
	var gone *authz.SuspendedError
	if !errors.As(err, &gone) || gone.What != what {
		t.Errorf("%s: got error %v, want %v", name, err, &authz.SuspendedError{What: what})
	}
}

// Each party that is stopped stops the mint, spends nothing, and lets it go on when it goes on itself.
func partiesAreChecked(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	device, grant := lock(1).ID, permission(1).ID
	move := func(state authz.DeviceState, owner string) error {
		return store.TransferDevice(ctx, device, state, owner, 0)
	}
	tests := []struct {
		name string
		stop func(at time.Time) error // zero time: go on
		what string
	}{
		{"client", func(at time.Time) error { return store.SuspendClient(ctx, "phone", at) }, "client"},
		{"user", func(at time.Time) error { return store.SuspendUser(ctx, "mother", at) }, "user"},
		{"owner", func(at time.Time) error { return store.SuspendUser(ctx, "alice", at) }, "owner"},
		{"device", func(at time.Time) error { return store.SuspendDevice(ctx, device, at) }, "device"},
		{"grant", func(at time.Time) error { return store.SuspendGrant(ctx, grant, at) }, "grant"},
		{"device without an owner's claim", func(at time.Time) error {
			if at.IsZero() {
				return move(authz.DeviceActive, "alice")
			}
			return move(authz.DeviceUnclaimed, "alice")
		}, "device"},
		{"device of nobody we know", func(at time.Time) error {
			_, err := db.Raw.Exec(`UPDATE devices SET owner = '` + map[bool]string{true: "alice", false: "nobody"}[at.IsZero()] + `'`)
			return err
		}, "owner"},
	}
	for i, tt := range tests {
		must(t, tt.stop(evening))
		s := among(everybody())
		s.Code, s.Proofs = hash("code"), []authz.Use{{Kind: "jti", Value: []byte{1}, Until: evening.Add(time.Hour)}}
		stopped(t, tt.name+": mint", store.Mint(ctx, s, issue(token("none"))), tt.what)
		stopped(t, tt.name+": live", store.Live(ctx, everybody(), evening), tt.what)
		equal(t, tt.name+": code", get(store.Code(ctx, hash("code")))(t), code("code"))
		must(t, tt.stop(time.Time{}))
		must(t, store.Live(ctx, everybody(), evening))
		must(t, store.Mint(ctx, among(everybody()), issue(token(fmt.Sprint("lifted ", i)))))
	}
	s := among(everybody()) // neither code nor proof was spent
	s.Code, s.Proofs = hash("code"), []authz.Use{{Kind: "jti", Value: []byte{1}, Until: evening.Add(time.Hour)}}
	must(t, store.Mint(ctx, s, issue(token("after all"))))
	equal(t, "owner", get(store.Device(ctx, device))(t).Owner, "alice")
}

// What is not there stops the mint like what is suspended, and nobody uses another's rights.
func missingParties(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	must(t, store.AddDevice(ctx, lock(2)))
	elsewhere := permission(2)
	elsewhere.Device = lock(2).ID
	must(t, store.AddGrant(ctx, elsewhere))
	bobs := permission(3)
	bobs.Owner = "bob"
	must(t, store.AddGrant(ctx, bobs))
	both := func(name string, change func(*authz.Parties), want func(error)) {
		p := everybody()
		change(&p)
		want(store.Mint(ctx, among(p), issue(token("none"))))
		want(store.Live(ctx, p, evening))
	}
	for name, tt := range map[string]struct {
		change func(*authz.Parties)
		what   string
	}{
		"unknown client":                 {func(p *authz.Parties) { p.Client = "tablet" }, "client"},
		"unknown user":                   {func(p *authz.Parties) { p.User = "father" }, "user"},
		"grant of another owner":         {func(p *authz.Parties) { p.Grant = bobs.ID }, "grant"},
		"the owner's rights by a guest":  {func(p *authz.Parties) { p.Grant = pop.GrantID{} }, "owner"},
		"client that is spelt otherwise": {func(p *authz.Parties) { p.Client = "Phone" }, "client"},
	} {
		both(name, tt.change, func(err error) { t.Helper(); stopped(t, name, err, tt.what) })
	}
	for name, change := range map[string]func(*authz.Parties){
		"unknown grant":           func(p *authz.Parties) { p.Grant = pop.GrantID{9} },
		"unknown device":          func(p *authz.Parties) { p.Device = provision.DeviceID{9} },
		"grant of another device": func(p *authz.Parties) { p.Grant = elsewhere.ID },
	} {
		both(name, change, func(err error) { t.Helper(); refused(t, name, err, authz.ErrNotFound) })
	}
	own := authz.Parties{Client: "phone", User: "alice", Device: lock(1).ID}
	must(t, store.Mint(ctx, among(own), issue(token("owner"))))
	must(t, store.Live(ctx, authz.Parties{Device: lock(1).ID}, evening))
	for _, odd := range []string{"a\x00b", "a\xffb"} {
		refused(t, "odd client", store.Live(ctx, authz.Parties{Device: lock(1).ID, Client: odd}, evening), authz.ErrNotFound)
		refused(t, "odd user", store.Live(ctx, authz.Parties{Device: lock(1).ID, User: odd}, evening), authz.ErrNotFound)
	}
}

// A device that changes hands leaves the earlier owner's grants and rights behind, also when it comes back.
func transferredDevice(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	device, epoch := lock(1).ID, lock(1).Epoch
	alice := authz.Parties{Client: "phone", User: "alice", Device: device}
	must(t, store.TransferDevice(ctx, device, authz.DeviceActive, "mother", epoch+10))
	stopped(t, "earlier owner's own rights", store.Live(ctx, alice, evening), "owner")
	refused(t, "earlier owner's grant", store.Live(ctx, everybody(), evening), authz.ErrGrantEnded)
	stopped(t, "earlier owner's own rights", store.Mint(ctx, among(alice), issue(token("none"))), "owner")
	refused(t, "earlier owner's grant", store.Mint(ctx, among(everybody()), issue(token("none"))), authz.ErrGrantEnded)
	equal(t, "epoch", get(store.Device(ctx, device))(t).Epoch, epoch+10)

	must(t, store.TransferDevice(ctx, device, authz.DeviceActive, "alice", epoch))
	equal(t, "epoch never goes back", get(store.Device(ctx, device))(t).Epoch, epoch+10)
	must(t, store.Live(ctx, alice, evening))
	refused(t, "grant of an earlier time of ownership", store.Live(ctx, everybody(), evening), authz.ErrGrantEnded)
	again := permission(2)
	must(t, store.AddGrant(ctx, again))
	must(t, store.TransferDevice(ctx, device, authz.DeviceActive, "alice", epoch+20)) // to oneself: a new epoch, no new owner
	p := everybody()
	p.Grant = again.ID
	must(t, store.Mint(ctx, among(p), issue(token("again"))))
}

// A decommissioned device mints nothing and never comes back; it is still told the news.
func decommissionedDevice(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	device := lock(1).ID
	must(t, store.TransferDevice(ctx, device, authz.DeviceDecommissioned, "alice", 0))
	stopped(t, "mint", store.Mint(ctx, among(everybody()), issue(token("none"))), "device")
	for _, state := range []authz.DeviceState{authz.DeviceActive, authz.DeviceUnclaimed} {
		refused(t, "back to "+string(state), store.TransferDevice(ctx, device, state, "alice", 0), authz.ErrNotFound)
	}
	equal(t, "state", get(store.Device(ctx, device))(t).State, authz.DeviceDecommissioned)
	get(store.NextSequence(ctx, device, authz.SequenceNews, evening))(t)
	if err := store.TransferDevice(ctx, device, "asleep", "alice", 0); err == nil {
		t.Error("a state that does not exist was stored")
	}
}

// A time that would be stored as "not suspended" is refused.
func suspensionNeedsATime(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	for _, at := range []time.Time{time.Unix(0, 0), time.Unix(-1, 0)} {
		for what, suspend := range map[string]func() error{
			"client": func() error { return store.SuspendClient(ctx, "phone", at) },
			"user":   func() error { return store.SuspendUser(ctx, "mother", at) },
			"device": func() error { return store.SuspendDevice(ctx, lock(1).ID, at) },
			"grant":  func() error { return store.SuspendGrant(ctx, permission(1).ID, at) },
		} {
			if err := suspend(); err == nil {
				t.Errorf("%s suspended at %v: nobody would see it", what, at)
			}
		}
	}
	refused(t, "unknown client", store.SuspendClient(ctx, "tablet", evening), authz.ErrNotFound)
	refused(t, "unknown user", store.SuspendUser(ctx, "father", evening), authz.ErrNotFound)
	refused(t, "unknown device", store.SuspendDevice(ctx, lock(2).ID, evening), authz.ErrNotFound)
	refused(t, "unknown grant", store.SuspendGrant(ctx, permission(2).ID, evening), authz.ErrNotFound)
	refused(t, "unknown device to transfer", store.TransferDevice(ctx, lock(2).ID, authz.DeviceActive, "alice", 1), authz.ErrNotFound)
	must(t, store.SuspendUser(ctx, "mother", evening))
	equal(t, "user", get(store.User(ctx, "mother"))(t).SuspendedAt, evening)
}

// What a client may change changes; the rest stays.
func clientsChangeAndGo(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	must(t, store.SuspendClient(ctx, "phone", evening))
	want := phone("phone")
	want.SuspendedAt = evening
	want.AuthMethod, want.SecretHash, want.RedirectURIs = authz.AuthPrivateKey, nil, []string{"app:/other"}
	want.GrantTypes, want.ClientMadeKeys, want.Ceiling = []string{authz.RefreshToken}, false, nil
	want.Name, want.Keys, want.Serves, want.Management = "Phone", `{"keys":[]}`, lock(1).ID, hash("management")
	want.Settings = authz.ClientSettings{RequirePAR: true, DPoPBound: true, TLSSubject: "CN=phone"}
	asked := want
	asked.Channel, asked.SuspendedAt, asked.CreatedAt = nil, time.Time{}, time.Time{} // not its to change
	must(t, store.UpdateClient(ctx, asked))
	equal(t, "client", get(store.Client(ctx, "phone"))(t), want)
	refused(t, "unknown client", store.UpdateClient(ctx, authz.Client{ID: "tablet"}), authz.ErrNotFound)
	asked.Name = "a\x00b"
	if err := store.UpdateClient(ctx, asked); err == nil || errors.Is(err, authz.ErrNotFound) {
		t.Errorf("a name that cannot be stored: got %v", err)
	}
	equal(t, "client", get(store.Client(ctx, "phone"))(t), want)

	must(t, store.DeleteClient(ctx, "phone"))
	refused(t, "again", store.DeleteClient(ctx, "phone"), authz.ErrNotFound)
	_, err := store.Client(ctx, "phone")
	refused(t, "client", err, authz.ErrNotFound)
	_, err = store.Peer(ctx, want.Channel.PeerID)
	refused(t, "peer", err, authz.ErrNotFound)
	stopped(t, "mint", store.Mint(ctx, among(everybody()), issue(token("none"))), "client")
	other := phone("tablet")
	other.Channel.PeerID = want.Channel.PeerID
	must(t, store.AddClient(ctx, other)) // the id of its channel is free
}

// Times of signing keys change together or not at all.
func signingKeysChange(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	first := authz.SigningKey{ID: "1", Private: []byte{1}, CreatedAt: evening, From: evening}
	second := authz.SigningKey{ID: "2", Private: []byte{2}, CreatedAt: evening.Add(time.Hour), From: evening.Add(2 * time.Hour)}
	must(t, store.AddSigningKey(ctx, first))
	must(t, store.AddSigningKey(ctx, second))
	changed, unknown := first, authz.SigningKey{ID: "3", Until: evening}
	changed.Until, changed.Withdrawn = evening.Add(3*time.Hour), evening.Add(4*time.Hour)
	refused(t, "one unknown", store.UpdateSigningKeys(ctx, changed, unknown), authz.ErrNotFound)
	equal(t, "keys", get(store.SigningKeys(ctx))(t), []authz.SigningKey{second, first})
	stripped := changed
	stripped.Private, stripped.CreatedAt = nil, time.Time{}
	second.From = evening.Add(3 * time.Hour)
	must(t, store.UpdateSigningKeys(ctx, stripped, second))
	equal(t, "keys", get(store.SigningKeys(ctx))(t), []authz.SigningKey{second, changed})
}
