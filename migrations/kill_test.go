package migrations_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/migrations"
	_ "github.com/latchkey-ace/latchkey/storage/postgres" // the driver
	"github.com/latchkey-ace/latchkey/storage/storagetest/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

var errKilled = errors.New("killed")

// mortal opens connections of a process that dies at its n-th statement: they are closed as the kernel closes a dead
// process's, and nothing is said any more.
type mortal struct {
	driver driver.Driver
	name   string
	left   int
	die    func()
	open   []driver.Conn
}

func (m *mortal) Driver() driver.Driver { return m.driver }

func (m *mortal) Connect(context.Context) (driver.Conn, error) {
	if m.left <= 0 {
		return nil, errKilled
	}
	c, err := m.driver.Open(m.name)
	if err != nil {
		return nil, err
	}
	m.open = append(m.open, c)
	return &mortalConn{c, m}, nil
}

// step is before each statement, begin and commit.
func (m *mortal) step() error {
	if m.left--; m.left > 0 {
		return nil
	}
	if m.left == 0 {
		for _, c := range m.open {
			c.Close()
		}
		m.die()
	}
	return errKilled
}

type mortalConn struct {
	driver.Conn
	of *mortal
}

func (c *mortalConn) ExecContext(ctx context.Context, q string, args []driver.NamedValue) (driver.Result, error) {
	if err := c.of.step(); err != nil {
		return nil, err
	}
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, q, args)
}

func (c *mortalConn) QueryContext(ctx context.Context, q string, args []driver.NamedValue) (driver.Rows, error) {
	if err := c.of.step(); err != nil {
		return nil, err
	}
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, q, args)
}

func (c *mortalConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	if err := c.of.step(); err != nil {
		return nil, err
	}
	tx, err := c.Conn.(driver.ConnBeginTx).BeginTx(ctx, o)
	return mortalTx{tx, c.of}, err
}

func (c *mortalConn) Close() error {
	if c.of.left <= 0 {
		return nil
	}
	return c.Conn.Close()
}

type mortalTx struct {
	driver.Tx
	of *mortal
}

func (t mortalTx) Commit() error {
	if err := t.of.step(); err != nil {
		return err
	}
	return t.Tx.Commit()
}

func (t mortalTx) Rollback() error {
	if t.of.left <= 0 {
		return errKilled
	}
	return t.Tx.Rollback()
}

// migrateAndDie migrates a database in a process that dies at its n-th statement; false: it did not live so long.
func migrateAndDie(t *testing.T, engine, name string, n int, migrate func(context.Context, *sql.DB) error) (died bool) {
	t.Helper()
	usual, err := sql.Open(engine, name)
	if err != nil {
		t.Fatal(err)
	}
	defer usual.Close()
	ctx, die := context.WithCancel(t.Context())
	defer die()
	m := &mortal{driver: usual.Driver(), name: name, left: n, die: die}
	db := sql.OpenDB(m)
	defer db.Close()
	err = migrate(ctx, db)
	if m.left > 0 && err != nil {
		t.Fatal(err)
	}
	if m.left <= 0 && err == nil {
		t.Fatal("migrated after its death")
	}
	return m.left <= 0
}

// killAtEach kills a migrating process at each of its statements (at every stride-th); the next one finishes its work.
func killAtEach(t *testing.T, engine string, stride int, fresh func() string, migrate func(context.Context, *sql.DB) error, schema string) {
	t.Helper()
	look := func(name string, before func(*sql.DB)) string {
		db, err := sql.Open(engine, name)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		before(db)
		rows, err := db.Query(schema)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		var all []string
		for rows.Next() {
			var row string
			if err := rows.Scan(&row); err != nil {
				t.Fatal(err)
			}
			all = append(all, row)
		}
		return strings.Join(all, "\n")
	}
	finish := func(db *sql.DB) {
		if err := migrate(t.Context(), db); err != nil {
			t.Fatal(err)
		}
	}
	want := look(fresh(), finish)
	if !strings.Contains(want, "families") {
		t.Fatalf("no tables: %s", want)
	}
	kills := 0
	for n := 1; ; n += stride {
		name := fresh()
		if !migrateAndDie(t, engine, name, n, migrate) {
			break
		}
		kills++
		if got := look(name, finish); got != want {
			t.Fatalf("killed at statement %d: got\n%s\nwant\n%s", n, got, want)
		}
	}
	t.Logf("killed %d times", kills)
	if kills < 10 {
		t.Errorf("killed only %d times", kills)
	}
}

// F16.
func TestKilledMigrationGoesOn(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		folder, n := t.TempDir(), 0
		fresh := func() string {
			n++
			return "file:" + filepath.Join(folder, strings.Repeat("x", n/20+1)+string(rune('a'+n%20))+".db") + "?_txlock=immediate&_synchronous=OFF"
		}
		killAtEach(t, "sqlite", 1, fresh, migrations.SQLite, `SELECT COALESCE(sql, name) FROM sqlite_schema ORDER BY name`)
	})
	t.Run("postgres", func(t *testing.T) {
		stride := 9
		if os.Getenv("LATCHKEY_SOAK") != "" {
			stride = 1
		}
		killAtEach(t, "pgx", stride, func() string { return pgtest.Start(t) }, migrations.Postgres, `SELECT table_name || ' ' || column_name || ' ' || data_type || ' ' || is_nullable
			FROM information_schema.columns WHERE table_schema = current_schema() UNION ALL
			SELECT replace(indexdef, current_schema(), '') FROM pg_indexes WHERE schemaname = current_schema() ORDER BY 1`)
	})
}
