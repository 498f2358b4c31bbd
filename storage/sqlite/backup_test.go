package sqlite_test

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/latchkey-ace/latchkey/storage/backup/backuptest"
	"github.com/latchkey-ace/latchkey/storage/storagetest"
)

func TestBackupContract(t *testing.T) {
	backuptest.Run(t, func(t *testing.T) storagetest.Database {
		path := filepath.Join(t.TempDir(), "store.db")
		raw, err := sql.Open("sqlite", "file:"+path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { raw.Close() })
		return storagetest.Database{URL: "sqlite:" + path, Raw: raw, Tables: `SELECT name FROM sqlite_schema WHERE type = 'table'`}
	})
}
