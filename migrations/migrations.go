// Package migrations holds the tables of the authorization server's store and brings a database up to them.
//
// Migrations only go forward: a file that has been released is never edited, and there is no way down. Which tables this
// program can serve is in rule.go (docs/adr/0047). Start from SQLite or Postgres, which the backends call when they open.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed sqlite/*.sql postgres/*.sql
var files embed.FS

// SQLite brings db up to date. Two processes may open a new database at once: each migration is one transaction, so
// the second finds the tables of the first and, when it asks again, nothing left to do.
func SQLite(ctx context.Context, db *sql.DB) error { return SQLiteTo(ctx, db, Newest()) }

// SQLiteTo brings db up to a version, which a backup of that version needs.
func SQLiteTo(ctx context.Context, db *sql.DB, version int64) error {
	const tries, pause = 5, 50 * time.Millisecond
	var err error
	for range tries {
		if err = up(ctx, goose.DialectSQLite3, db, version); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
	return err
}

// Postgres brings db up to date under an advisory lock, so that processes opening at once take turns.
func Postgres(ctx context.Context, db *sql.DB) error { return PostgresTo(ctx, db, Newest()) }

// PostgresTo is SQLiteTo for PostgreSQL.
func PostgresTo(ctx context.Context, db *sql.DB, version int64) error {
	return up(ctx, goose.DialectPostgres, db, version, goose.WithSessionLocker(advisoryLock{}))
}

// PostgresLocked is PostgresTo for a caller that holds the lock already, in another session.
func PostgresLocked(ctx context.Context, db *sql.DB, version int64) error {
	return up(ctx, goose.DialectPostgres, db, version)
}

var folders = map[goose.Dialect]string{goose.DialectSQLite3: "sqlite", goose.DialectPostgres: "postgres"}

func up(ctx context.Context, dialect goose.Dialect, db *sql.DB, version int64, options ...goose.ProviderOption) error {
	sources, err := fs.Sub(files, folders[dialect])
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	options = append(options, goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if next := nextSchema(); next != nil {
		options = append(options, goose.WithGoMigrations(next))
	}
	p, err := goose.NewProvider(dialect, db, sources, options...)
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	if _, err := p.UpTo(ctx, version); err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	current, _, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	if current > version {
		return newer(current, version)
	}
	return nil
}

// advisoryLock waits as long as ctx allows; goose's own lock polls, at best once a second.
type advisoryLock struct{}

var _ lock.SessionLocker = advisoryLock{}

func (advisoryLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock($1)", lock.DefaultLockID)
	return err
}

func (advisoryLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "SELECT pg_advisory_unlock($1)", lock.DefaultLockID)
	return err
}
