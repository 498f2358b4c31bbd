package backuptest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/storage"
	"github.com/latchkey-ace/latchkey/storage/backup"
	"github.com/latchkey-ace/latchkey/storage/internal/sqlstore"
	"github.com/latchkey-ace/latchkey/storage/storagetest"
)

func comesBackWhole(t *testing.T, fresh func(t *testing.T) storagetest.Database) {
	db := fresh(t)
	house(t, db)
	before := rows(t, db)
	for table, list := range before {
		if len(list) == 0 && table != "outbox" && table != "client_keys" {
			t.Errorf("table %s is empty: the comparison says nothing of it", table)
		}
	}
	file := save(t, db)
	if got := rows(t, db); !reflect.DeepEqual(got, before) {
		t.Error("the backup has changed the store")
	}
	for _, secret := range [][]byte{storeKey[:], []byte("mother"), []byte("store_key")} {
		if bytes.Contains(file, secret) {
			t.Errorf("the backup shows %q", secret)
		}
	}
	again := fresh(t)
	must(t, restore(t, again, bytes.NewReader(file)))
	after := rows(t, again)
	for _, row := range tableRows(t, again.Raw, "meta") {
		if strings.Contains(row, "restored") {
			after["meta"] = before["meta"]
		}
	}
	if !reflect.DeepEqual(after, before) {
		for table := range before {
			if !reflect.DeepEqual(after[table], before[table]) {
				t.Errorf("table %s:\n got %q\nwant %q", table, after[table], before[table])
			}
		}
	}
	store := open(t, again)
	if made, err := store.Restored(t.Context()); err != nil || !made.Equal(evening) {
		t.Errorf("restored: got %v, %v, want %v", made, err, evening)
	}
	device, err := store.Device(t.Context(), door)
	if err != nil || !bytes.Equal(device.RootKey, hash("root")) || device.SenderID == nil {
		t.Errorf("sealed values do not open, or an empty one became none: %+v, %v", device, err)
	}
	// New rows get numbers of their own.
	must(t, store.Record(t.Context(), authz.AuditEntry{At: evening, Event: "after"}))
}

// isOfOneMoment saves while codes are redeemed: in each backup the tokens are as many as the codes that gave them.
func isOfOneMoment(t *testing.T, fresh func(t *testing.T) storagetest.Database) {
	db := fresh(t)
	store := house(t, db)
	before := len(tableRows(t, db.Raw, "tokens"))
	ctx, stop := context.WithCancel(t.Context())
	var busy sync.WaitGroup
	started := make(chan struct{})
	busy.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			name := "busy" + time.Duration(n).String()
			var token authz.TokenRecord
			err := errors.Join(store.AddCode(context.Background(), code(name, evening), nil),
				store.Mint(context.Background(), spec(name, evening.Add(time.Second)), issue(evening, nil, &token)))
			if err != nil {
				t.Errorf("mint while a backup is made: %v", err)
				return
			}
			if n == 20 {
				close(started)
			}
		}
	})
	<-started
	files := [][]byte{save(t, db), save(t, db), save(t, db)}
	stop()
	busy.Wait()
	for _, file := range files {
		again := fresh(t)
		must(t, restore(t, again, bytes.NewReader(file)))
		tokens := len(tableRows(t, again.Raw, "tokens")) - before
		audit, redeemed := len(tableRows(t, again.Raw, "audit")), 0
		for _, row := range tableRows(t, again.Raw, "codes") {
			if !strings.Contains(row, "consumed_at int64 0;") {
				redeemed++
			}
		}
		if tokens < 20 || redeemed-1 != tokens || audit-3 != tokens {
			t.Errorf("%d tokens, %d redeemed codes, %d entries: of more than one moment", tokens, redeemed-1, audit-3)
		}
	}
}

