package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/storage"
)

// minter is a store in this process that mints for one client and device.
type minter struct {
	store  authz.Store
	device provision.DeviceID
	number atomic.Int64
	proven bool // with a DPoP proof for each token
}

func (m *minter) proofs(now time.Time) []authz.Use {
	if !m.proven {
		return nil
	}
	return []authz.Use{{Kind: authz.UseDPoP, Value: random(32), Until: now.Add(time.Minute)}}
}

func (b *bench) newMinter(ctx context.Context, url string) (*minter, error) {
	store, err := storage.Open(ctx, url, storage.Options{Key: storage.StoreKey{1}})
	if err != nil {
		return nil, err
	}
	m := &minter{store: store, device: provision.DeviceID{1}}
	for _, add := range []func() error{
		func() error { return store.AddUser(ctx, authz.User{Name: "alice"}) },
		func() error { return store.AddClient(ctx, authz.Client{ID: "gateway"}) },
		func() error {
			return store.AddDevice(ctx, authz.Device{ID: m.device, Name: "monitor", Owner: "alice", RootKey: random(32)})
		},
	} {
		if err := add(); err != nil {
			store.Close()
			return nil, err
		}
	}
	return m, nil
}

// again opens the store of one that was closed.
func (m *minter) again(ctx context.Context, url string) (*minter, error) {
	store, err := storage.Open(ctx, url, storage.Options{Key: storage.StoreKey{1}})
	next := &minter{store: store, device: m.device}
	next.number.Store(m.number.Load())
	return next, err
}

// mint is what the store does for a token, its audit entry included.
func (m *minter) mint(ctx context.Context) error {
	now, n := time.Now(), m.number.Add(1)
	spec := authz.MintSpec{
		Now: now, Proofs: m.proofs(now), Parties: authz.Parties{Client: "gateway", Device: m.device},
		Audit: authz.AuditEntry{At: now, Event: "token", Result: "granted", Client: "gateway", Device: provision.Audience(m.device)},
	}
	return m.store.Mint(ctx, spec, func(found authz.Minting) (authz.Issued, error) {
		hash := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))
		return authz.Issued{Token: authz.TokenRecord{
			ID: binary.BigEndian.AppendUint64(m.device[:], found.Sequence), Hash: append([]byte{1}, hash[:]...), Device: m.device,
			Client: "gateway", IssuedAt: now, Expires: now.Add(time.Hour),
		}}, nil
	})
}

func (b *bench) mints(ctx context.Context, m *minter, n int) (load, error) {
	return b.busy(n, func() error { return m.mint(ctx) })
}

// busy has n goroutines work for the span and tells what this process used for each piece.
func (b *bench) busy(n int, work func() error) (load, error) {
	var mu sync.Mutex
	var failed error
	var took spread
	var all sync.WaitGroup
	before, began := ownTime(), time.Now()
	for range n {
		all.Go(func() {
			var own spread
			for start := time.Now(); start.Sub(began) < b.span; start = time.Now() {
				if err := work(); err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
					return
				}
				own = append(own, time.Since(start))
			}
			mu.Lock()
			took = append(took, own...)
			mu.Unlock()
		})
	}
	all.Wait()
	elapsed, used, count := time.Since(began), ownTime()-before, float64(len(took))
	return load{rate: count / elapsed.Seconds(), cpu: float64(used.Microseconds()) / count, took: took}, failed
}

// ownTime is what this process has used.
func ownTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // of oneself it never fails
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// bareTables are one for the floor, and those that a token writes to: itself with an index, the sequence of its device, the newest
// second, its audit entry and the head of their chain.
const bareTables = `
	CREATE TABLE bare (hash BLOB NOT NULL PRIMARY KEY, data BLOB NOT NULL) STRICT, WITHOUT ROWID;
	CREATE TABLE tokens (hash BLOB NOT NULL PRIMARY KEY, data BLOB NOT NULL) STRICT, WITHOUT ROWID;
	CREATE INDEX tokens_data ON tokens (substr(data, 1, 8));
	CREATE TABLE sequences (device INTEGER PRIMARY KEY, value INTEGER NOT NULL) STRICT;
	CREATE TABLE clock (name INTEGER PRIMARY KEY, value INTEGER NOT NULL) STRICT;
	CREATE TABLE entries (seq INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
	CREATE TABLE head (name INTEGER PRIMARY KEY, hash BLOB NOT NULL) STRICT;
	INSERT INTO sequences VALUES (1, 0);
	INSERT INTO clock VALUES (1, 0);
	INSERT INTO head VALUES (1, x'00');
	CREATE TRIGGER token AFTER INSERT ON tokens BEGIN
		UPDATE sequences SET value = value + 1 WHERE device = 1;
		UPDATE clock SET value = value + 1 WHERE name = 1;
		INSERT INTO entries (data) VALUES (NEW.data);
		UPDATE head SET hash = NEW.hash WHERE name = 1;
	END`

// commits makes one row durable after the other.
func (b *bench) commits(ctx context.Context, db *sql.DB, text string) (load, error) {
	insert, err := db.PrepareContext(ctx, text)
	if err != nil {
		return load{}, err
	}
	defer insert.Close()
	data := make([]byte, 250)
	return b.busy(1, func() error {
		_, err := insert.Exec(random(32), data)
		return err
	})
}

// embedded measures the built-in store alone: what is durable in a second, of one who waits for each and of many.
func (b *bench) embedded(ctx context.Context) error {
	const part = "Built-in store: a token with its audit entry, durable; the floor is a commit of one row with the same driver and settings"
	db, err := sql.Open("sqlite", "file:"+filepath.Join(b.dir, "bare.db")+
		"?_txlock=immediate&_journal_mode=WAL&_synchronous=FULL&_pragma=wal_autocheckpoint(4000)")
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, bareTables); err != nil {
		return err
	}
	bare, err := b.commits(ctx, db, "INSERT INTO bare (hash, data) VALUES (?1, ?2)")
	if err != nil {
		return err
	}
	bareToken, err := b.commits(ctx, db, "INSERT INTO tokens (hash, data) VALUES (?1, ?2)")
	if err != nil {
		return err
	}
	m, err := b.newMinter(ctx, "sqlite:"+filepath.Join(b.dir, "alone.db"))
	if err != nil {
		return err
	}
	defer m.store.Close()
	one, err := b.mints(ctx, m, 1)
	if err != nil {
		return err
	}
	many, err := b.mints(ctx, m, 64)
	if err != nil {
		return err
	}
	b.table.add(
		row{Part: part, What: "tokens, one at a time", Figure: one.rate, Unit: "/s", Floor: bare.rate, Bare: "commits"}.atLeastTimes(0.8),
		row{Part: part, What: "what bounds it: the rows of a token, bare", Figure: bareToken.rate, Unit: "/s", Floor: bare.rate, Bare: "commits"},
		row{Part: part, What: "tokens, 64 at a time", Figure: many.rate, Unit: "/s", More: short(many.cpu) + " µs each", Floor: one.rate, Bare: "one at a time"}.atLeastTimes(4),
	)
	return nil
}
