package sqlite

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"github.com/latchkey-ace/latchkey/migrations"
	"github.com/latchkey-ace/latchkey/storage/backup"
	"github.com/latchkey-ace/latchkey/storage/internal/sqlstore"
	"github.com/latchkey-ace/latchkey/storage/internal/tables"
)

// Snapshot lets work see one state of the database, as of the last commit, while others read and write. The write-ahead
// log grows until work is done.
func Snapshot(ctx context.Context, path string, work func(sqlstore.Querier, int64, []tables.Table) error) error {
	if _, err := os.Stat(path); err != nil {
		return err // SQLite would make it
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	db, err := connect(address(path, url.Values{"_query_only": {"1"}}), 1)
	if err != nil {
		return err
	}
	defer db.Close()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	version, err := migrations.VersionSQLite(ctx, tx)
	if err != nil {
		return err
	}
	reads := newStatements(tx)
	defer reads.close()
	all, err := catalog(ctx, reads)
	if err != nil {
		return err
	}
	return work(reads, version, all)
}

// Restore makes a new database file with tables of a version, which work fills in one transaction. ready is asked last;
// only then does the file get its name. If anything fails, nothing is left.
func Restore(ctx context.Context, path string, version int64, work func(sqlstore.Querier, []tables.Table) error, ready func() error) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	for _, left := range []string{"-wal", "-shm", "-journal"} {
		if _, err := os.Lstat(path + left); err == nil { // SQLite would take it for a part of the new file
			return fmt.Errorf("%w: %s%s is left of an earlier store", tables.ErrNotEmpty, path, left)
		}
	}
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s exists: %w", path, tables.ErrNotEmpty)
	}
	file, err := backup.Create(path)
	if err != nil {
		return err
	}
	defer file.Discard()
	if err := fill(ctx, file.Name(), version, work); err != nil {
		return err
	}
	if err := ready(); err != nil {
		return err
	}
	return file.Commit()
}

// fill writes a file that nobody else has open, so its journal and its syncs are for nothing: Commit syncs once.
func fill(ctx context.Context, path string, version int64, work func(sqlstore.Querier, []tables.Table) error) error {
	db, err := connect(address(path, url.Values{
		"_txlock": {"immediate"}, "_journal_mode": {"MEMORY"}, "_synchronous": {"OFF"}, "_foreign_keys": {"1"},
		"_pragma": {"cache_size(-" + strconv.Itoa(restoreCache) + ")"},
	}), 1)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := migrations.SQLiteTo(ctx, db, version); err != nil {
		return err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	q := newStatements(conn)
	defer q.close()
	all, err := catalog(ctx, q)
	if err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if err := work(q, all); err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, "COMMIT"); err != nil {
		return err
	}
	var problem string
	if err := conn.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&problem); err != nil || problem != "ok" {
		return errors.Join(err, fmt.Errorf("check of the new file: %q", problem))
	}
	return nil
}

// catalog lists our tables that a backup has: goose's own and the number of changes are of one database.
func catalog(ctx context.Context, q sqlstore.Querier) ([]tables.Table, error) {
	rows, err := q.QueryContext(ctx, `SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c
		WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite!_%' ESCAPE '!' AND t.name NOT IN ('goose_db_version', 'changed') ORDER BY t.name, c.cid`)
	all, err := collect(rows, err, func(t *tables.Table, column string) {
		t.Columns = append(t.Columns, tables.Column{Name: column})
	}, nil)
	if err != nil {
		return nil, err
	}
	rows, err = q.QueryContext(ctx, `SELECT t.name, f."table" FROM sqlite_schema t, pragma_foreign_key_list(t.name) f WHERE t.type = 'table'`)
	return collect(rows, err, func(t *tables.Table, other string) { t.After = append(t.After, other) }, all)
}

// collect adds what each row says to the table that it names first.
func collect(rows sqlstore.Rows, err error, add func(*tables.Table, string), all []tables.Table) ([]tables.Table, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var table, text string
		if err := rows.Scan(&table, &text); err != nil {
			return nil, err
		}
		add(find(&all, table), text)
	}
	return all, rows.Err()
}

func find(all *[]tables.Table, name string) *tables.Table {
	for i := range *all {
		if (*all)[i].Name == name {
			return &(*all)[i]
		}
	}
	*all = append(*all, tables.Table{Name: name})
	return &(*all)[len(*all)-1]
}

// Migrate brings the tables of a database up to date.
func Migrate(ctx context.Context, path string) error {
	e, err := openEngine(ctx, path, false)
	if err != nil {
		return err
	}
	return e.Close()
}
