//go:build next_schema

package migrations

import (
	"context"
	"database/sql"

	"github.com/pressly/goose/v3"
)

const nextVersion = 99001

// nextSchema makes this test-only build the release after: it knows one migration more and, as the rule asks, serves
// without it too.
func nextSchema() *goose.Migration {
	return goose.NewGoMigration(nextVersion, &goose.GoFunc{RunTx: func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `ALTER TABLE users ADD COLUMN next_schema TEXT NOT NULL DEFAULT ''`)
		return err
	}}, nil)
}

func waitsNext() []int64 { return []int64{nextVersion} }
