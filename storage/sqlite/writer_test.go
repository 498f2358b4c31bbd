package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-ace/latchkey/storage/internal/sqlstore"
)

// newEngine has a table of notes beside the others.
func newEngine(t *testing.T) *engine {
	t.Helper()
	e, err := openEngine(t.Context(), filepath.Join(t.TempDir(), "test.db"), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	err = e.Write(t.Context(), func(ctx context.Context, q sqlstore.Querier) error {
		_, err := q.ExecContext(ctx, "CREATE TABLE notes (text TEXT NOT NULL UNIQUE) STRICT")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func note(text string, then error) func(context.Context, sqlstore.Querier) error {
	return func(ctx context.Context, q sqlstore.Querier) error {
		_, err := q.ExecContext(ctx, "INSERT INTO notes (text) VALUES ($1)", text)
		return errors.Join(err, then)
	}
}

func (e *engine) notes(t *testing.T) []string {
	t.Helper()
	rows, err := e.Reader().QueryContext(t.Context(), "SELECT text FROM notes ORDER BY text")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		list = append(list, text)
	}
	return list
}

// batch makes jobs share one commit: it keeps the writer busy until all of them wait.
func (e *engine) batch(t *testing.T, jobs ...func(context.Context, sqlstore.Querier) error) []error {
	t.Helper()
	busy, release := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		_ = e.Write(t.Context(), func(context.Context, sqlstore.Querier) error {
			close(busy)
			<-release
			return nil
		})
	})
	<-busy
	errs := make([]error, len(jobs))
	for i, work := range jobs {
		all.Go(func() { errs[i] = e.Write(t.Context(), work) })
		for e.writer.waiting() <= i { // in this order
			runtime.Gosched()
		}
	}
	close(release)
	all.Wait()
	return errs
}

func (w *writer) waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.queue)
}

func TestJobsOfABatchFailAlone(t *testing.T) {
	e, mine := newEngine(t), errors.New("mine")
	errs := e.batch(t, note("first", nil), note("second", mine), note("third", nil), note("first", nil), note("fourth", nil))
	if got := e.notes(t); !slices.Equal(got, []string{"first", "fourth", "third"}) {
		t.Errorf("got %q", got)
	}
	if errs[0] != nil || errs[2] != nil || errs[4] != nil || !errors.Is(errs[1], mine) || e.Conflict(errs[3]) != sqlstore.Taken {
		t.Errorf("got errors %v", errs)
	}
}

func TestNobodyIsAnsweredBeforeTheCommit(t *testing.T) {
	e := newEngine(t)
	seen := make(chan []string, 1)
	errs := e.batch(t, note("first", nil), func(context.Context, sqlstore.Querier) error {
		seen <- e.notes(t) // by another connection: only what is committed
		return nil
	})
	if got := <-seen; len(got) != 0 || errors.Join(errs...) != nil {
		t.Errorf("seen before the commit: %q, %v", got, errs)
	}
	if got := e.notes(t); len(got) != 1 {
		t.Errorf("after the answer: %q", got)
	}
}

// A commit that fails is told to all of its batch, those that were refused included: what they were refused for, a
// code spent by a neighbour, has not happened.
func TestAFailedCommitFailsTheBatch(t *testing.T) {
	e := newEngine(t)
	refusal := errors.New("refused")
	breakIt := func(ctx context.Context, q sqlstore.Querier) error {
		_, err := q.ExecContext(ctx, "ROLLBACK")
		return err
	}
	errs := e.batch(t, note("first", nil), note("second", refusal), breakIt, note("third", nil))
	for i, err := range errs {
		if err == nil || errors.Is(err, refusal) {
			t.Errorf("job %d: got error %v", i, err)
		}
	}
	if err := e.Write(t.Context(), note("next", nil)); err != nil {
		t.Errorf("the next batch: %v", err)
	}
	if got := e.notes(t); !slices.Contains(got, "next") || slices.Contains(got, "first") || slices.Contains(got, "second") {
		t.Errorf("got %q", got)
	}
}

// A full disk refuses what does not fit, says why, and does not outlast its cause.
func TestFullDisk(t *testing.T) {
	e := newEngine(t)
	limit := func(pages int) {
		t.Helper()
		if err := e.writer.exec(fmt.Sprintf("PRAGMA max_page_count = %d", pages)); err != nil {
			t.Fatal(err)
		}
	}
	limit(1) // never below what there is
	large := strings.Repeat("x", 100_000)
	for _, jobs := range [][]func(context.Context, sqlstore.Querier) error{
		{note("alone "+large, nil)}, {note("small", nil), note("together "+large, nil)},
	} {
		errs := e.batch(t, jobs...)
		if err := errs[len(errs)-1]; err == nil || !strings.Contains(err.Error(), "full") {
			t.Errorf("got error %v, want one that says full", err)
		}
	}
	limit(1 << 30)
	if err := e.Write(t.Context(), note("alone "+large, nil)); err != nil {
		t.Errorf("after there is room again: %v", err)
	}
}

func TestClosedEngine(t *testing.T) {
	e := newEngine(t)
	var all sync.WaitGroup
	answers := make(chan error, 64)
	for i := range cap(answers) {
		all.Go(func() { answers <- e.Write(t.Context(), note(fmt.Sprint("note ", i), nil)) })
	}
	if err := e.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	all.Wait()
	close(answers)
	for err := range answers {
		if err != nil && !errors.Is(err, errClosed) {
			t.Errorf("got error %v, want %v", err, errClosed)
		}
	}
	if err := e.Write(t.Context(), note("late", nil)); !errors.Is(err, errClosed) {
		t.Errorf("got error %v, want %v", err, errClosed)
	}
	if err := e.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
}

func TestReadersCannotWrite(t *testing.T) {
	e := newEngine(t)
	if _, err := e.Reader().ExecContext(t.Context(), "INSERT INTO notes (text) VALUES ($1)", "by a reader"); err == nil {
		t.Error("a reader wrote")
	}
}

func TestDurableSettings(t *testing.T) {
	e := newEngine(t)
	for pragma, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "10000", "wal_autocheckpoint": "4000",
	} {
		found, err := e.writer.conn.query(t.Context(), "PRAGMA "+pragma)
		if err != nil || !found.Next() {
			t.Fatalf("%s: %v", pragma, err)
		}
		if got := fmt.Sprint(found.values[0]); got != want {
			t.Errorf("%s: got %q, want %q", pragma, got, want)
		}
		if err := found.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestTranslate(t *testing.T) {
	for text, want := range map[string]string{
		"SELECT a FROM b WHERE c = $1 FOR SHARE":     "SELECT a FROM b WHERE c = ?1",
		"SELECT a FROM b\n\tWHERE c = $1 FOR UPDATE": "SELECT a FROM b\n\tWHERE c = ?1",
		"UPDATE a SET b = $10 WHERE c = $2":          "UPDATE a SET b = ?10 WHERE c = ?2",
		"COMMIT":                                     "COMMIT",
	} {
		if got := translate(text); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
