package sqlite

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/latchkey-ace/latchkey/migrations"
	"github.com/latchkey-ace/latchkey/storage/internal/sqlstore"
)

// Inspect looks at a database file without changing it.
func Inspect(ctx context.Context, path string) (c sqlstore.Condition, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return c, err
	}
	if _, err := os.Stat(path); err != nil {
		return c, err
	}
	db, err := connect(path, 1, url.Values{"_query_only": {"1"}})
	if err != nil {
		return c, fmt.Errorf("open %s: %w", path, err)
	}
	defer db.Close()
	var version, journal string
	if err := db.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&version); err != nil {
		return c, fmt.Errorf("open %s: %w", path, err)
	}
	if err := db.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&journal); err != nil {
		return c, fmt.Errorf("open %s: %w", path, err)
	}
	c.Engine = "SQLite " + version
	if journal != "wal" {
		c.Durable = "journal_mode is " + journal
	}
	c.Version, c.Known, err = migrations.SQLiteVersions(ctx, db)
	return c, err
}
