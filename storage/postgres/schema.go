package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3/lock"

	"github.com/latchkey-ace/latchkey/migrations"
)

// Each connection of a program holds an advisory lock, shared: its first number is of the schema, its second the version of
// the tables that the program knows. Who would migrate looks for lower ones. The lock ends with the connection, however that
// ends, and comes again with the next.
const (
	presence = `hashtext('latchkey ' || current_schema())`
	be       = `SELECT pg_advisory_lock_shared(` + presence + `, $1)`
	older    = `SELECT COALESCE(MIN(objid::bigint), 0) FROM pg_locks JOIN pg_database d ON d.oid = database
		WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND classid::bigint = ` + presence + ` & 4294967295
		AND d.datname = current_database() AND objid::bigint < $1`
)

// present makes a new connection known.
func present(knows int64) func(context.Context, *pgx.Conn) error {
	return func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, be, knows)
		return err
	}
}

// arrive sees to the tables. Who is connected is known already, and whoever connects from here on waits for its turn: so of
// an older and a newer program that start at once, the later sees the earlier or what it has done.
func arrive(ctx context.Context, db *sql.DB, keep bool) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock($1)`, int64(lock.DefaultLockID)); err != nil {
		return err
	}
	err = settle(ctx, db, conn, keep)
	_, unlock := conn.ExecContext(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, int64(lock.DefaultLockID))
	return errors.Join(err, unlock)
}

func settle(ctx context.Context, db *sql.DB, conn *sql.Conn, keep bool) error {
	version, err := migrations.VersionPostgres(ctx, conn)
	if err != nil {
		return err
	}
	if version == 0 {
		return migrations.PostgresLocked(ctx, db, migrations.Newest())
	}
	if version >= migrations.Newest() || keep {
		return migrations.Check(version)
	}
	alive, err := olderAlive(ctx, conn)
	if err != nil || alive != 0 {
		return errors.Join(err, migrations.Check(version))
	}
	return migrations.PostgresLocked(ctx, db, migrations.Newest())
}

// olderAlive is the version that the oldest program knows which is connected and older than this one; 0: there is none.
func olderAlive(ctx context.Context, q migrations.Queryer) (version int64, err error) {
	if err = q.QueryRowContext(ctx, older, migrations.Newest()).Scan(&version); err != nil {
		err = fmt.Errorf("look for older programs: %w", err)
	}
	return version, err
}
