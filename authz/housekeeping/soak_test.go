package housekeeping_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/housekeeping"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// evenings are how many of them are played: some in each run of the tests, more in a soak.
func evenings() int {
	if os.Getenv("LATCHKEY_SOAK") != "" {
		return 60
	}
	return 4
}

// tables are all whose rows come and go.
var tables = []string{
	"codes", "logins", "client_keys", "tokens", "families", "requests", "device_codes", "uses", "trl_updates", "outbox", "leases",
	"invitations_to_register", "grants", "sequences", "counters", "peers", "clients", "users", "devices", "audit",
}

// TestSoakTablesReturnToTheBaseline lives through evenings of tokens, a week apart, with housekeeping in between. No table
// grows with the number of evenings, and when all has expired each is as it was.
func TestSoakTablesReturnToTheBaseline(t *testing.T) {
	onBoth(t, func(t *testing.T, d *database) {
		v := &village{t: t, d: d, store: d.open()}
		v.build()
		k := housekeeping.New(v.store, housekeeping.Options{
			Holder: "one", Retention: 100 * 24 * time.Hour, Now: d.clock.now, Wait: func(context.Context, time.Duration) error { return nil },
		})
		turn := func() {
			if _, err := k.Turn(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		v.live(0)     // lets the counters and the sequence of the device be there
		for range 2 { // that tokens left the revocation list is news for a month, too
			d.clock.move(1000 * 24 * time.Hour)
			turn()
		}
		before := v.count()
		highest := map[string]int{}
		for n := range evenings() {
			v.live(n + 1)
			turn()
			d.clock.move(7 * 24 * time.Hour)
			turn()
			for table, rows := range v.count() {
				if n < 2 {
					highest[table] = max(highest[table], rows)
				} else if lasting := lasts[table]; rows > highest[table]*max(1, lasting) {
					t.Errorf("evening %d: %d rows in %s, %d in the first", n, rows, table, highest[table])
				}
			}
		}
		d.clock.move(1000 * 24 * time.Hour)
		turn()
		for table, rows := range v.count() {
			if rows != before[table] {
				t.Errorf("%s: %d rows, %d before", table, rows, before[table])
			}
		}
		if _, err := v.store.VerifyAudit(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// lasts is for how many weeks the rows of a table stay, where that is more than one.
var lasts = map[string]int{"client_keys": 60, "trl_updates": 6, "grants": 16, "audit": 16}

// village is a store in which things happen.
type village struct {
	t     *testing.T
	d     *database
	store authz.Store
}

var (
	gate      = provision.DeviceID{1}
	threshold = aif.New(aif.Entry{Path: "/gate", Methods: aif.POST})
)

func (v *village) must(errs ...error) {
	v.t.Helper()
	if err := errors.Join(errs...); err != nil {
		v.t.Fatal(err)
	}
}

func (v *village) build() {
	ctx := v.t.Context()
	v.must(
		v.store.AddUser(ctx, authz.User{Name: "alice"}), v.store.AddClient(ctx, authz.Client{ID: "phone"}),
		v.store.AddDevice(ctx, authz.Device{ID: gate, Name: "gate", Owner: "alice", RootKey: make([]byte, 32), Delivery: authz.DeliveryPush}),
	)
}

func (v *village) count() map[string]int {
	all := map[string]int{}
	for _, table := range tables {
		all[table] = v.d.rows(table)
	}
	return all
}

func digest(what string, n, i int) []byte {
	sum := sha256.Sum256(fmt.Append(nil, what, n, i))
	return sum[:]
}

// live is one evening: what is used, what is left lying, and what is ended.
func (v *village) live(n int) {
	ctx, now := v.t.Context(), v.d.clock.now()
	for i := range 6 {
		id := func(what string) []byte { return digest(what, n, i) }
		g := authz.Grant{ID: pop.GrantID(id("grant")[:8]), Owner: "alice", To: authz.Subject{User: "alice"}, Device: gate, Rights: threshold, Until: now.Add(3 * time.Hour)}
		v.must(
			v.store.AddGrant(ctx, g),
			v.store.AddLogin(ctx, authz.Login{Hash: id("login"), User: "alice", ExpiresAt: now.Add(authz.LoginLife)}),
			v.store.AddRequest(ctx, authz.PushedRequest{Hash: id("request"), ExpiresAt: now.Add(time.Minute)}),
			v.store.AddDeviceCode(ctx, authz.DeviceCode{Hash: id("device code"), UserCode: string(id("user code")[:6]), Device: gate, ExpiresAt: now.Add(10 * time.Minute)}),
			v.store.AddRegistrationToken(ctx, authz.RegistrationToken{Hash: id("invitation"), ExpiresAt: now.Add(time.Hour)}),
			v.store.AddCode(ctx, authz.CodeGrant{Hash: id("unused"), IssuedAt: now, ExpiresAt: now.Add(time.Minute)}, nil),
			v.store.AddCode(ctx, authz.CodeGrant{Hash: id("code"), Device: gate, Grant: g.ID, IssuedAt: now, ExpiresAt: now.Add(time.Minute)}, nil),
			v.mint(g, id),
		)
		switch i % 3 {
		case 0:
			_, err := v.store.Revoke(ctx, g.ID, now)
			v.must(err)
		case 1:
			_, err := v.store.End(ctx, authz.EndSpec{Code: id("code"), Audit: authz.AuditEntry{At: now, Event: "end"}}, now)
			v.must(err)
		}
	}
	due, err := v.store.Due(ctx, now, now.Add(time.Minute), 2)
	v.must(err)
	for _, m := range due {
		v.must(v.store.Told(ctx, now, m.ID))
	}
}

func (v *village) mint(g authz.Grant, id func(string) []byte) error {
	now := v.d.clock.now()
	spec := authz.MintSpec{
		Now: now, Parties: authz.Parties{Client: "phone", User: "alice", Grant: g.ID, Device: gate}, Code: id("code"), ClientKey: id("key"),
		Proofs: []authz.Use{{Kind: "dpop", Value: id("proof"), Until: now.Add(5 * time.Minute)}}, Audit: authz.AuditEntry{At: now, Event: "token"},
	}
	return v.store.Mint(v.t.Context(), spec, func(m authz.Minting) (authz.Issued, error) {
		f := authz.Family{ID: authz.FamilyID(id("family")[:16]), Client: "phone", User: "alice", Device: gate, Grant: g.ID, Code: id("code"),
			Material: pop.InputMaterial{ID: []byte{1}, MasterSecret: id("secret")}, ExpiresAt: now.Add(24 * time.Hour)}
		return authz.Issued{Family: &f, Token: authz.TokenRecord{
			ID: binary.BigEndian.AppendUint64(gate[:], m.Sequence), Hash: append([]byte{1}, id("token")...), Device: gate, Grant: g.ID, Client: "phone",
			User: "alice", Code: id("code"), Family: f.ID, Claims: id("claims"), IssuedAt: now, Expires: now.Add(time.Hour),
		}}, nil
	})
}
