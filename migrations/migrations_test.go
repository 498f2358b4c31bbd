package migrations_test

import (
	"context"
	"database/sql"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/latchkey-ace/latchkey/migrations"
)

func database(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "store.db")+"?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestMigratingAgainChangesNothing(t *testing.T) {
	db := database(t)
	var before, after string
	const schema = "SELECT group_concat(sql, ';') FROM sqlite_schema"
	for _, into := range []*string{&before, &after} {
		if err := migrations.SQLite(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		if err := db.QueryRow(schema).Scan(into); err != nil {
			t.Fatal(err)
		}
	}
	if before != after || !strings.Contains(before, "CREATE TABLE codes") {
		t.Errorf("got %s, want %s", after, before)
	}
}

func TestNewerTablesAreRefused(t *testing.T) {
	db := database(t)
	if err := migrations.SQLite(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, 1)"); err != nil {
		t.Fatal(err)
	}
	if err := migrations.SQLite(t.Context(), db); err == nil || !strings.Contains(err.Error(), "newer program") {
		t.Errorf("got %v, want an error that names the cure", err)
	}
}

func TestMigrationStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := migrations.SQLite(ctx, database(t)); err == nil {
		t.Error("migrated for a caller who has left")
	}
}

var column = regexp.MustCompile(`(?m)^ {4}([a-z_]+) +[A-Z]|^CREATE TABLE ([a-z_]+)|^CREATE INDEX (.*);`)

// Both engines have the same tables with the same columns in the same order, and there is no way back.
func TestEnginesAgree(t *testing.T) {
	var found [2][]string
	for i, folder := range []string{"sqlite", "postgres"} {
		files, err := fs.Glob(os.DirFS(folder), "*.sql")
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: got %q, %v", folder, files, err)
		}
		for _, name := range files {
			text, err := os.ReadFile(filepath.Join(folder, name))
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(text), "+goose Down") {
				t.Errorf("%s/%s goes back", folder, name)
			}
			found[i] = append(found[i], name)
			for _, match := range column.FindAllStringSubmatch(string(text), -1) {
				found[i] = append(found[i], strings.Join(match[1:], ""))
			}
		}
	}
	if !slices.Equal(found[0], found[1]) || len(found[0]) < 80 {
		t.Errorf("sqlite has\n%q\npostgres has\n%q", found[0], found[1])
	}
}
