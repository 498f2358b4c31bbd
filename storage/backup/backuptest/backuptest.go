// Package backuptest is the contract of backup, restore and recover as tests. Every backend runs it. Start from Run.
package backuptest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/storage"
	"github.com/latchkey-ace/latchkey/storage/backup"
	"github.com/latchkey-ace/latchkey/storage/storagetest"
)

// Run checks the contract; fresh makes an empty database.
func Run(t *testing.T, fresh func(t *testing.T) storagetest.Database) {
	tests := []struct {
		name string
		test func(t *testing.T, fresh func(t *testing.T) storagetest.Database)
	}{
		{"a backup comes back whole", comesBackWhole},
		{"a backup is of one moment", isOfOneMoment},
		{"what is wrong with a backup is told, and nothing is left", badBackups},
		{"only an empty store is restored", notEmpty},
		{"a restored store is only read", onlyRead},
		{"an old backup brings nothing dead to life", oldBackup},
		{"what used up a grant is asked of the device", onceAfterRecover},
		{"recover is whole or nothing", recoverWhole},
		{"recover again ends what came since", recoverAgain},
		{"recover knows every table", everyTable},
		{"a signing key that was withdrawn can be withdrawn again", withdrawnKey},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.test(t, fresh)
		})
	}
}

var (
	evening  = time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)
	morning  = evening.Add(12 * time.Hour)
	storeKey = storage.StoreKey(sha256.Sum256([]byte("store key of the backup contract")))
	door     = provision.DeviceID{0xD0, 7: 1}
	api      = provision.DeviceID{0xA0, 7: 1}
	forMum   = pop.GrantID{0x6A, 7: 1}
	unlock   = aif.Entry{Path: "/door/unlock", Methods: aif.POST}
	family   = authz.FamilyID{0xFA}
)

const issuer = "https://as.example"

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func refused(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got error %v, want %v", what, got, want)
	}
}