func badBackups(t *testing.T, fresh func(t *testing.T) storagetest.Database) {
	db := fresh(t)
	store := house(t, db)
	for range 40 { // several chunks: the first may be good where a later one is not
		must(t, store.Record(t.Context(), authz.AuditEntry{At: evening, Event: "long", Reason: strings.Repeat("x", 8000)}))
	}
	good := save(t, db)
	if len(good) < 4*64<<10 {
		t.Fatalf("only %d bytes", len(good))
	}
	_, another, err := backup.GenerateKey()
	must(t, err)
	flipped := func(at int) []byte {
		file := bytes.Clone(good)
		file[at] ^= 1
		return file
	}
	tests := []struct {
		name string
		file []byte
		key  string
	}{
		{"another key", good, another},
		{"nothing", nil, secretKey},
		{"no backup", []byte(strings.Repeat("no backup\n", 100)), secretKey},
		{"a bit of the header", flipped(60), secretKey},
		{"a bit of the first row", flipped(len(good) / 3), secretKey},
		{"a bit of the last", flipped(len(good) - 1), secretKey},
		{"without the last byte", good[:len(good)-1], secretKey},
		{"a bit in the middle", flipped(len(good) / 2), secretKey},
		{"without the last chunk", good[:len(good)/(64<<10)*(64<<10)], secretKey},
		{"half of it", good[:len(good)/2], secretKey},
		{"one byte more", append(bytes.Clone(good), 0), secretKey},
	}
	for _, tt := range tests {
		keys, err := backup.ParseKeys(strings.NewReader(tt.key))
		must(t, err)
		empty := fresh(t)
		ready := func(backup.Header, storage.StoreKey) error { t.Errorf("%s: taken for good", tt.name); return nil }
		_, _, err = storage.Restore(t.Context(), empty.URL, bytes.NewReader(tt.file), storage.RestoreOptions{Keys: keys, Ready: ready})
		if err == nil {
			t.Errorf("%s: restored", tt.name)
		}
		if tt.key == another {
			refused(t, tt.name, err, backup.ErrKey)
		}
		must(t, restore(t, empty, bytes.NewReader(good))) // nothing was left in its way
	}
	// What the caller has to do last fails: nothing is left of that either.
	empty, mine := fresh(t), errors.New("mine")
	keys, err := backup.ParseKeys(strings.NewReader(secretKey))
	must(t, err)
	_, _, err = storage.Restore(t.Context(), empty.URL, bytes.NewReader(good),
		storage.RestoreOptions{Keys: keys, Ready: func(backup.Header, storage.StoreKey) error { return mine }})
	refused(t, "not ready", err, mine)
	must(t, restore(t, empty, bytes.NewReader(good)))
}

func notEmpty(t *testing.T, fresh func(t *testing.T) storagetest.Database) {
	db, other := fresh(t), fresh(t)
	house(t, db)
	file := save(t, db)
	store := open(t, other)
	must(t, store.AddUser(t.Context(), authz.User{Name: "bob", CreatedAt: evening}))
	before := rows(t, other)
	refused(t, "a store with a user", restore(t, other, bytes.NewReader(file)), storage.ErrNotEmpty)
	refused(t, "the store itself", restore(t, db, bytes.NewReader(file)), storage.ErrNotEmpty)
	if after := rows(t, other); !reflect.DeepEqual(after, before) {
		t.Error("the store was changed")
	}
}

