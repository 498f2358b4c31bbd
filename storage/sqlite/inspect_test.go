package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/storage/internal/sqlstore"
)

func TestInspect(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	if _, err := Inspect(t.Context(), path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want that there is none", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("looking has made a file")
	}
	e, err := openEngine(t.Context(), path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	c, err := Inspect(t.Context(), path)
	if err != nil || c.Version == 0 || c.Version != c.Known || c.Durable != "" || !strings.HasPrefix(c.Engine, "SQLite ") {
		t.Errorf("got %+v (%v), want the newest tables, durable", c, err)
	}
	garbage := filepath.Join(t.TempDir(), "y.db")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("no database", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Inspect(t.Context(), garbage); err == nil {
		t.Error("garbage passed")
	}
	empty := filepath.Join(t.TempDir(), "z.db")
	other, err := sql.Open("sqlite", empty)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.Exec("CREATE TABLE x (y)"); err != nil {
		t.Fatal(err)
	}
	if _, err := Inspect(t.Context(), empty); err == nil {
		t.Error("another program's database passed")
	}
}

// TestDiskFull writes until SQLite may have no more pages (F8), and goes on when it may.
func TestDiskFull(t *testing.T) {
	e, err := openEngine(t.Context(), filepath.Join(t.TempDir(), "x.db"), false)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	write := func(statement string, args ...any) error {
		return e.Write(t.Context(), func(ctx context.Context, q sqlstore.Querier) error {
			_, err := q.ExecContext(ctx, statement, args...)
			return err
		})
	}
	limit := func(pages string) {
		t.Helper()
		err := e.Write(t.Context(), func(ctx context.Context, q sqlstore.Querier) error {
			rows, err := q.QueryContext(ctx, "PRAGMA max_page_count="+pages)
			if err != nil {
				return err
			}
			for rows.Next() {
			}
			return errors.Join(rows.Err(), rows.Close())
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	const insert = "INSERT INTO meta (name, value) VALUES ($1, zeroblob(100000))"
	limit("1") // that is, as many as there are
	if err := write(insert, "large"); !errors.Is(err, authz.ErrUnavailable) {
		t.Errorf("on a full disk: got %v, want ErrUnavailable", err)
	}
	limit("100000")
	if err := write(insert, "large"); err != nil {
		t.Errorf("when there is room again: %v", err)
	}
	if err := write(insert, "large"); err == nil || errors.Is(err, authz.ErrUnavailable) {
		t.Errorf("a name that is taken: got %v, want another error", err)
	}
	if mark(syscall.ENOSPC) != syscall.ENOSPC {
		t.Error("an error that is not SQLite's changed")
	}
}
