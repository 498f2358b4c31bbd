package postgres_test

import (
	"database/sql"
	"encoding/binary"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/storage"
	"github.com/latchkey-ace/latchkey/storage/storagetest/pgtest"
)

var (
	now    = time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)
	device = provision.DeviceID{1}
	grant  = pop.GrantID{1}
)

// twoNodes are two servers on one PostgreSQL, with a device, a client, two people and a grant.
func twoNodes(t *testing.T) (one, two authz.Store, raw *sql.DB) {
	t.Helper()
	url, ctx := pgtest.Start(t), t.Context()
	raw, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	var stores []authz.Store
	for range 2 {
		s, err := storage.Open(ctx, url, storage.Options{Key: storage.StoreKey{1}, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		stores = append(stores, s)
	}
	one, two = stores[0], stores[1]
	err = errors.Join(
		one.AddUser(ctx, authz.User{Name: "alice"}), one.AddUser(ctx, authz.User{Name: "mother"}),
		one.AddDevice(ctx, authz.Device{ID: device, Name: "front", Owner: "alice", RootKey: make([]byte, 32)}),
		one.AddClient(ctx, authz.Client{ID: "phone"}),
		one.AddGrant(ctx, authz.Grant{ID: grant, Owner: "alice", To: authz.Subject{User: "mother"}, Device: device,
			Rights: aif.New(aif.Entry{Path: "/door", Methods: aif.GET})}),
	)
	if err != nil {
		t.Fatal(err)
	}
	return one, two, raw
}

func mint(t *testing.T, s authz.Store, number byte, during func()) error {
	return s.Mint(t.Context(), authz.MintSpec{Now: now, Parties: authz.Parties{Client: "phone", User: "mother", Grant: grant, Device: device}},
		func(m authz.Minting) (authz.Issued, error) {
			during()
			return authz.Issued{Token: authz.TokenRecord{
				ID: binary.BigEndian.AppendUint64(device[:], m.Sequence), Hash: append([]byte{1, number}, make([]byte, 31)...), Device: device,
				Grant: grant, Client: "phone", User: "mother", IssuedAt: now, Expires: now.Add(time.Hour),
			}}, nil
		})
}

// waits returns once some process waits for a lock of this kind, or reports that done came first.
func waits(t *testing.T, raw *sql.DB, kind string, done <-chan error) bool {
	t.Helper()
	for {
		var n int
		if err := raw.QueryRow(`SELECT COUNT(*) FROM pg_locks WHERE locktype = $1 AND NOT granted`, kind).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			return true
		}
		select {
		case err := <-done:
			t.Errorf("it did not wait: %v", err)
			return false
		default:
			runtime.Gosched()
		}
	}
}

// Whatever stops mints waits for one that has been counted in, on another node, and the next mint waits for it.
func TestGateExcludes(t *testing.T) {
	one, two, raw := twoNodes(t)
	ctx := t.Context()
	end := func(e authz.EndSpec) error { _, err := two.End(ctx, e, now); return err }
	for name, stop := range map[string]func() error{
		"SuspendClient":   func() error { return two.SuspendClient(ctx, "phone", time.Time{}) },
		"SuspendUser":     func() error { return two.SuspendUser(ctx, "mother", time.Time{}) },
		"SuspendDevice":   func() error { return two.SuspendDevice(ctx, device, time.Time{}) },
		"SuspendGrant":    func() error { return two.SuspendGrant(ctx, grant, time.Time{}) },
		"TransferDevice":  func() error { return two.TransferDevice(ctx, device, authz.DeviceActive, "alice", 0) },
		"UpdateClient":    func() error { return two.UpdateClient(ctx, authz.Client{ID: "phone"}) },
		"DeleteClient":    func() error { return ignoreAbsent(two.DeleteClient(ctx, "tablet")) },
		"Revoke":          func() error { _, err := two.Revoke(ctx, pop.GrantID{9}, now); return ignoreAbsent(err) },
		"End of a client": func() error { return end(authz.EndSpec{Client: "phone"}) },
		"End of a token":  func() error { return end(authz.EndSpec{Token: []byte{1}}) },
		"Sweep":           func() error { _, err := two.Sweep(ctx, now, 1); return err },
	} {
		done := make(chan error, 1)
		err := mint(t, one, 0, func() {
			go func() { done <- stop() }()
			if !waits(t, raw, "advisory", done) {
				t.Errorf("%s passed a mint that was on its way", name)
				done <- nil
			}
		})
		if err := errors.Join(err, <-done); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Mints pass together.
	both := make(chan error, 1)
	var devices = provision.DeviceID{2}
	if err := one.AddDevice(ctx, authz.Device{ID: devices, Name: "back", Owner: "alice", RootKey: make([]byte, 32)}); err != nil {
		t.Fatal(err)
	}
	err := mint(t, one, 0, func() {
		both <- two.Mint(ctx, authz.MintSpec{Now: now, Parties: authz.Parties{Device: devices}}, func(m authz.Minting) (authz.Issued, error) {
			return authz.Issued{Token: authz.TokenRecord{ID: binary.BigEndian.AppendUint64(devices[:], m.Sequence), Hash: make([]byte, 33), Device: devices, Expires: now.Add(time.Hour)}}, nil
		})
	})
	if err := errors.Join(err, <-both); err != nil {
		t.Error(err)
	}
}

func ignoreAbsent(err error) error {
	if errors.Is(err, authz.ErrNotFound) {
		return nil
	}
	return err
}

// A row that somebody prolongs while a sweep waits for it stays.
func TestSweepLetsWhatWasProlonged(t *testing.T) {
	one, _, raw := twoNodes(t)
	ctx := t.Context()
	use := authz.Use{Kind: "dpop", Value: []byte{1}, Until: now.Add(time.Minute)}
	if err := one.UseOnce(ctx, now, use); err != nil {
		t.Fatal(err)
	}
	tx, err := raw.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	later := now.Add(time.Hour)
	if _, err := tx.Exec(`UPDATE uses SET expires_at = $1`, later.UnixMilli()); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := one.Sweep(ctx, now.Add(2*time.Minute), 10); done <- err }()
	waits(t, raw, "transactionid", done)
	if err := errors.Join(tx.Commit(), <-done); err != nil {
		t.Fatal(err)
	}
	if err := one.UseOnce(ctx, now.Add(3*time.Minute), authz.Use{Kind: "dpop", Value: []byte{1}, Until: later}); !errors.Is(err, authz.ErrReplayed) {
		t.Errorf("got %v: the sweep has forgotten what was just used", err)
	}
}

// A mint that has to wait, for a row that somebody else holds, holds up nobody who needs another.
func TestOneWhoWaitsHoldsUpNobody(t *testing.T) {
	one, _, raw := twoNodes(t)
	ctx, other := t.Context(), provision.DeviceID{2}
	if err := one.AddDevice(ctx, authz.Device{ID: other, Name: "back", Owner: "alice", RootKey: make([]byte, 32)}); err != nil {
		t.Fatal(err)
	}
	mintFor := func(d provision.DeviceID) error {
		return one.Mint(ctx, authz.MintSpec{Now: now, Parties: authz.Parties{Device: d}}, func(m authz.Minting) (authz.Issued, error) {
			return authz.Issued{Token: authz.TokenRecord{ID: binary.BigEndian.AppendUint64(d[:], m.Sequence), Hash: make([]byte, 33), Device: d, Expires: now.Add(time.Hour)}}, nil
		})
	}
	if err := errors.Join(mintFor(device), mintFor(other)); err != nil {
		t.Fatal(err)
	}
	tx, err := raw.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec(`SELECT value FROM sequences WHERE device_id = $1 FOR UPDATE`, device[:]); err != nil {
		t.Fatal(err)
	}
	const each = 6
	waiting, free := make(chan error, each), make(chan error, each)
	for range each {
		go func() { waiting <- mintFor(device) }()
		go func() { free <- mintFor(other) }()
	}
	for range each {
		if err := <-free; err != nil {
			t.Error(err)
		}
	}
	select {
	case err := <-waiting:
		t.Errorf("it did not wait: %v", err)
	default:
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	for range each {
		if err := <-waiting; err != nil {
			t.Error(err)
		}
	}
}
