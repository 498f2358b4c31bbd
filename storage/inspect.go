package storage

import (
	"context"
	"fmt"
	"strings"

	"github.com/latchkey-ace/latchkey/storage/internal/sqlstore"
	"github.com/latchkey-ace/latchkey/storage/postgres"
	"github.com/latchkey-ace/latchkey/storage/sqlite"
)

// Condition is what Inspect sees of a database.
type Condition = sqlstore.Condition

// Inspect looks at the database a URL names, without a key and without changing anything: not even tables of an earlier
// version are brought up to date. A database without our tables is an error.
func Inspect(ctx context.Context, url string) (Condition, error) {
	scheme, path, _ := strings.Cut(url, ":")
	switch scheme {
	case "sqlite":
		return sqlite.Inspect(ctx, path)
	case "postgres", "postgresql":
		return postgres.Inspect(ctx, url)
	}
	return Condition{}, fmt.Errorf("open store: %q is neither sqlite:PATH nor a postgres:// URL", scheme)
}
