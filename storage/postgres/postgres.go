// Package postgres is the store for several nodes: authz.Store on PostgreSQL 13 and later. It is the only importer of
// pgx.
//
// Rules that several writers could break rest on row locks and unique constraints at READ COMMITTED. Start from Open.
package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/migrations"
	"github.com/latchkey-ace/latchkey/storage/internal/seal"
	"github.com/latchkey-ace/latchkey/storage/internal/sqlstore"
)

// Open opens the database of a postgres:// URL. With keep the tables of a database that has some stay as they are. Errors
// do not show the URL: it may hold a password.
func Open(ctx context.Context, url string, sealer *seal.Sealer, now time.Time, keep bool) (*sqlstore.Store, error) {
	e, err := openEngine(ctx, url, keep)
	if err != nil {
		return nil, fmt.Errorf("open PostgreSQL: %w", err)
	}
	store, err := sqlstore.New(ctx, e, sealer, now)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open PostgreSQL: %w", err), e.Close())
	}
	return store, nil
}

// engine is a sqlstore.Engine.
type engine struct {
	db     *sql.DB
	ledger sqlstore.Ledger
}

func openEngine(ctx context.Context, url string, keep bool) (*engine, error) {
	e, err := connect(url)
	if err != nil {
		return nil, err
	}
	if err := e.start(ctx, keep); err != nil {
		return nil, errors.Join(mark(err), e.Close())
	}
	return e, nil
}

// connect makes the pool; nothing is sent yet.
func connect(url string) (*engine, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, errors.New("the URL cannot be read: write postgres://user@host:port/database")
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTime
	}
	e := &engine{db: stdlib.OpenDB(*config, stdlib.OptionAfterConnect(present(migrations.Newest())))}
	e.db.SetMaxOpenConns(maxConnections)
	e.db.SetMaxIdleConns(maxConnections)
	return e, nil
}

func (e *engine) start(ctx context.Context, keep bool) error {
	var sync string
	if err := e.db.QueryRowContext(ctx, "SHOW synchronous_commit").Scan(&sync); err != nil {
		return err
	}
	if sync == "off" {
		return errors.New("synchronous_commit is off, so a crash would forget spent codes and revocations: set it to on")
	}
	return arrive(ctx, e.db, keep)
}

// Reader runs on any connection.
func (e *engine) Reader() sqlstore.Querier { return reader{marked{e.db}, e} }

// Snapshot reads in one transaction at REPEATABLE READ.
func (e *engine) Snapshot(ctx context.Context, work func(context.Context, sqlstore.Querier) error) error {
	tx, err := e.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return mark(err)
	}
	defer tx.Rollback() // it wrote nothing
	return work(ctx, marked{tx})
}

// Keep sets the ledger of all transactions.
func (e *engine) Keep(l sqlstore.Ledger) { e.ledger = l }

// Commit repeats the transaction when PostgreSQL ends it for the sake of others.
func (e *engine) Commit(ctx context.Context, t sqlstore.Transaction) error {
	pause := firstPause
	for try := 1; ; try++ {
		err := e.once(ctx, t)
		if err == nil || try == maxTries || !repeatable(err) {
			return mark(err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause/2 + rand.N(pause/2)):
		}
		pause *= 2
	}
}

func (e *engine) once(ctx context.Context, t sqlstore.Transaction) error {
	conn, err := e.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	// From here on the caller's patience ends nothing: cut off during COMMIT, nobody would know the outcome.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), longestWrite)
	defer cancel()
	return conn.Raw(func(c any) error {
		l := newLink(c.(*stdlib.Conn).Conn())
		defer l.rollback(ctx) // after a commit it does nothing
		if err := t.Work(ctx, l); err != nil {
			return err
		}
		return e.finish(ctx, l, t)
	})
}

// finish enters what the transaction leaves for the ledger, and commits.
func (e *engine) finish(ctx context.Context, l *link, t sqlstore.Transaction) error {
	var entries []authz.AuditEntry
	if t.Left != nil {
		entries = t.Left()
	}
	if len(entries) == 0 {
		return l.commit(ctx)
	}
	done, err := e.ledger.Enter(ctx, l, entries)
	if err != nil {
		return undone(err)
	}
	err = l.commit(ctx)
	done(err)
	return err
}

// SQLSTATE values (PostgreSQL, appendix A).
const (
	foreignKeyViolation  = "23503"
	uniqueViolation      = "23505"
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
)

func repeatable(err error) bool {
	state := sqlState(err)
	return state == serializationFailure || state == deadlockDetected
}

// Insert lets the row return its id.
func (e *engine) Insert(ctx context.Context, q sqlstore.Querier, statement string, id *int64, args ...any) error {
	return sqlstore.Later(ctx, q, sqlstore.Step{Text: statement + ` RETURNING id`, Args: args, Read: func(rows sqlstore.Rows) error {
		for rows.Next() {
			if err := rows.Scan(id); err != nil {
				return err
			}
		}
		return rows.Err()
	}})
}

// Gate is an advisory lock of this database: held together by those who mint, alone by who ends or suspends.
func (e *engine) Gate(alone bool) string {
	if alone {
		return `SELECT pg_advisory_xact_lock(7809130461)`
	}
	return `SELECT pg_advisory_xact_lock_shared(7809130461)`
}

// Impatience makes a lock that is not had soon an error.
func (e *engine) Impatience() string {
	return fmt.Sprintf("SET LOCAL lock_timeout = %d", sharedWait.Milliseconds())
}

// Conflict reads the SQLSTATE.
func (e *engine) Conflict(err error) sqlstore.Conflict {
	switch sqlState(err) {
	case uniqueViolation:
		return sqlstore.Taken
	case foreignKeyViolation:
		return sqlstore.Missing
	}
	return sqlstore.NoConflict
}

func sqlState(err error) string {
	var broken *pgconn.PgError
	if errors.As(err, &broken) {
		return broken.Code
	}
	return ""
}

// Close waits for statements that run.
func (e *engine) Close() error { return e.db.Close() }
