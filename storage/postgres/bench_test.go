package postgres_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/storage"
	"github.com/latchkey-ace/latchkey/storage/storagetest/pgtest"
)

// numbered is a hash that differs for each n.
func numbered(kind string, n int64) []byte {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(kind), uint64(n)))
	return sum[:]
}

// share runs b.N pieces of work on n goroutines. It reports how many are done in a second, the processor time of each in this
// process, and how long one of a hundred takes at least.
func share(b *testing.B, n int, work func(i int64) error) {
	b.Helper()
	var next atomic.Int64
	var all sync.WaitGroup
	took := make([]time.Duration, b.N)
	before := processorTime(b)
	b.ResetTimer()
	for range n {
		all.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				began := time.Now()
				if err := work(i); err != nil {
					b.Error(err)
					return
				}
				took[i-1] = time.Since(began)
			}
		})
	}
	all.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
	b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(took[b.N*99/100].Microseconds())/1e3, "p99-ms")
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// benchStore has a client and as many devices as asked for, named by their numbers.
func benchStore(b *testing.B, devices int) authz.Store {
	b.Helper()
	s, err := storage.Open(b.Context(), pgtest.Schema(b), storage.Options{Key: storage.StoreKey{1}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	err = errors.Join(s.AddUser(b.Context(), authz.User{Name: "alice"}), s.AddClient(b.Context(), authz.Client{ID: "phone"}))
	for i := range devices {
		err = errors.Join(err, s.AddDevice(b.Context(), authz.Device{ID: deviceOf(int64(i)), Name: fmt.Sprint(i), Owner: "alice", RootKey: make([]byte, 32)}))
	}
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func deviceOf(i int64) (id provision.DeviceID) {
	binary.BigEndian.PutUint64(id[:], uint64(i+1))
	return id
}

// plain mints a token for a client's own credentials.
func plain(ctx context.Context, s authz.Store, d provision.DeviceID, n int64) error {
	at := time.Now()
	spec := authz.MintSpec{
		Now: at, Parties: authz.Parties{Client: "phone", Device: d},
		Audit: authz.AuditEntry{At: at, Event: "token", Result: "granted", Client: "phone"},
	}
	return s.Mint(ctx, spec, func(m authz.Minting) (authz.Issued, error) {
		return authz.Issued{Token: authz.TokenRecord{
			ID: binary.BigEndian.AppendUint64(d[:], m.Sequence), Hash: append([]byte{1}, numbered("token", n)...), Device: d, Client: "phone",
			IssuedAt: at, Expires: at.Add(time.Hour),
		}}, nil
	})
}

// BenchmarkMint is what the store does for a token of a client's own credentials, but for its signature: for one device
// and for many. BenchmarkBareCommit is its floor.
func BenchmarkMint(b *testing.B) {
	for _, devices := range []int{1, 1000} {
		store := benchStore(b, devices)
		var at atomic.Int64
		for _, n := range []int{1, 16, 64, 256} {
			b.Run(fmt.Sprintf("devices=%d/%d", devices, n), func(b *testing.B) {
				share(b, n, func(int64) error {
					i := at.Add(1)
					return plain(b.Context(), store, deviceOf(i*7919%int64(devices)), i)
				})
			})
		}
	}
}

// BenchmarkRead is what a token request reads before it is minted.
func BenchmarkRead(b *testing.B) {
	store := benchStore(b, 1)
	for _, n := range []int{1, 16} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			share(b, n, func(int64) error {
				_, err := store.Client(b.Context(), "phone")
				if err == nil {
					_, err = store.DeviceByName(b.Context(), "0")
				}
				if err == nil {
					_, err = store.GrantsOf(b.Context(), authz.Subject{User: "mother"}, deviceOf(0), time.Now())
				}
				return err
			})
		})
	}
}

// BenchmarkBareCommit is the floor: one row, one commit, by the same driver, nobody else.
func BenchmarkBareCommit(b *testing.B) {
	pool, err := pgxpool.New(b.Context(), pgtest.Schema(b)+"&pool_max_conns=16")
	if err != nil {
		b.Fatal(err)
	}
	defer pool.Close()
	if _, err := pool.Exec(b.Context(), "CREATE TABLE bare (hash BYTEA NOT NULL PRIMARY KEY, data BYTEA NOT NULL)"); err != nil {
		b.Fatal(err)
	}
	data := make([]byte, 250)
	var at atomic.Int64
	for _, n := range []int{1, 16} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			share(b, n, func(int64) error {
				_, err := pool.Exec(b.Context(), "INSERT INTO bare (hash, data) VALUES ($1, $2)", numbered("bare", at.Add(1)), data)
				return err
			})
		})
	}
}
