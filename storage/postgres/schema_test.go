package postgres

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/latchkey-ace/latchkey/migrations"
	"github.com/latchkey-ace/latchkey/storage/storagetest/pgtest"
)

// old makes the tables of the first version, as an earlier program left them.
func old(t *testing.T) (url string) {
	t.Helper()
	url = pgtest.Start(t)
	e, err := connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := migrations.PostgresTo(t.Context(), e.db, 1); err != nil {
		t.Fatal(err)
	}
	return url
}

// program is one that is connected and knows tables up to a version.
func program(t *testing.T, url string, knows int64) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err == nil {
		err = present(knows)(t.Context(), conn)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func versionOf(t *testing.T, url string) int64 {
	t.Helper()
	e, err := connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	v, err := migrations.VersionPostgres(t.Context(), e.db)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestOldTablesAreLeftAloneOnDemand(t *testing.T) {
	url := old(t)
	e, err := openEngine(t.Context(), url, true)
	if err == nil {
		e.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "latchkey migrate") || versionOf(t, url) != 1 {
		t.Errorf("got %v with version %d", err, versionOf(t, url))
	}
}

// While a program is connected that does not know the newest tables, nobody makes them.
func TestTablesAreNotChangedBeneathAnOlderProgram(t *testing.T) {
	url := old(t)
	older := program(t, url, 1)
	program(t, pgtest.Start(t), 1) // somebody's older program on another schema is none of ours
	for name, try := range map[string]func(context.Context, string) error{
		"open": func(ctx context.Context, url string) error {
			e, err := openEngine(ctx, url, false)
			if err == nil {
				e.Close()
			}
			return err
		},
		"migrate": Migrate,
	} {
		if err := try(t.Context(), url); err == nil || versionOf(t, url) != 1 {
			t.Errorf("%s: got %v with version %d", name, err, versionOf(t, url))
		}
	}
	if err := older.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := Migrate(t.Context(), url); err != nil || versionOf(t, url) != migrations.Newest() {
		t.Errorf("after it has gone: %v with version %d", err, versionOf(t, url))
	}
	// An older program that arrives now is refused by name: see package migrations.
}

func TestProgramsOfOneVersionOpenTogether(t *testing.T) {
	url := pgtest.Start(t)
	for range 3 {
		e, err := openEngine(t.Context(), url, false)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		if alive, err := olderAlive(t.Context(), e.db); err != nil || alive != 0 {
			t.Errorf("an older program is seen: %d, %v", alive, err)
		}
	}
}
