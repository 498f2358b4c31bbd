package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/latchkey-ace/latchkey/migrations"
	"github.com/latchkey-ace/latchkey/storage/internal/sqlstore"
)

// Inspect looks at the database of a postgres:// URL without changing it. Errors do not show the URL.
func Inspect(ctx context.Context, url string) (c sqlstore.Condition, err error) {
	e, err := connect(url)
	if err != nil {
		return c, fmt.Errorf("open PostgreSQL: %w", err)
	}
	defer e.Close()
	settings := map[string]string{}
	for _, name := range []string{"server_version", "synchronous_commit", "fsync", "full_page_writes"} {
		var value string
		if err := e.db.QueryRowContext(ctx, "SHOW "+name).Scan(&value); err != nil {
			return c, fmt.Errorf("open PostgreSQL: %w", mark(err))
		}
		settings[name] = value
	}
	c.Engine = "PostgreSQL " + settings["server_version"]
	for _, name := range []string{"synchronous_commit", "fsync", "full_page_writes"} {
		if settings[name] == "off" {
			c.Durable = name + " is off"
		}
	}
	c.Known = migrations.Newest()
	if c.Version, err = migrations.VersionPostgres(ctx, e.db); err == nil && c.Version == 0 {
		err = errors.New("there are no tables in it")
	}
	return c, mark(err)
}