func onlyRead(t *testing.T, fresh func(t *testing.T) storagetest.Database) {
	db := fresh(t)
	house(t, db)
	store, again := restored(t, fresh, save(t, db))
	ctx, at := t.Context(), evening.Add(time.Minute)
	var token authz.TokenRecord
	_, end := store.End(ctx, authz.EndSpec{Client: "phone"}, at)
	_, revoke := store.Revoke(ctx, forMum, at)
	_, sequence := store.NextSequence(ctx, door, authz.SequenceNews, at)
	_, lease := store.Lease(ctx, "leader", "other", morning.AddDate(1, 0, 0), morning.AddDate(2, 0, 0))
	_, due := store.Due(ctx, morning, morning, 10)
	for what, err := range map[string]error{
		"mint":          store.Mint(ctx, spec("open", at), issue(at, nil, &token)),
		"live":          store.Live(ctx, authz.Parties{Device: door}, at),
		"code":          store.AddCode(ctx, code("new", at), nil),
		"login":         store.AddLogin(ctx, authz.Login{Hash: hash("new"), User: "mother", ExpiresAt: morning}),
		"end login":     store.EndLogin(ctx, hash("session")),
		"grant":         store.AddGrant(ctx, authz.Grant{ID: forMum, To: authz.Subject{User: "mother"}, Device: door, Rights: aif.New(unlock)}),
		"user":          store.AddUser(ctx, authz.User{Name: "bob"}),
		"client":        store.AddClient(ctx, authz.Client{ID: "new"}),
		"device":        store.AddDevice(ctx, authz.Device{ID: api, RootKey: hash("new")}),
		"registration":  store.Register(ctx, door, authz.Registration{Address: "192.0.2.1:5683", SeenAt: at}),
		"signing key":   store.AddSigningKey(ctx, authz.SigningKey{ID: "2", Private: hash("2")}),
		"spend":         store.Spend(ctx, forMum, unlock),
		"use":           store.UseOnce(ctx, at, authz.Use{Kind: "dpop", Value: hash("new"), Until: morning}),
		"pushed":        store.AddRequest(ctx, authz.PushedRequest{Hash: hash("new"), ExpiresAt: morning}),
		"device code":   store.AddDeviceCode(ctx, authz.DeviceCode{Hash: hash("new"), UserCode: "EFGH"}),
		"told":          store.Told(ctx, at, 1),
		"log read":      store.LogRead(ctx, door, at),
		"end":           end,
		"revoke":        revoke,
		"sequence":      sequence,
		"lease":         lease,
		"due":           due,
		"another store": open(t, again).AddUser(ctx, authz.User{Name: "bob"}),
	} {
		refused(t, what, err, authz.ErrRestored)
	}
	if !strings.Contains(authz.ErrRestored.Error(), "latchkey recover") {
		t.Errorf("%q does not say what to do", authz.ErrRestored)
	}
	if n, err := store.Sweep(ctx, morning.AddDate(1, 0, 0), 100); n != 0 || err != nil {
		t.Errorf("sweep: %d rows, %v", n, err)
	}
	must(t, store.Record(ctx, authz.AuditEntry{At: at, Event: "token", Result: "refused"}))
	keys, err := store.SigningKeys(ctx)
	if err != nil || len(keys) != 1 || !bytes.Equal(keys[0].Private, hash("signing")) {
		t.Errorf("keys: %d, %v", len(keys), err)
	}
	if _, err := store.Code(ctx, hash("open")); err != nil {
		t.Errorf("read: %v", err)
	}
}

// everyTable: who adds a table decides what Recover does to it, and that it is in a backup.
func everyTable(t *testing.T, fresh func(t *testing.T) storagetest.Database) {
	db := fresh(t)
	open(t, db)
	saved := map[string]bool{}
	keys, err := backup.ParseKeys(strings.NewReader(secretKey))
	must(t, err)
	r, err := backup.Open(bytes.NewReader(save(t, db)), keys)
	must(t, err)
	for {
		table, _, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		saved[table.Name] = true
	}
	for _, table := range tableNames(t, db) {
		if !saved[table] {
			t.Errorf("table %s is in no backup", table)
		}
		if !sqlstore.Recovers(table) {
			t.Errorf("table %s: say in storage/internal/sqlstore/recover.go what recover does to it", table)
		}
	}
}

// Moves checks that a backup of one engine comes back whole on another, and again on the first.
func Moves(t *testing.T, from, to func(t *testing.T) storagetest.Database) {
	first, second, third := from(t), to(t), from(t)
	house(t, first)
	must(t, restore(t, second, bytes.NewReader(save(t, first))))
	recovered(t, open(t, second), morning)
	saved := save(t, second)
	must(t, restore(t, third, bytes.NewReader(saved)))
	store := open(t, third)
	recovered(t, store, morning)
	device, err := store.Device(t.Context(), door)
	if err != nil || !bytes.Equal(device.RootKey, hash("root")) || !device.Private || device.Remote {
		t.Errorf("the device after two moves: %+v, %v", device, err)
	}
	before, after := rows(t, first), rows(t, third)
	for _, table := range []string{"users", "clients", "peers", "grants", "signing_keys", "client_keys", "uses", "outbox"} {
		if !reflect.DeepEqual(after[table], before[table]) {
			t.Errorf("table %s:\n got %q\nwant %q", table, after[table], before[table])
		}
	}
}
