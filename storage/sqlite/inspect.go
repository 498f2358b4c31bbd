package sqlite

import (
	"context"
	"errors"
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
	db, err := connect(address(path, url.Values{"_query_only": {"1"}}), 1)
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
	c.Known = migrations.Newest()
	if c.Version, err = migrations.VersionSQLite(ctx, db); err == nil && c.Version == 0 {
		err = errors.New("there are no tables in it")
	}
	return c, err
}
