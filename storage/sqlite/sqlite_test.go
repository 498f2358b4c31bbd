package sqlite_test

import (
	"bytes"
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/storage/storagetest"
)

func TestContract(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storagetest.Database {
		path := filepath.Join(t.TempDir(), "latch key?.db") // a name that a URL must escape
		raw, err := sql.Open("sqlite", "file:"+filepath.Dir(path)+"/latch%20key%3F.db")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { raw.Close() })
		return storagetest.Database{
			URL: "sqlite:" + path, Raw: raw, Tables: `SELECT name FROM sqlite_schema WHERE type = 'table'`,
		}
	})
}

// TestFiles looks at the files themselves, the log included: no secret in them, and nobody else may read them.
func TestFiles(t *testing.T) {
	folder := t.TempDir()
	store := openStore(t, filepath.Join(folder, "store.db"))
	root, public := numbered("root key", 1), numbered("public key", 1)
	if err := store.AddDevice(t.Context(), authz.Device{ID: theDevice, Name: "front", RootKey: root, PublicKey: public}); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(folder)
	if err != nil || len(files) != 3 {
		t.Fatalf("got %d files, %v, want database, log and index", len(files), err)
	}
	found := false
	for _, file := range files {
		info, err := file.Info()
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v, want 0600", file.Name(), info.Mode(), err)
		}
		data, err := os.ReadFile(filepath.Join(folder, file.Name()))
		if err != nil || bytes.Contains(data, root) {
			t.Errorf("%s: %v, or it shows a root key", file.Name(), err)
		}
		found = found || bytes.Contains(data, public)
	}
	if !found {
		t.Error("the search finds nothing at all")
	}
}
