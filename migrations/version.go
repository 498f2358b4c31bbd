package migrations

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

// SQLiteVersions tells the version of db's tables and that of the newest this program knows, changing nothing.
func SQLiteVersions(ctx context.Context, db *sql.DB) (current, known int64, err error) {
	return versions(ctx, goose.DialectSQLite3, "sqlite", db)
}

// PostgresVersions is SQLiteVersions for PostgreSQL.
func PostgresVersions(ctx context.Context, db *sql.DB) (current, known int64, err error) {
	return versions(ctx, goose.DialectPostgres, "postgres", db)
}

func versions(ctx context.Context, dialect goose.Dialect, folder string, db *sql.DB) (current, known int64, err error) {
	sources, err := fs.Sub(files, folder)
	if err != nil {
		return 0, 0, fmt.Errorf("migrations: %w", err)
	}
	p, err := goose.NewProvider(dialect, db, sources, goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return 0, 0, fmt.Errorf("migrations: %w", err)
	}
	for _, s := range p.ListSources() {
		known = max(known, s.Version)
	}
	// goose's own question would make its table where there is none.
	if err := db.QueryRowContext(ctx, "SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version WHERE is_applied").Scan(&current); err != nil {
		return 0, known, fmt.Errorf("migrations: %w", err)
	}
	return current, known, nil
}
