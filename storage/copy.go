package storage

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/migrations"
	"github.com/latchkey-ace/latchkey/storage/backup"
	"github.com/latchkey-ace/latchkey/storage/internal/seal"
	"github.com/latchkey-ace/latchkey/storage/internal/sqlstore"
	"github.com/latchkey-ace/latchkey/storage/internal/tables"
	"github.com/latchkey-ace/latchkey/storage/postgres"
	"github.com/latchkey-ace/latchkey/storage/sqlite"
)

// ErrNotEmpty says that a restore was asked to write over something.
var ErrNotEmpty = tables.ErrNotEmpty

// BackupOptions say what is saved, and for whom.
type BackupOptions struct {
	Key      StoreKey // goes into the backup: what is sealed opens with nothing else
	Issuer   string   // whose store this is, for who restores
	Config   string   // the server's configuration file
	To       backup.Recipients
	Now      time.Time
	Progress func(table string, rows int64) // may be nil
}

// Backup writes one state of a store, as of a moment, while others use it. Nothing in the store changes, its tables
// included.
func Backup(ctx context.Context, url string, w io.Writer, o BackupOptions) (count backup.Count, err error) {
	err = snapshot(ctx, url, func(q sqlstore.Querier, version int64, all []tables.Table) error {
		if version == 0 {
			return errors.New("the store has no tables: nothing has run on it yet")
		}
		if err := migrations.Check(version); err != nil {
			return err
		}
		if err := checkKey(ctx, q, o.Key); err != nil {
			return err
		}
		b, err := backup.NewWriter(w, o.To, backup.Header{Schema: version, Made: o.Now.UTC().Truncate(time.Second), Issuer: o.Issuer, Config: o.Config, StoreKey: o.Key[:]})
		if err != nil {
			return err
		}
		if err := tables.Export(ctx, q, all, b, o.Progress); err != nil {
			return err
		}
		count, err = b.Close()
		return err
	})
	if err != nil {
		return backup.Count{}, fmt.Errorf("backup: %w", err)
	}
	return count, nil
}

func snapshot(ctx context.Context, url string, work func(sqlstore.Querier, int64, []tables.Table) error) error {
	engine, path, err := engineOf(url)
	if err != nil {
		return err
	}
	if engine == enginePostgres {
		return postgres.Snapshot(ctx, url, work)
	}
	return sqlite.Snapshot(ctx, path, work)
}

func checkKey(ctx context.Context, q sqlstore.Querier, key StoreKey) error {
	sealer, err := seal.New(key, rand.Reader)
	if err != nil {
		return err
	}
	return sqlstore.CheckKey(ctx, q, sealer)
}

// RestoreOptions say what opens a backup.
type RestoreOptions struct {
	Keys     backup.Keys
	Progress func(table string, rows int64) // may be nil
	// Ready is called when the whole backup has been read and is good, before anything can be seen. Its error undoes all.
	Ready func(backup.Header, StoreKey) error
}

// Restore fills an empty store from a backup; until Recover it is only read. If anything is wrong with the backup, nothing
// is left. A backup of an earlier version of the tables is restored as it is; the next Open brings it up to date.
func Restore(ctx context.Context, url string, r io.Reader, o RestoreOptions) (header backup.Header, count backup.Count, err error) {
	in, err := backup.Open(r, o.Keys)
	if err != nil {
		return header, count, fmt.Errorf("restore: %w", err)
	}
	header = in.Header
	key, err := headerKey(header)
	if err != nil {
		return header, count, fmt.Errorf("restore: %w", err)
	}
	fill := func(q sqlstore.Querier, all []tables.Table) error {
		if count, err = tables.Import(ctx, q, all, in, o.Progress); err != nil {
			return err
		}
		if err := checkKey(ctx, q, key); err != nil {
			return err
		}
		return sqlstore.MarkRestored(ctx, q, header.Made)
	}
	ready := func() error {
		if o.Ready == nil {
			return nil
		}
		return o.Ready(header, key)
	}
	if err := restore(ctx, url, header.Schema, fill, ready); err != nil {
		return header, backup.Count{}, fmt.Errorf("restore: %w", err)
	}
	return header, count, nil
}

// headerKey checks what is not checked by filling tables.
func headerKey(h backup.Header) (key StoreKey, err error) {
	if err := migrations.Known(h.Schema); err != nil {
		return key, err
	}
	if len(h.StoreKey) != len(key) || h.Made.IsZero() {
		return key, errors.New("the header lacks the store key or the time")
	}
	return StoreKey(h.StoreKey), nil
}

func restore(ctx context.Context, url string, version int64, fill func(sqlstore.Querier, []tables.Table) error, ready func() error) error {
	engine, path, err := engineOf(url)
	if err != nil {
		return err
	}
	if engine == enginePostgres {
		return postgres.Restore(ctx, url, version, fill, ready)
	}
	return sqlite.Restore(ctx, path, version, fill, ready)
}

const (
	engineSQLite   = "sqlite"
	enginePostgres = "postgres"
)

// engineOf reads which engine a URL names.
func engineOf(url string) (engine, path string, err error) {
	scheme, path, _ := strings.Cut(url, ":")
	switch scheme {
	case engineSQLite:
		return engineSQLite, path, nil
	case enginePostgres, "postgresql":
		return enginePostgres, "", nil
	}
	return "", "", fmt.Errorf("%q is neither sqlite:PATH nor a postgres:// URL", scheme)
}

// Schema is what there is to know of a store's tables.
type Schema struct {
	Version int64 `json:"version"` // 0: there are none
	Oldest  int64 `json:"oldest"`  // that this program serves
	Newest  int64 `json:"newest"`  // that it makes
}

// ReadSchema looks at a store's tables and changes nothing.
func ReadSchema(ctx context.Context, url string) (Schema, error) {
	s := Schema{Oldest: migrations.Oldest(), Newest: migrations.Newest()}
	err := snapshot(ctx, url, func(_ sqlstore.Querier, version int64, _ []tables.Table) error {
		s.Version = version
		return nil
	})
	if err != nil {
		return s, fmt.Errorf("look at the store: %w", err)
	}
	return s, nil
}

// Migrate brings a store's tables up to date. In PostgreSQL it is refused while an older program is connected.
func Migrate(ctx context.Context, url string) error {
	engine, path, err := engineOf(url)
	if err == nil && engine == enginePostgres {
		err = postgres.Migrate(ctx, url)
	} else if err == nil {
		err = sqlite.Migrate(ctx, path)
	}
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}
