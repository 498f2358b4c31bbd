package housekeeping_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/housekeeping"
	"github.com/latchkey-ace/latchkey/storage"
	"github.com/latchkey-ace/latchkey/storage/storagetest/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

var evening = time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)

// clock is set by hand.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// database is an empty one; each open stands for another server.
type database struct {
	t     *testing.T
	url   string
	raw   *sql.DB
	clock *clock
}

func (d *database) open() authz.Store {
	d.t.Helper()
	s, err := storage.Open(d.t.Context(), d.url, storage.Options{Key: storage.StoreKey{1}, Now: d.clock.now})
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { s.Close() })
	return s
}

// onBoth runs a test on SQLite and on PostgreSQL.
func onBoth(t *testing.T, test func(t *testing.T, d *database)) {
	for name, open := range map[string]func(t *testing.T) (url, driver, source string){
		"sqlite": func(t *testing.T) (string, string, string) {
			path := filepath.Join(t.TempDir(), "as.db")
			return "sqlite:" + path, "sqlite", "file:" + path
		},
		"postgres": func(t *testing.T) (string, string, string) {
			url := pgtest.Start(t)
			return url, "pgx", url
		},
	} {
		t.Run(name, func(t *testing.T) {
			url, driver, source := open(t)
			raw, err := sql.Open(driver, source)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { raw.Close() })
			test(t, &database{t, url, raw, &clock{at: evening}})
		})
	}
}

func (d *database) rows(table string) (n int) {
	d.t.Helper()
	if err := d.raw.QueryRow("SELECT COUNT(*) FROM " + table).Scan(&n); err != nil {
		d.t.Fatal(err)
	}
	return n
}

