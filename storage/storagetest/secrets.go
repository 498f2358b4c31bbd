package storagetest

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/storage"
)

func noSecretInClear(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	signer := authz.SigningKey{ID: "1", Private: hash("private key of the server"), CreatedAt: evening}
	must(t, store.AddSigningKey(ctx, signer))
	must(t, store.AddDevice(ctx, importedLock(2)))
	s := spec("code")
	s.ClientKey = hash("client-made key")
	must(t, store.Mint(ctx, s, issue(token("one"))))
	f, opaque := family("secret"), token("opaque")
	opaque.Claims = []byte("claims that hold a possession key")
	found(t, store, f, opaque)
	get(refresh(t, store, authz.RefreshUse{Family: f.ID, Rotate: true}, time.Minute))(t)
	typed := deviceCode("device code of 128 bits")
	typed.UserCode = "WDJBMJHTQZ"
	must(t, store.AddDeviceCode(ctx, typed))
	must(t, store.AddRegistrationToken(ctx, authz.RegistrationToken{Hash: hash("initial access token")}))
	must(t, store.AddLogin(ctx, authz.Login{Hash: hash("session value"), User: "mother"}))
	must(t, store.Close())
	secrets := map[string][]byte{
		"possession key of a family": f.Material.MasterSecret, "id of that key": f.Material.ID, "claims of an opaque token": opaque.Claims,
		"refresh token": store.RefreshSecret(f.ID, 0), "its successor": store.RefreshSecret(f.ID, 1), "device code": []byte("device code of 128 bits"),
		"user code": []byte(typed.UserCode), "plain hash of a user code": hash(typed.UserCode), "initial access token": []byte("initial access token"),
		"session": []byte("session value"), "code": []byte("code of secret"),
		"root key": lock(1).RootKey, "master secret": phone("phone").Channel.MasterSecret, "signing key": signer.Private,
		"secret of a channel": importedLock(2).Channel.MasterSecret, "plain hash of it": hash(string(importedLock(2).Channel.MasterSecret)),
		"client-made key": s.ClientKey, "its plain hash": hash(string(s.ClientKey)), "store key": storeKey[:],
	}
	cells := 0
	for _, table := range names(t, db) {
		eachCell(t, db, table, func(column string, cell []byte) {
			cells++
			for name, secret := range secrets {
				if shows(cell, secret) {
					t.Errorf("%s lies in clear in %s.%s", name, table, column)
				}
			}
		})
	}
	if cells < 50 {
		t.Errorf("only %d values were looked at", cells)
	}
	// The search itself works: it finds what lies in clear.
	found := false
	eachCell(t, db, "tokens", func(_ string, cell []byte) { found = found || shows(cell, hash("one")) })
	equal(t, "a public hash is found", found, true)
}

func shows(cell, secret []byte) bool {
	for _, form := range [][]byte{
		secret, []byte(hex.EncodeToString(secret)), []byte(base64.RawStdEncoding.EncodeToString(secret)),
		[]byte(base64.RawURLEncoding.EncodeToString(secret)),
	} {
		if bytes.Contains(cell, form) {
			return true
		}
	}
	return false
}

func names(t *testing.T, db Database) []string {
	t.Helper()
	rows := get(db.Raw.Query(db.Tables))(t)
	defer rows.Close()
	var list []string
	for rows.Next() {
		var name string
		must(t, rows.Scan(&name))
		list = append(list, name)
	}
	must(t, rows.Err())
	return list
}

func eachCell(t *testing.T, db Database, table string, see func(column string, cell []byte)) {
	t.Helper()
	rows := get(db.Raw.Query("SELECT * FROM " + table))(t)
	defer rows.Close()
	columns := get(rows.Columns())(t)
	for rows.Next() {
		cells := make([]any, len(columns))
		for i := range cells {
			cells[i] = new(any)
		}
		must(t, rows.Scan(cells...))
		for i, cell := range cells {
			switch value := (*cell.(*any)).(type) {
			case []byte:
				see(columns[i], value)
			default:
				see(columns[i], fmt.Append(nil, value))
			}
		}
	}
	must(t, rows.Err())
}

func sealedValuesAreBound(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	must(t, store.AddDevice(ctx, lock(2)))
	must(t, store.AddClient(ctx, phone("tablet")))
	must(t, store.AddSigningKey(ctx, authz.SigningKey{ID: "1", Private: []byte{1}, CreatedAt: evening}))
	must(t, store.AddSigningKey(ctx, authz.SigningKey{ID: "2", Private: []byte{2}, CreatedAt: evening}))
	change := func(statement string) {
		t.Helper()
		result := get(db.Raw.Exec(statement))(t)
		equal(t, "rows changed", get(result.RowsAffected())(t), 1)
	}
	closed := func(what string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s: a sealed value of another place was opened", what)
		}
	}
	change(`UPDATE devices SET root_key = (SELECT root_key FROM devices WHERE name = 'door 2') WHERE name = 'door 1'`)
	_, err := store.Device(ctx, lock(1).ID)
	closed("another device", err)
	must(t, store.AddDevice(ctx, importedLock(3)))
	change(`UPDATE devices SET channel_secret = root_key WHERE name = 'door 3'`)
	_, err = store.Device(ctx, lock(3).ID)
	closed("another column", err)
	equal(t, "untouched device", get(store.Device(ctx, lock(2).ID))(t), lock(2))
	change(`UPDATE clients SET channel_secret = (SELECT channel_secret FROM clients WHERE id = 'tablet') WHERE id = 'phone'`)
	_, err = store.Client(ctx, "phone")
	closed("another client", err)
	change(`UPDATE clients SET channel_secret = (SELECT root_key FROM devices WHERE name = 'door 2') WHERE id = 'phone'`)
	_, err = store.Client(ctx, "phone")
	closed("another table", err)
	change(`UPDATE signing_keys SET private_key = (SELECT private_key FROM signing_keys WHERE id = '2') WHERE id = '1'`)
	_, err = store.SigningKeys(ctx)
	closed("another signing key", err)
	for _, name := range []string{"one", "two"} {
		r := token(name)
		r.Claims = []byte("claims of " + name)
		f := family(name)
		found(t, store, f, r)
	}
	change(`UPDATE families SET material = (SELECT material FROM families AS other WHERE other.id <> families.id) WHERE id = (SELECT id FROM families ORDER BY id LIMIT 1)`)
	_, err = store.Families(ctx, "", "", evening)
	closed("another family", err)
	change(`UPDATE tokens SET claims = (SELECT claims FROM tokens AS other WHERE other.id <> tokens.id) WHERE id = (SELECT id FROM tokens ORDER BY id LIMIT 1)`)
	_, err = store.TokensOf(ctx, lock(1).ID, evening)
	closed("another token", err)
	change(`UPDATE clients SET channel_secret = NULL WHERE id = 'phone'`)
	_, err = store.Client(ctx, "phone")
	closed("no value at all", err)
}

func otherKeyIsRefused(t *testing.T, db Database) {
	store := house(t, db)
	other := storeKey
	other[31] ^= 1
	for _, key := range []storage.StoreKey{other, {}} {
		if second, err := openAt(db, key, evening); err == nil {
			second.Close()
			t.Error("the store opened with a key that is not its own")
		}
	}
	equal(t, "device", get(store.Device(t.Context(), lock(1).ID))(t), lock(1))
	equal(t, "device in another process", get(open(t, db).Device(t.Context(), lock(1).ID))(t), lock(1))
}
