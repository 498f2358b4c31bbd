package postgres

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/latchkey-ace/latchkey/storage/internal/sqlstore"
	"github.com/latchkey-ace/latchkey/storage/storagetest/pgtest"
)

// Write commits work that leaves nothing for the ledger.
func (e *engine) Write(ctx context.Context, work func(context.Context, sqlstore.Querier) error) error {
	return e.Commit(ctx, sqlstore.Transaction{Work: work})
}

func newEngine(t *testing.T) *engine {
	t.Helper()
	e, err := openEngine(t.Context(), pgtest.Start(t), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func put(value string, then error) func(context.Context, sqlstore.Querier) error {
	return func(ctx context.Context, q sqlstore.Querier) error {
		_, err := q.ExecContext(ctx, "INSERT INTO meta (name, value) VALUES ($1, '')", value)
		return errors.Join(err, then)
	}
}

func (e *engine) count(t *testing.T) (n int) {
	t.Helper()
	if err := e.db.QueryRowContext(t.Context(), "SELECT count(*) FROM meta").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestTransactionsAreRepeatedWhenAsked(t *testing.T) {
	e := newEngine(t)
	for _, state := range []string{serializationFailure, deadlockDetected} {
		tries := 0
		err := e.Write(t.Context(), func(ctx context.Context, q sqlstore.Querier) error {
			if tries++; tries < 3 {
				return put(state, &pgconn.PgError{Code: state})(ctx, q)
			}
			return put(state, nil)(ctx, q)
		})
		if err != nil || tries != 3 {
			t.Errorf("%s: got %v after %d tries, want 3", state, err, tries)
		}
	}
	if got := e.count(t); got != 2 {
		t.Errorf("got %d rows, want 2", got)
	}
}

func TestOtherErrorsAreNotRepeated(t *testing.T) {
	e, mine, tries := newEngine(t), errors.New("mine"), 0
	err := e.Write(t.Context(), func(ctx context.Context, q sqlstore.Querier) error {
		tries++
		return put("x", mine)(ctx, q)
	})
	if !errors.Is(err, mine) || tries != 1 || e.count(t) != 0 {
		t.Errorf("got %v after %d tries with %d rows", err, tries, e.count(t))
	}
	tries = 0
	stubborn := &pgconn.PgError{Code: serializationFailure}
	err = e.Write(t.Context(), func(context.Context, sqlstore.Querier) error { tries++; return stubborn })
	if !errors.Is(err, stubborn) || tries != maxTries {
		t.Errorf("got %v after %d tries, want %d", err, tries, maxTries)
	}
}

// Two transactions that lock two rows in opposite order: PostgreSQL ends one, and it is repeated.
func TestDeadlock(t *testing.T) {
	e := newEngine(t)
	for _, name := range []string{"a", "b"} {
		if err := e.Write(t.Context(), put(name, nil)); err != nil {
			t.Fatal(err)
		}
	}
	touch := func(first, second string, reached, other chan bool) error {
		return e.Write(t.Context(), func(ctx context.Context, q sqlstore.Querier) error {
			const update = "UPDATE meta SET value = value || 'x'::bytea WHERE name = $1"
			if _, err := q.ExecContext(ctx, update, first); err != nil {
				return err
			}
			select {
			case <-reached: // a repetition
			default:
				close(reached)
			}
			<-other
			_, err := q.ExecContext(ctx, update, second)
			return err
		})
	}
	left, right := make(chan bool), make(chan bool)
	answer := make(chan error)
	go func() { answer <- touch("a", "b", left, right) }()
	if err := errors.Join(touch("b", "a", right, left), <-answer); err != nil {
		t.Fatal(err)
	}
	var sum int
	if err := e.db.QueryRowContext(t.Context(), "SELECT sum(length(value)) FROM meta").Scan(&sum); err != nil || sum != 4 {
		t.Errorf("got %d changes, %v, want 4", sum, err)
	}
}

func TestForgetfulServerIsRefused(t *testing.T) {
	e, err := openEngine(t.Context(), pgtest.Start(t)+"&synchronous_commit=off", false)
	if err == nil {
		e.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "synchronous_commit") {
		t.Errorf("got %v, want an error about synchronous_commit", err)
	}
}

// A caller whose patience ends while every connection is taken gets the end of its context, soon.
func TestWaitingForAConnectionEndsWithTheCaller(t *testing.T) {
	e := newEngine(t)
	e.db.SetMaxOpenConns(1)
	release, busy := make(chan struct{}), make(chan struct{})
	go func() {
		_ = e.Write(t.Context(), func(context.Context, sqlstore.Querier) error {
			close(busy)
			<-release
			return nil
		})
	}()
	<-busy
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := e.Write(ctx, put("x", nil)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
}
