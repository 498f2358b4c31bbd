package sqlite_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/storage"
)

var (
	theDevice = provision.DeviceID{1}
	theGrant  = pop.GrantID{1}
	theRights = aif.New(aif.Entry{Path: "/door/unlock", Methods: aif.POST})
)

// numbered is a hash that differs for each n.
func numbered(kind string, n int64) []byte {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(kind), uint64(n)))
	return sum[:]
}

func openStore(tb testing.TB, path string) authz.Store {
	tb.Helper()
	store, err := storage.Open(tb.Context(), "sqlite:"+path, storage.Options{Key: storage.StoreKey{1}})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { store.Close() })
	return store
}

// furnish adds a device and a grant on it.
func furnish(tb testing.TB, store authz.Store) {
	tb.Helper()
	err := store.AddUser(tb.Context(), authz.User{Name: "alice"})
	if err == nil {
		err = store.AddClient(tb.Context(), authz.Client{ID: "phone", GrantTypes: []string{authz.ClientCredentials}})
	}
	if err == nil {
		err = store.AddDevice(tb.Context(), authz.Device{ID: theDevice, Name: "front", Owner: "alice", RootKey: make([]byte, 32)})
	}
	if err == nil {
		err = store.AddGrant(tb.Context(), authz.Grant{
			ID: theGrant, Owner: "alice", To: authz.Subject{User: "mother"}, Device: theDevice, Rights: theRights,
		})
	}
	if err != nil {
		tb.Fatal(err)
	}
}

func codeFor(n int64, now time.Time) authz.CodeGrant {
	return authz.CodeGrant{
		Hash: numbered("code", n), Client: "phone", User: "mother", RedirectURI: "app:/done", Challenge: "challenge",
		Device: theDevice, Rights: theRights, Grant: theGrant, IssuedAt: now, ExpiresAt: now.Add(time.Hour),
	}
}

// plain mints a token for nothing but the parties.
func plain(ctx context.Context, store authz.Store, n int64, now time.Time) error {
	spec := authz.MintSpec{
		Now: now, Parties: authz.Parties{Client: "phone", Grant: theGrant, Device: theDevice},
		Audit: authz.AuditEntry{At: now, Event: "token", Result: "granted", Client: "phone", Grant: theGrant},
	}
	return store.Mint(ctx, spec, func(m authz.Minting) (authz.Issued, error) {
		return authz.Issued{Token: authz.TokenRecord{
			Hash: append([]byte{1}, numbered("token", n)...), ID: binary.BigEndian.AppendUint64(theDevice[:], m.Sequence), Device: theDevice,
			Grant: theGrant, Client: "phone", IssuedAt: now, Expires: now.Add(time.Hour),
		}}, nil
	})
}

// redeem mints the token of code n.
func redeem(ctx context.Context, store authz.Store, n int64, now time.Time) error {
	spec := authz.MintSpec{
		Now: now, Code: numbered("code", n), Parties: authz.Parties{Grant: theGrant, Device: theDevice}, ClientKey: numbered("key", n),
		Audit: authz.AuditEntry{At: now, Event: "token", Result: "granted", Client: "phone", User: "mother", Grant: theGrant},
	}
	return store.Mint(ctx, spec, func(m authz.Minting) (authz.Issued, error) {
		return authz.Issued{Token: authz.TokenRecord{
			Hash: append([]byte{1}, numbered("token", n)...), ID: binary.BigEndian.AppendUint64(theDevice[:], m.Sequence), Device: theDevice,
			Grant: theGrant, Client: "phone", User: "mother", Code: m.Code.Hash, IssuedAt: now, Expires: now.Add(time.Hour),
		}}, nil
	})
}

// share runs b.N pieces of work on n goroutines and reports how many are done in a second, and the processor time of each.
func share(b *testing.B, n int, work func(i int64) error) {
	b.Helper()
	var next atomic.Int64
	var all sync.WaitGroup
	before := processorTime(b)
	b.ResetTimer()
	b.StartTimer()
	for range n {
		all.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := work(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
	b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkMint is what the store does for a token, but for its signature: "plain" is one for a client's own credentials,
// "code" one for a redeemed code with a key that the client made. BenchmarkBareCommit is its floor.
func BenchmarkMint(b *testing.B) {
	for _, n := range []int{1, 16, 64} {
		b.Run(fmt.Sprint("plain/", n), func(b *testing.B) {
			store, now := openStore(b, filepath.Join(b.TempDir(), "bench.db")), time.Now()
			furnish(b, store)
			share(b, n, func(i int64) error { return plain(b.Context(), store, i, now) })
		})
		b.Run(fmt.Sprint("code/", n), func(b *testing.B) {
			store, now := openStore(b, filepath.Join(b.TempDir(), "bench.db")), time.Now()
			furnish(b, store)
			share(b, 64, func(i int64) error { return store.AddCode(b.Context(), codeFor(i, now), nil) })
			share(b, n, func(i int64) error { return redeem(b.Context(), store, i, now) })
		})
	}
}

// BenchmarkRead is what a token request reads before it is minted.
func BenchmarkRead(b *testing.B) {
	store, now := openStore(b, filepath.Join(b.TempDir(), "bench.db")), time.Now()
	furnish(b, store)
	share(b, 2, func(int64) error {
		_, err := store.Client(b.Context(), "phone")
		if err == nil {
			_, err = store.DeviceByName(b.Context(), "front")
		}
		if err == nil {
			_, err = store.GrantsOf(b.Context(), authz.Subject{User: "mother"}, theDevice, now)
		}
		return err
	})
}

// BenchmarkBareCommit is the floor: one row, one commit, the same driver and settings, nobody else.
func BenchmarkBareCommit(b *testing.B) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(b.TempDir(), "bare.db")+
		"?_txlock=immediate&_journal_mode=WAL&_synchronous=FULL&_pragma=wal_autocheckpoint(4000)")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("CREATE TABLE bare (hash BLOB NOT NULL PRIMARY KEY, data BLOB NOT NULL) STRICT, WITHOUT ROWID"); err != nil {
		b.Fatal(err)
	}
	insert, err := db.Prepare("INSERT INTO bare (hash, data) VALUES (?1, ?2)")
	if err != nil {
		b.Fatal(err)
	}
	data := make([]byte, 250)
	share(b, 1, func(i int64) error {
		_, err := insert.Exec(numbered("bare", i), data)
		return err
	})
}
