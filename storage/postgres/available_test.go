package postgres

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/storage/internal/seal"
	"github.com/latchkey-ace/latchkey/storage/internal/sqlstore"
	"github.com/latchkey-ace/latchkey/storage/storagetest/pgtest"
)

func sealer(t *testing.T) *seal.Sealer {
	t.Helper()
	s, err := seal.New([32]byte{1}, strings.NewReader(strings.Repeat("random", 10_000)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestServerAway stops PostgreSQL under an open store and starts it again (F11).
func TestServerAway(t *testing.T) {
	pg := pgtest.Own(t)
	store, err := Open(t.Context(), pg.URL, sealer(t), time.Now(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Record(t.Context(), authz.AuditEntry{At: time.Now(), Event: "token", Result: "refused"}); err != nil {
		t.Fatal(err)
	}
	pg.Stop()
	for range 3 { // the first finds a broken connection, the others none
		if _, err := store.User(t.Context(), "alice"); !errors.Is(err, authz.ErrUnavailable) {
			t.Errorf("reading: got %v, want ErrUnavailable", err)
		}
		if err := store.Record(t.Context(), authz.AuditEntry{At: time.Now(), Event: "token"}); !errors.Is(err, authz.ErrUnavailable) {
			t.Errorf("writing: got %v, want ErrUnavailable", err)
		}
	}
	if _, err := Open(t.Context(), pg.URL, sealer(t), time.Now(), false); !errors.Is(err, authz.ErrUnavailable) {
		t.Errorf("opening: got %v, want ErrUnavailable", err)
	}
	if _, err := Inspect(t.Context(), pg.URL); !errors.Is(err, authz.ErrUnavailable) {
		t.Errorf("inspecting: got %v, want ErrUnavailable", err)
	}
	pg.Start()
	if _, err := store.User(t.Context(), "alice"); !errors.Is(err, authz.ErrNotFound) || errors.Is(err, authz.ErrUnavailable) {
		t.Errorf("reading when it is back: got %v, want ErrNotFound alone", err)
	}
	if err := store.Record(t.Context(), authz.AuditEntry{At: time.Now(), Event: "token", Result: "granted"}); err != nil {
		t.Errorf("writing when it is back: %v", err)
	}
	entries, err := store.AuditTail(t.Context(), 10)
	if err != nil || len(entries) != 2 {
		t.Errorf("%d entries (%v), want the two that were acknowledged", len(entries), err)
	}
}

// TestNotAway: what does not mend itself is no matter of waiting.
func TestNotAway(t *testing.T) {
	url := pgtest.Start(t)
	for name, wrong := range map[string]string{
		"a database that does not exist": strings.Replace(url, "/postgres?", "/nowhere?", 1),
		"a user that does not exist":     strings.Replace(url, "postgres@", "nobody@", 1),
		"no URL":                         "postgres://%zz",
	} {
		if _, err := Open(t.Context(), wrong, sealer(t), time.Now(), false); err == nil || errors.Is(err, authz.ErrUnavailable) {
			t.Errorf("%s: got %v, want another error", name, err)
		}
	}
	e, err := openEngine(t.Context(), url, false)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	_, err = e.Reader().QueryContext(t.Context(), "SELECT nothing FROM nowhere")
	if err == nil || errors.Is(err, authz.ErrUnavailable) {
		t.Errorf("a wrong statement: got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Write(ctx, func(context.Context, sqlstore.Querier) error { return nil }); !errors.Is(err, context.Canceled) || errors.Is(err, authz.ErrUnavailable) {
		t.Errorf("a caller who left: got %v, want context.Canceled alone", err)
	}
	ended, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := e.Reader().QueryContext(ended, "SELECT pg_sleep(10)"); !errors.Is(err, authz.ErrUnavailable) {
		t.Errorf("a server that does not answer in time: got %v, want ErrUnavailable", err)
	}
}

func TestInspect(t *testing.T) {
	url := pgtest.Start(t)
	if _, err := Inspect(t.Context(), url); err == nil {
		t.Error("an empty schema has no version")
	}
	e, err := openEngine(t.Context(), url, false)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	c, err := Inspect(t.Context(), url)
	if err != nil || c.Version == 0 || c.Version != c.Known || c.Durable != "" || !strings.HasPrefix(c.Engine, "PostgreSQL ") {
		t.Errorf("got %+v (%v), want the newest tables, durable", c, err)
	}
	if c, err = Inspect(t.Context(), url+"&synchronous_commit=off"); err != nil || c.Durable != "synchronous_commit is off" {
		t.Errorf("got %+v (%v), want what is not durable", c, err)
	}
	if _, err := e.db.ExecContext(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, true)"); err != nil {
		t.Fatal(err)
	}
	if c, err = Inspect(t.Context(), url); err != nil || c.Version != 999 || c.Known >= 999 {
		t.Errorf("got %+v (%v), want a newer version", c, err)
	}
}
