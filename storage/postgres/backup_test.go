package postgres_test

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/latchkey-ace/latchkey/storage/backup/backuptest"
	"github.com/latchkey-ace/latchkey/storage/storagetest"
	"github.com/latchkey-ace/latchkey/storage/storagetest/pgtest"
)

func freshSchema(t *testing.T) storagetest.Database {
	url := pgtest.Start(t)
	raw, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	return storagetest.Database{URL: url, Raw: raw, Tables: `SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()`}
}

func TestBackupContract(t *testing.T) { backuptest.Run(t, freshSchema) }

func TestBackupMovesBetweenEngines(t *testing.T) {
	backuptest.Moves(t, func(t *testing.T) storagetest.Database {
		path := filepath.Join(t.TempDir(), "store.db")
		raw, err := sql.Open("sqlite", "file:"+path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { raw.Close() })
		return storagetest.Database{URL: "sqlite:" + path, Raw: raw, Tables: `SELECT name FROM sqlite_schema WHERE type = 'table'`}
	}, freshSchema)
}
