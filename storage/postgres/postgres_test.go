package postgres_test

import (
	"database/sql"
	"os"
	"testing"

	"github.com/latchkey-ace/latchkey/storage/storagetest"
	"github.com/latchkey-ace/latchkey/storage/storagetest/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func TestContract(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storagetest.Database {
		url := pgtest.Start(t)
		raw, err := sql.Open("pgx", url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { raw.Close() })
		return storagetest.Database{
			URL: url, Raw: raw, Tables: `SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()`,
		}
	})
}
