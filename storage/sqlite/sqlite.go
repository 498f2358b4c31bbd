// Package sqlite is the embedded store: authz.Store on modernc.org/sqlite, without cgo and without set-up.
//
// The database is one file (and its write-ahead log beside it), open to several processes of one machine. Commits are
// on the disk when a method returns. Start from Open.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"

	sqlite3 "modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/migrations"
	"github.com/latchkey-ace/latchkey/storage/internal/seal"
	"github.com/latchkey-ace/latchkey/storage/internal/sqlstore"
)

// Open opens the database file, making it (mode 0600) if there is none. With keep the tables of a database that has some
// stay as they are.
func Open(ctx context.Context, path string, sealer *seal.Sealer, now time.Time, keep bool) (*sqlstore.Store, error) {
	e, err := openEngine(ctx, path, keep)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	store, err := sqlstore.New(ctx, e, sealer, now)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), e.Close())
	}
	return store, nil
}

// engine is a sqlstore.Engine.
type engine struct {
	writer  *writer
	reads   *pool
	reading *sql.DB // snapshots
}

func openEngine(ctx context.Context, path string, keep bool) (*engine, error) {
	if path == "" {
		return nil, errors.New("no path given")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := create(path); err != nil {
		return nil, err
	}
	e := &engine{}
	if err := e.start(ctx, path, keep); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// start migrates before there is a connection that writes.
func (e *engine) start(ctx context.Context, path string, keep bool) error {
	name := address(path, url.Values{
		"_txlock":       {"immediate"},
		"_journal_mode": {"WAL"},
		"_synchronous":  {"FULL"}, // NORMAL loses the last commits with the power
		"_foreign_keys": {"1"},
		"_pragma": {
			"wal_autocheckpoint(" + strconv.Itoa(checkpointSize) + ")",
			"cache_size(-" + strconv.Itoa(writerCache) + ")",
		},
	})
	db, err := connect(name, 1)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := migrate(ctx, db, keep); err != nil {
		return err
	}
	c, err := dial(db, name)
	if err != nil {
		return err
	}
	e.writer = newWriter(c)
	name = address(path, url.Values{"_query_only": {"1"}})
	readers := max(minReaders, runtime.GOMAXPROCS(0))
	if e.reading, err = connect(name, readers); err != nil {
		return err
	}
	e.reads, err = newPool(e.reading, name, readers)
	return err
}

// migrate makes tables where there are none and, unless they are to stay, brings them up to date.
func migrate(ctx context.Context, db *sql.DB, keep bool) error {
	version, err := migrations.VersionSQLite(ctx, db)
	if err != nil {
		return err
	}
	if version == 0 || !keep && version < migrations.Newest() {
		return migrations.SQLite(ctx, db)
	}
	return migrations.Check(version)
}

// create makes the file before SQLite does, because SQLite would let others read it; its log takes the file's mode.
func create(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// address is the driver's name of a file that is opened with settings.
func address(path string, settings url.Values) string {
	settings.Set("_busy_timeout", strconv.FormatInt(busyTimeout.Milliseconds(), 10))
	settings.Set("_dqs", "0")
	name := url.URL{Scheme: "file", Path: path, RawQuery: settings.Encode()}
	return name.String()
}

func connect(name string, connections int) (*sql.DB, error) {
	db, err := sql.Open("sqlite", name)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// Reader runs on the read pool: a snapshot as of the last commit.
func (e *engine) Reader() sqlstore.Querier { return e.reads }

// Snapshot reads in one transaction, which sees the last commit before it and none after.
func (e *engine) Snapshot(ctx context.Context, work func(context.Context, sqlstore.Querier) error) error {
	tx, err := e.reading.BeginTx(ctx, nil)
	if err != nil {
		return mark(err)
	}
	defer tx.Rollback() // it wrote nothing
	reads := newStatements(tx)
	defer reads.close()
	return mark(work(ctx, reads))
}

// Keep sets the ledger of all batches.
func (e *engine) Keep(l sqlstore.Ledger) { e.writer.ledger = l }

// Commit runs t in the writer's next batch.
func (e *engine) Commit(ctx context.Context, t sqlstore.Transaction) error {
	return mark(e.writer.write(ctx, t))
}

// mark adds authz.ErrUnavailable to errors of a disk that is full or broken and of a file that others keep busy.
func mark(err error) error {
	var broken *sqlite3.Error
	if errors.Is(err, errClosed) || errors.As(err, &broken) && slices.Contains(awayCodes, broken.Code()&0xff) {
		return fmt.Errorf("%w: %w", authz.ErrUnavailable, err)
	}
	return err
}

// awayCodes are primary result codes; extended ones have them in their low byte.
var awayCodes = []int{codes.SQLITE_BUSY, codes.SQLITE_IOERR, codes.SQLITE_FULL, codes.SQLITE_CANTOPEN, codes.SQLITE_READONLY}

// Insert asks for the rowid; RETURNING would cost twice the insert.
func (e *engine) Insert(ctx context.Context, q sqlstore.Querier, statement string, id *int64, args ...any) error {
	result, err := q.ExecContext(ctx, statement, args...)
	if err == nil {
		*id, err = result.LastInsertId()
	}
	return err
}

// Gate is nothing: a writer holds the whole database.
func (e *engine) Gate(bool) string { return "" }

// Impatience is nothing: nobody else has locks.
func (e *engine) Impatience() string { return "" }

// Conflict reads SQLite's extended result code.
func (e *engine) Conflict(err error) sqlstore.Conflict {
	var broken *sqlite3.Error
	if !errors.As(err, &broken) {
		return sqlstore.NoConflict
	}
	switch broken.Code() {
	case codes.SQLITE_CONSTRAINT_UNIQUE, codes.SQLITE_CONSTRAINT_PRIMARYKEY:
		return sqlstore.Taken
	case codes.SQLITE_CONSTRAINT_FOREIGNKEY:
		return sqlstore.Missing
	}
	return sqlstore.NoConflict
}

// Close finishes what was handed to the writer. It may be called again.
func (e *engine) Close() error {
	var errs []error
	if e.reads != nil {
		errs = append(errs, e.reads.close())
	}
	if e.reading != nil {
		errs = append(errs, e.reading.Close())
	}
	if e.writer != nil {
		errs = append(errs, e.writer.close())
	}
	return errors.Join(errs...)
}
