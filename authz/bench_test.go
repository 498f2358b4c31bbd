package authz_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// share runs b.N pieces of work on n goroutines and reports how many are done in a second.
func share(b *testing.B, n int, unit string, work func(i int64) error) {
	b.Helper()
	var next atomic.Int64
	var all sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
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
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), unit)
}

// BenchmarkTokenClientCredentials is a durable token request without its face, beside its two floors: a signature alone, and
// a commit of one row alone with the same driver and settings.
func BenchmarkTokenClientCredentials(b *testing.B) {
	b.Run("bare ES256", bareSignature)
	b.Run("bare commit", bareCommit)
	for _, shape := range []provision.Shape{provision.ShapeEncrypt0, provision.ShapeSign1} {
		for _, n := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%s/%d", shape, n), func(b *testing.B) {
				w := newWorld(b)
				w.device(2, func(d *authz.Device) { d.Shape = shape })
				w.give(func(g *authz.Grant) { toGateway(g); g.Device = deviceID(2) }, view)
				in := own(2)
				share(b, n, "tokens/s", func(int64) error {
					_, err := w.token(w.gateway, in)
					return err
				})
			})
		}
	}
}

func bareSignature(b *testing.B) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	digest := sha256.Sum256([]byte("token"))
	share(b, 1, "signatures/s", func(int64) error {
		_, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
		return err
	})
}

func bareCommit(b *testing.B) {
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
	share(b, 1, "commits/s", func(i int64) error {
		hash := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
		_, err := insert.Exec(hash[:], data)
		return err
	})
}
