// Package storage opens the authorization server's store: SQLite in a file, or PostgreSQL for several nodes.
//
// Both are the same authz.Store and pass the same contract, storage/storagetest. What must be kept whole rests sealed
// under a store key that lies outside of the database (D3). Start from LoadOrCreateKey and Open.
package storage

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/storage/internal/seal"
	"github.com/latchkey-ace/latchkey/storage/internal/sqlstore"
	"github.com/latchkey-ace/latchkey/storage/postgres"
	"github.com/latchkey-ace/latchkey/storage/sqlite"
)

// Options of a store.
type Options struct {
	Key  StoreKey         // required; a database opens only with the key it was made with
	Now  func() time.Time // default time.Now; used once, to remove what has expired
	Rand io.Reader        // default crypto/rand
	// KeepTables leaves the tables of a store that has some as they are: a store that a server runs on is not changed
	// beneath it by a command of another version. A store whose tables are too old is then refused.
	KeepTables bool

	// Watch hears of each write transaction, how long it took until it was durable, and its error; nil for nobody. It is
	// called concurrently and must not block.
	Watch func(took time.Duration, err error)
}

// Open opens the store a URL names: sqlite:PATH, or postgres://… as libpq writes it. It makes the tables of an empty store
// and brings older ones up to date; in PostgreSQL only while no older program is connected (docs/adr/0047).
func Open(ctx context.Context, url string, o Options) (authz.Store, error) {
	if o.Key == (StoreKey{}) {
		return nil, errors.New("open store: no store key given")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	sealer, err := seal.New(o.Key, o.Rand)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	engine, path, err := engineOf(url)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if engine == enginePostgres {
		return o.opened(postgres.Open(ctx, url, sealer, o.Now(), o.KeepTables))
	}
	return o.opened(sqlite.Open(ctx, path, sealer, o.Now(), o.KeepTables))
}

// opened keeps a nil pointer from becoming a Store that is not nil.
func (o Options) opened(store *sqlstore.Store, err error) (authz.Store, error) {
	if err != nil {
		return nil, err
	}
	if o.Watch != nil {
		store.Watch(o.Watch)
	}
	return store, nil
}