// fill adds n sessions that end in a minute.
func fill(t *testing.T, s authz.Store, name string, n int) {
	t.Helper()
	for i := range n {
		if err := s.UseOnce(t.Context(), evening, authz.Use{Kind: "jti", Value: fmt.Append(nil, name, i), Until: evening.Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
	}
}

func keeper(d *database, s housekeeping.Store, holder string, removed *[]int) *housekeeping.Keeper {
	return housekeeping.New(s, housekeeping.Options{
		Holder: holder, Now: d.clock.now, Wait: func(context.Context, time.Duration) error { return nil },
		Removed: func(n int) { *removed = append(*removed, n) },
	})
}

// One of two servers sweeps, in batches until nothing is left; when it is gone the other does.
func TestOneSweepsAndIsReplaced(t *testing.T) {
	onBoth(t, func(t *testing.T, d *database) {
		ctx := t.Context()
		one, two := d.open(), d.open()
		var byOne, byTwo []int
		first, second := keeper(d, one, "one", &byOne), keeper(d, two, "two", &byTwo)
		turn := func(k *housekeeping.Keeper, want int) {
			t.Helper()
			if n, err := k.Turn(ctx); n != want || err != nil {
				t.Errorf("got %d, %v, want %d", n, err, want)
			}
		}
		fill(t, one, "a", 1100)
		turn(first, 0)
		d.clock.move(time.Minute)
		turn(second, 0)
		if n := d.rows("uses"); n != 1100 {
			t.Errorf("who does not lead has removed: %d rows", n)
		}
		turn(first, 1100)
		if want := []int{500, 500, 100}; !slices.Equal(byOne, want) || byTwo != nil {
			t.Errorf("got batches %v and %v, want %v", byOne, byTwo, want)
		}
		// The first is killed: it does not come back, nor does it give its lease back.
		if err := one.Close(); err != nil {
			t.Fatal(err)
		}
		fill(t, two, "b", 3)
		d.clock.move(3*housekeeping.Every - time.Millisecond)
		turn(second, 0)
		d.clock.move(time.Millisecond)
		turn(second, 3)
	})
}

// A server that stops in order hands over at once; one that is running keeps the lease from turn to turn.
func TestStoppingHandsOver(t *testing.T) {
	onBoth(t, func(t *testing.T, d *database) {
		ctx, stop := context.WithCancel(t.Context())
		turns, proceed := make(chan bool), make(chan bool)
		first := housekeeping.New(d.open(), housekeeping.Options{
			Holder: "one", Now: d.clock.now,
			Wait: func(ctx context.Context, pause time.Duration) error {
				if pause == housekeeping.Every {
					turns <- true
					<-proceed
				}
				return ctx.Err()
			},
		})
		ended := make(chan error, 1)
		go func() { ended <- first.Run(ctx) }()
		two := d.open()
		fill(t, two, "a", 3)
		second := keeper(d, two, "two", new([]int))
		for range 5 {
			<-turns
			d.clock.move(2 * housekeeping.Every)
			if n, err := second.Turn(t.Context()); n != 0 || err != nil {
				t.Errorf("got %d, %v beside the leader", n, err)
			}
			proceed <- true
		}
		<-turns
		fill(t, two, "b", 2)
		stop()
		proceed <- true
		if err := <-ended; err != nil {
			t.Errorf("got %v, want nil", err)
		}
		if n, err := second.Turn(t.Context()); n < 2 || err != nil {
			t.Errorf("got %d, %v after the leader had left", n, err)
		}
	})
}

// flaky fails its first sweeps.
type flaky struct {
	authz.Store
	left int
}

var errAway = errors.New("the disk is away")

func (f *flaky) Sweep(ctx context.Context, now time.Time, limit int) (int, error) {
	if f.left > 0 {
		f.left--
		return 0, errAway
	}
	return f.Store.Sweep(ctx, now, limit)
}

// A turn that fails is logged, and the next goes on.
func TestFailedTurnIsRepeated(t *testing.T) {
	d := &database{t: t, url: "sqlite:" + filepath.Join(t.TempDir(), "as.db"), clock: &clock{at: evening}}
	store := d.open()
	fill(t, store, "a", 2)
	d.clock.move(time.Hour)
	ctx, stop := context.WithCancel(t.Context())
	var log strings.Builder
	removed, turns := 0, 0
	k := housekeeping.New(&flaky{store, 2}, housekeeping.Options{
		Now: d.clock.now, Log: slog.New(slog.NewTextHandler(&log, nil)), Removed: func(n int) { removed += n },
		Wait: func(ctx context.Context, pause time.Duration) error {
			if pause == housekeeping.Every {
				if turns++; turns == 3 {
					stop()
				}
			}
			return ctx.Err()
		},
	})
	if err := k.Run(ctx); err != nil || removed != 2 {
		t.Errorf("got %v, %d rows removed, want 2", err, removed)
	}
	if n := strings.Count(log.String(), errAway.Error()); n != 2 {
		t.Errorf("%d failures in the log, want 2:\n%s", n, log.String())
	}
}

// Audit entries stay for ever unless somebody says how long.
func TestRetention(t *testing.T) {
	d := &database{t: t, url: "sqlite:" + filepath.Join(t.TempDir(), "as.db"), clock: &clock{at: evening}}
	store := d.open()
	for i := range 20 {
		if err := store.Record(t.Context(), authz.AuditEntry{At: evening.Add(time.Duration(i) * time.Hour), Event: "login"}); err != nil {
			t.Fatal(err)
		}
	}
	d.clock.move(48 * time.Hour)
	for _, tt := range []struct {
		retention time.Duration
		removed   int
	}{{0, 0}, {40 * time.Hour, 8}, {time.Hour, 11}} {
		k := housekeeping.New(store, housekeeping.Options{
			Holder: "one", Retention: tt.retention, Now: d.clock.now, Wait: func(context.Context, time.Duration) error { return nil },
		})
		if n, err := k.Turn(t.Context()); n != tt.removed || err != nil {
			t.Errorf("%v: got %d, %v, want %d", tt.retention, n, err, tt.removed)
		}
	}
	if report, err := store.VerifyAudit(t.Context()); err != nil || report.Entries != 1 {
		t.Errorf("got %d entries, %v", report.Entries, err)
	}
}
