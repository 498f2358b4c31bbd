// Package sqlstore is authz.Store in SQL, once for every engine.
//
// Statements are written in PostgreSQL's spelling; an Engine runs them and brings the rest: how a write transaction
// is made durable, and what its errors mean. It opens no database: storage/sqlite and storage/postgres do. Start from
// New.
package sqlstore

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/storage/internal/seal"
)

// Rows are what a statement found, one after the other. They are closed before the next statement of a transaction.
type Rows interface {
	Next() bool
	// Scan copies the columns of the current row into what dest points to.
	Scan(dest ...any) error
	Err() error
	Close() error
}

// Querier runs statements with placeholders $1, $2 …
type Querier interface {
	ExecContext(ctx context.Context, statement string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, statement string, args ...any) (Rows, error)
}

// Conflict is the rule of the tables that a statement broke.
type Conflict int

const (
	NoConflict Conflict = iota
	Taken               // a unique value is in use
	Missing             // a row that is referred to does not exist
)

// Engine is a database with all migrations applied. It is safe for concurrent use.
type Engine interface {
	// Reader runs single statements outside of transactions. They see everything that Commit has returned for.
	Reader() Querier
	// Snapshot runs work on one state of the database that nobody changes.
	Snapshot(ctx context.Context, work func(context.Context, Querier) error) error
	// Keep says who writes what transactions leave. It is called once, before the first Commit.
	Keep(l Ledger)
	// Commit runs t.Work in one transaction, enters what it left into the ledger, together with what others left that share
	// the commit, and returns once it is durable. An error of Work undoes the transaction and
	// is returned as it is. Work may be called again when the engine asks for the transaction to be repeated; it uses
	// only the context and the Querier it is given, reads each result to its end, and does not call Commit.
	//
	// Once Work has begun, the end of ctx does not interrupt it: a caller that gets an answer knows the outcome. An
	// error of the commit itself means that the outcome is unknown, unless it is ErrUndone.
	Commit(ctx context.Context, t Transaction) error
	// Insert runs an INSERT of one row, at the latest with the commit, and puts the id that the database gave it into id.
	Insert(ctx context.Context, q Querier, statement string, id *int64, args ...any) error
	// Gate is a statement that lets transactions pass together, or one alone: it waits for all before it and holds up all
	// after it until it ends. "" where every transaction that writes is alone anyway.
	Gate(alone bool) string
	// Impatience is a statement by which the rest of a transaction waits only shortly for others' locks. "" where there are none.
	Impatience() string
	// Conflict tells what an error of a statement means.
	Conflict(err error) Conflict
	Close() error
}

// Store is an authz.Store.
type Store struct {
	engine keeping
	guard  *guard // what engine passes on to
	sealer *seal.Sealer
	ledger *ledger
	known  known
	mints  mints
	clock  atomic.Int64 // a second that the counter has reached
	closed atomic.Bool
}

var _ authz.Store = (*Store)(nil)

// New checks that the store key is the one the database was made with (a new database takes it) and removes what ended
// before now. On an error the engine stays open.
func New(ctx context.Context, engine Engine, sealer *seal.Sealer, now time.Time) (*Store, error) {
	g := &guard{Engine: engine}
	s := &Store{engine: keeping{g}, guard: g, sealer: sealer}
	s.ledger = &ledger{store: s}
	engine.Keep(s.ledger)
	if err := s.checkKey(ctx); err != nil {
		return nil, err
	}
	if err := s.adopted(ctx, now); err != nil {
		return nil, err
	}
	restored, err := s.Restored(ctx)
	if err != nil {
		return nil, err
	}
	g.restored.Store(!restored.IsZero())
	if _, err := s.Sweep(ctx, now, maxSweep); err != nil {
		return nil, fmt.Errorf("remove what has expired: %w", err)
	}
	return s, nil
}

// Close notes where the audit chains end and closes the engine; writes in progress are finished first.
func (s *Store) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	err := s.ledger.close(ctx)
	if s.closed.Swap(true) {
		err = nil
	}
	return errors.Join(err, s.engine.Close())
}

var errKey = errors.New("the store was made with another store key: give the key file that belongs to it")

// checkKey opens a sealed value known in advance. Of two processes that open a new database at once with different
// keys one keeps it; the other reads the winner's value and is refused.
func (s *Store) checkKey(ctx context.Context) error {
	sealed, err := s.meta(ctx, metaKey)
	if errors.Is(err, authz.ErrNotFound) {
		if err := s.keepKey(ctx, metaKey, knownValue); err != nil {
			return err
		}
		sealed, err = s.meta(ctx, metaKey)
	}
	if err != nil {
		return fmt.Errorf("check of the store key: %w", err)
	}
	return opens(s.sealer, sealed)
}

const knownValue = "latchkey store"

func opens(sealer *seal.Sealer, sealed []byte) error {
	opened, err := sealer.Open(tableMeta, []byte(metaKey), sealed)
	if err != nil || subtle.ConstantTimeCompare(opened, []byte(knownValue)) != 1 {
		return errKey
	}
	return nil
}

// CheckKey says whether a database is of this store key, changing nothing.
func CheckKey(ctx context.Context, q Querier, sealer *seal.Sealer) error {
	var sealed []byte
	if err := one(ctx, q, ask(`SELECT value FROM meta WHERE name = $1`, metaKey), &sealed); err != nil {
		return fmt.Errorf("check of the store key: %w", err)
	}
	return opens(sealer, sealed)
}

func (s *Store) meta(ctx context.Context, name string) (value []byte, err error) {
	err = one(ctx, s.engine.Reader(), ask(`SELECT value FROM meta WHERE name = $1`, name), &value)
	return value, err
}

func (s *Store) keepKey(ctx context.Context, name, known string) error {
	sealed, err := s.sealer.Seal(tableMeta, []byte(name), []byte(known))
	if err != nil {
		return err
	}
	return s.engine.Write(ctx, func(ctx context.Context, q Querier) error {
		return run(ctx, q, ask(`INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`, name, sealed))
	})
}

// add runs inserts in one transaction; what names the new thing in errors.
func (s *Store) add(ctx context.Context, what string, rows ...query) error {
	return s.addUnless(ctx, what, func(context.Context, Querier) error { return nil }, rows...)
}

// addUnless adds rows in a transaction that first asks whether it may.
func (s *Store) addUnless(ctx context.Context, what string, may func(context.Context, Querier) error, rows ...query) error {
	for _, row := range rows {
		if !row.storable() {
			return fmt.Errorf("%s: text with a zero byte or broken UTF-8 cannot be stored", what)
		}
	}
	err := s.engine.Write(ctx, func(ctx context.Context, q Querier) error {
		if err := may(ctx, q); err != nil {
			return err
		}
		for _, row := range rows {
			if err := run(ctx, q, row); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, s.meaning(err))
}

// meaning turns a broken rule of the tables into the error the contract names.
func (s *Store) meaning(err error) error {
	switch s.engine.Conflict(err) {
	case Taken:
		return authz.ErrExists
	case Missing:
		return authz.ErrNotFound
	case NoConflict:
	}
	return err
}

// change runs an update or a deletion of exactly one row; no row is ErrNotFound.
func (s *Store) change(ctx context.Context, what string, update query) error {
	err := s.engine.Write(ctx, func(ctx context.Context, q Querier) error { return touch(ctx, q, update) })
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
