package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/pressly/goose/v3/lock"

	"github.com/latchkey-ace/latchkey/migrations"
	"github.com/latchkey-ace/latchkey/storage/internal/sqlstore"
	"github.com/latchkey-ace/latchkey/storage/internal/tables"
)

// Snapshot lets work see one state of the database while others read and write.
func Snapshot(ctx context.Context, url string, work func(sqlstore.Querier, int64, []tables.Table) error) error {
	e, err := connect(url)
	if err != nil {
		return err
	}
	defer e.Close()
	tx, err := e.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	version, err := migrations.VersionPostgres(ctx, tx)
	if err != nil {
		return err
	}
	all, err := catalog(ctx, marked{tx})
	if err != nil {
		return err
	}
	return work(marked{tx}, version, all)
}

// Restore makes tables of a version in an empty database, and work fills them in one transaction. ready is asked last; only
// then is it committed. If anything fails, the tables are as empty as before.
func Restore(ctx context.Context, url string, version int64, work func(sqlstore.Querier, []tables.Table) error, ready func() error) error {
	e, err := connect(url)
	if err != nil {
		return err
	}
	defer e.Close()
	found, err := migrations.VersionPostgres(ctx, e.db)
	if err == nil && found == 0 {
		err = migrations.PostgresTo(ctx, e.db, version)
	}
	if err != nil {
		return err
	}
	tx, err := e.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	// Nobody migrates meanwhile.
	if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(lock.DefaultLockID)); err != nil {
		return err
	}
	if found, err = migrations.VersionPostgres(ctx, tx); err != nil {
		return err
	}
	if found != version {
		return fmt.Errorf("the database has tables of version %d and the backup of %d: give a database without tables", found, version)
	}
	if err := fill(ctx, tx, work); err != nil {
		return err
	}
	if err := ready(); err != nil {
		return err
	}
	return tx.Commit()
}

func fill(ctx context.Context, tx *sql.Tx, work func(sqlstore.Querier, []tables.Table) error) error {
	all, err := catalog(ctx, marked{tx})
	if err != nil {
		return err
	}
	if err := work(marked{tx}, all); err != nil {
		return err
	}
	for _, t := range all {
		for _, c := range t.Columns {
			if !c.Identity {
				continue
			}
			_, err := tx.ExecContext(ctx, `SELECT setval(pg_get_serial_sequence('`+t.Name+`', '`+c.Name+`'),
				(SELECT COALESCE(MAX(`+c.Name+`), 0) + 1 FROM `+t.Name+`), false)`)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// catalog lists our tables that a backup has: goose's own and the number of changes are of one database.
func catalog(ctx context.Context, q sqlstore.Querier) ([]tables.Table, error) {
	rows, err := q.QueryContext(ctx, `SELECT c.table_name, c.column_name, c.data_type = 'boolean', c.is_identity = 'YES',
			ARRAY_TO_STRING(ARRAY(SELECT DISTINCT p.relname FROM pg_constraint f JOIN pg_class p ON p.oid = f.confrelid
				WHERE f.contype = 'f' AND f.conrelid = to_regclass(quote_ident(c.table_name))), ' ')
		FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
		WHERE c.table_schema = current_schema() AND t.table_type = 'BASE TABLE' AND c.table_name NOT IN ('goose_db_version', 'changed')
		ORDER BY c.table_name, c.ordinal_position`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []tables.Table
	for rows.Next() {
		var table, after string
		var c tables.Column
		if err := rows.Scan(&table, &c.Name, &c.Bool, &c.Identity, &after); err != nil {
			return nil, err
		}
		if len(all) == 0 || all[len(all)-1].Name != table {
			all = append(all, tables.Table{Name: table, After: strings.Fields(after)})
		}
		last := &all[len(all)-1]
		last.Columns = append(last.Columns, c)
	}
	return all, errors.Join(rows.Err(), rows.Close())
}

// Migrate brings the tables of a database up to date, unless an older program is connected: it would find tables that it
// does not know.
func Migrate(ctx context.Context, url string) error {
	e, err := openEngine(ctx, url, false)
	if err != nil {
		return err
	}
	alive, err := olderAlive(ctx, e.db)
	if err == nil && alive != 0 {
		err = fmt.Errorf("a program that knows tables up to version %d is connected: stop it, or replace it by this one, then try again", alive)
	}
	return errors.Join(err, e.Close())
}
