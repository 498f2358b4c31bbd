package migrations

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// mayWait are migrations that this program serves without. A release adds its own to this list and makes no use of them
// yet where that would break on tables without them; the release after takes them off. A migration that is not named here
// is needed, so that forgetting the list refuses to serve and breaks nothing (docs/adr/0047).
var mayWait = []int64{}

// Newest is the version of the tables that this program makes.
func Newest() int64 { return slices.Max(versions()) }

// Oldest is the lowest version of the tables that this program serves.
func Oldest() int64 { return oldest(versions(), append(waitsNext(), mayWait...)) }

func oldest(all, waiting []int64) int64 {
	needed := slices.DeleteFunc(slices.Clone(all), func(v int64) bool { return slices.Contains(waiting, v) })
	return slices.Max(needed)
}

// versions are those of all migrations there are.
func versions() []int64 {
	names, err := fs.Glob(files, "sqlite/*.sql")
	var all []int64
	for _, name := range names {
		number, _, _ := strings.Cut(path.Base(name), "_")
		v, bad := strconv.ParseInt(number, 10, 64)
		if bad != nil {
			err = bad
		}
		all = append(all, v)
	}
	if err != nil || len(all) == 0 {
		panic(fmt.Sprintf("migrations: embedded files: %v", err))
	}
	if next := nextSchema(); next != nil {
		all = append(all, next.Version)
	}
	return all
}

// Queryer is a *sql.DB, *sql.Conn or *sql.Tx.
type Queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// VersionSQLite is the version of a database's tables, 0 for one without any.
func VersionSQLite(ctx context.Context, q Queryer) (int64, error) {
	return version(ctx, q, `SELECT count(*) FROM sqlite_schema WHERE name = 'goose_db_version'`)
}

// VersionPostgres is the same for PostgreSQL.
func VersionPostgres(ctx context.Context, q Queryer) (int64, error) {
	return version(ctx, q, `SELECT count(to_regclass('goose_db_version'))`)
}

func version(ctx context.Context, q Queryer, exists string) (v int64, err error) {
	var n int
	if err = q.QueryRowContext(ctx, exists).Scan(&n); err == nil && n > 0 {
		err = q.QueryRowContext(ctx, `SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version`).Scan(&v)
	}
	if err != nil {
		return 0, fmt.Errorf("version of the tables: %w", err)
	}
	return v, nil
}

// Known says whether this program knows how to make tables of a version, which may be too old to serve.
func Known(version int64) error {
	if version > Newest() {
		return newer(version, Newest())
	}
	if !slices.Contains(versions(), version) {
		return fmt.Errorf("no version %d of the tables was ever made", version)
	}
	return nil
}

// Check says whether this program serves tables of a version, and if not, what to do.
func Check(version int64) error {
	switch {
	case version > Newest():
		return newer(version, Newest())
	case version < Oldest():
		return fmt.Errorf("the store has tables of version %d and this program needs %d: stop every older program and run latchkey migrate",
			version, Oldest())
	}
	return nil
}

func newer(current, known int64) error {
	return fmt.Errorf("the store has tables of version %d and this program knows %d: run the newer program", current, known)
}