func hash(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

func open(t *testing.T, db storagetest.Database) authz.Store {
	t.Helper()
	store, err := storage.Open(context.Background(), db.URL, storage.Options{Key: storeKey, Now: func() time.Time { return evening }})
	must(t, err)
	t.Cleanup(func() { store.Close() })
	return store
}

// house has at least one row in every table.
func house(t *testing.T, db storagetest.Database) authz.Store {
	t.Helper()
	store, ctx := open(t, db), t.Context()
	for _, name := range []string{"alice", "mother"} {
		must(t, store.AddUser(ctx, authz.User{Name: name, PasswordHash: "$argon2id$ü", CreatedAt: evening}))
	}
	must(t, store.AddDevice(ctx, lock()))
	web := authz.Device{ID: api, Name: "api", Owner: "alice", Delivery: authz.DeliveryHTTP, Resource: "https://api.example", RootKey: hash("api"), CreatedAt: evening}
	must(t, store.AddDevice(ctx, web))
	must(t, store.AddClient(ctx, authz.Client{ID: "phone", AuthMethod: authz.AuthNone, RedirectURIs: []string{"app:/done"}, CreatedAt: evening}))
	must(t, store.AddClient(ctx, authz.Client{ID: "gateway", AuthMethod: authz.AuthOSCORE, CreatedAt: evening,
		Channel: &authz.Channel{MasterSecret: hash("channel"), PeerID: []byte{7}, ServerID: []byte{}}}))
	must(t, store.AddGrant(ctx, authz.Grant{ID: forMum, Owner: "alice", To: authz.Subject{User: "mother"}, Device: door,
		Rights: aif.New(unlock), Until: evening.Add(48 * time.Hour), Once: true, CreatedAt: evening}))
	must(t, store.AddSigningKey(ctx, authz.SigningKey{ID: "1", Private: hash("signing"), CreatedAt: evening, From: evening}))
	for _, name := range []string{"redeemed", "open"} {
		must(t, store.AddCode(ctx, code(name, evening), nil))
	}
	must(t, store.AddLogin(ctx, authz.Login{Hash: hash("session"), User: "mother", ExpiresAt: evening.Add(24 * time.Hour)}))
	must(t, store.AddRequest(ctx, authz.PushedRequest{Hash: hash("request"), Client: "phone", Query: "a=b", ExpiresAt: evening.Add(24 * time.Hour)}))
	must(t, store.AddDeviceCode(ctx, authz.DeviceCode{Hash: hash("device code"), UserCode: "ABCD", Client: "phone", Device: door, Pace: 5 * time.Second,
		IssuedAt: evening, ExpiresAt: evening.Add(24 * time.Hour)}))
	must(t, store.AddRegistrationToken(ctx, authz.RegistrationToken{Hash: hash("invitation"), Uses: 3, CreatedAt: evening, ExpiresAt: evening.Add(240 * time.Hour)}))
	must(t, store.AddInstance(ctx, authz.Instance{ID: hash("instance"), Client: "phone", PublicKey: hash("point"), Counter: 7, CreatedAt: evening, ExpiresAt: evening.Add(24 * time.Hour)}))
	must(t, store.UseOnce(ctx, evening, authz.Use{Kind: "dpop", Value: hash("jti"), Until: evening.Add(24 * time.Hour)}))
	if got, err := store.Lease(ctx, "leader", "me", evening, evening.Add(24*time.Hour)); err != nil || !got {
		t.Fatalf("lease: %v, %v", got, err)
	}
	mint(t, store, "redeemed", evening.Add(time.Second), &authz.Family{ID: family, Client: "phone", User: "mother", Device: door, Grant: forMum,
		Rights: aif.New(unlock), Material: pop.InputMaterial{ID: []byte{1}, MasterSecret: hash("possession")}, IssuedAt: evening, ExpiresAt: evening.Add(240 * time.Hour)})
	other := mint(t, store, "", evening.Add(2*time.Second), nil)
	end(t, store, other, evening.Add(3*time.Second))
	return store
}

func lock() authz.Device {
	return authz.Device{
		ID: door, Name: "front door", Owner: "alice", Kind: provision.KindLock, Delivery: authz.DeliveryPush, Profile: pop.ProfileCoAPOSCORE,
		Actions: []provision.Action{{Name: "unlock", Path: "/door/unlock", Methods: aif.POST}}, RootKey: hash("root"), SenderID: []byte{},
		Epoch: uint64(evening.Unix()) - 1000, ExpiresIn: time.Hour, Private: true, CreatedAt: evening,
	}
}

func code(name string, at time.Time) authz.CodeGrant {
	return authz.CodeGrant{Hash: hash(name), Client: "phone", User: "mother", RedirectURI: "app:/done", Device: door, Rights: aif.New(unlock),
		Grant: forMum, IssuedAt: at, ExpiresAt: at.Add(24 * time.Hour)}
}

// spec mints with a code; "" mints without.
func spec(name string, at time.Time) authz.MintSpec {
	s := authz.MintSpec{Now: at, Parties: authz.Parties{Client: "phone", User: "mother", Grant: forMum, Device: door},
		Audit: authz.AuditEntry{At: at, Event: "token", Result: "granted"}}
	if name != "" {
		s.Code = hash(name)
	}
	return s
}

func issue(at time.Time, f *authz.Family, into *authz.TokenRecord) func(authz.Minting) (authz.Issued, error) {
	return func(m authz.Minting) (authz.Issued, error) {
		id := fmt.Appendf(door[:len(door):len(door)], "%08x", m.Sequence&0xFFFFFFFF)
		*into = authz.TokenRecord{ID: id, Hash: append([]byte{1}, hash(string(id))...), Device: door, Grant: forMum, Client: "phone", User: "mother",
			Claims: []byte("sealed"), IssuedAt: at, Expires: at.Add(24 * time.Hour)}
		if f != nil {
			into.Family = f.ID
		}
		return authz.Issued{Token: *into, Family: f}, nil
	}
}

func mint(t *testing.T, store authz.Store, name string, at time.Time, f *authz.Family) (token authz.TokenRecord) {
	t.Helper()
	must(t, store.Mint(t.Context(), spec(name, at), issue(at, f, &token)))
	return token
}

func end(t *testing.T, store authz.Store, token authz.TokenRecord, at time.Time) {
	t.Helper()
	ended, err := store.End(t.Context(), authz.EndSpec{Token: token.ID, Audit: authz.AuditEntry{At: at, Event: "revoke"}}, at)
	if err != nil || len(ended) != 1 {
		t.Fatalf("end: %d tokens, %v", len(ended), err)
	}
}

// keyPair is who can open the backups of these tests.
var publicKey, secretKey, _ = backup.GenerateKey()

func save(t *testing.T, db storagetest.Database) []byte {
	t.Helper()
	to, err := backup.ParseRecipient(publicKey)
	must(t, err)
	var file bytes.Buffer
	_, err = storage.Backup(t.Context(), db.URL, &file, storage.BackupOptions{Key: storeKey, Issuer: issuer, To: to, Now: evening})
	must(t, err)
	return file.Bytes()
}

func restore(t *testing.T, db storagetest.Database, file io.Reader) error {
	t.Helper()
	keys, err := backup.ParseKeys(strings.NewReader(secretKey))
	must(t, err)
	_, _, err = storage.Restore(t.Context(), db.URL, file, storage.RestoreOptions{Keys: keys})
	return err
}

// restored is a store that came back from a backup.
func restored(t *testing.T, fresh func(t *testing.T) storagetest.Database, file []byte) (authz.Store, storagetest.Database) {
	t.Helper()
	db := fresh(t)
	must(t, restore(t, db, bytes.NewReader(file)))
	return open(t, db), db
}

// rows is every row of every table as text, by table.
func rows(t *testing.T, db storagetest.Database) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, table := range tableNames(t, db) {
		all[table] = tableRows(t, db.Raw, table)
	}
	return all
}

func tableNames(t *testing.T, db storagetest.Database) (names []string) {
	t.Helper()
	found, err := db.Raw.Query(db.Tables)
	must(t, err)
	defer found.Close()
	for found.Next() {
		var name string
		must(t, found.Scan(&name))
		// "changed" says that what a process of this database knows is still so; nothing of another one.
		if name != "goose_db_version" && name != "changed" && !strings.HasPrefix(name, "sqlite_") {
			names = append(names, name)
		}
	}
	must(t, found.Err())
	return names
}

func tableRows(t *testing.T, raw *sql.DB, table string) (list []string) {
	t.Helper()
	found, err := raw.Query(`SELECT * FROM ` + table + ` ORDER BY 1, 2`)
	must(t, err)
	defer found.Close()
	columns, err := found.Columns()
	must(t, err)
	for found.Next() {
		values, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		must(t, found.Scan(into...))
		text := ""
		for i, v := range values {
			text += fmt.Sprintf("%s %T %v; ", columns[i], v, v)
		}
		list = append(list, text)
	}
	must(t, found.Err())
	return list
}
