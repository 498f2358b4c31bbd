package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	"github.com/latchkey-ace/latchkey/storage/internal/sqlstore"
)

var errClosed = errors.New("store is closed")

// writer is the one connection that writes. It groups commits: the jobs that wait while a commit is on its way to the
// disk share the next one, each in its own savepoint, and are answered only after it. At most one job waits for itself.
type writer struct {
	conn *sql.Conn
	sql  *statements
	jobs chan *job

	closing   sync.RWMutex // held for reading while a job is handed over
	closed    bool
	done      chan struct{} // closed when the last batch is committed
	closeOnce sync.Once
}

// job is one transaction of a caller.
type job struct {
	ctx      context.Context
	work     func(context.Context, sqlstore.Querier) error
	err      error
	panicked any
	answered chan struct{}
}

func newWriter(conn *sql.Conn) *writer {
	w := &writer{
		conn: conn, sql: newStatements(conn, true),
		jobs: make(chan *job, queued), done: make(chan struct{}),
	}
	go w.serve()
	return w
}

// write hands work over and waits for its commit.
func (w *writer) write(ctx context.Context, work func(context.Context, sqlstore.Querier) error) error {
	j := &job{ctx: ctx, work: work, answered: make(chan struct{})}
	if err := w.hand(j); err != nil {
		return err
	}
	// Not the end of ctx but the answer ends the wait: only it tells whether the transaction happened.
	<-j.answered
	if j.panicked != nil {
		panic(j.panicked)
	}
	return j.err
}

func (w *writer) hand(j *job) error {
	w.closing.RLock()
	defer w.closing.RUnlock()
	if w.closed {
		return errClosed
	}
	select {
	case w.jobs <- j:
		return nil
	case <-j.ctx.Done():
		return j.ctx.Err()
	}
}

// close commits what waits and stops.
func (w *writer) close() {
	w.closeOnce.Do(func() {
		w.closing.Lock()
		w.closed = true
		w.closing.Unlock()
		close(w.jobs)
	})
	<-w.done
}

func (w *writer) serve() {
	defer close(w.done)
	for first := range w.jobs {
		batch := w.waiting(first)
		w.commit(batch)
		for _, j := range batch {
			close(j.answered)
		}
	}
	w.sql.close()
}

// waiting takes what is queued by now, without waiting for more.
func (w *writer) waiting(first *job) []*job {
	batch := []*job{first}
	for len(batch) < maxBatch {
		select {
		case j, open := <-w.jobs:
			if !open {
				return batch
			}
			batch = append(batch, j)
		default:
			return batch
		}
	}
	return batch
}

// commit runs a batch in one transaction and sets each job's error.
func (w *writer) commit(batch []*job) {
	err := w.exec("BEGIN IMMEDIATE")
	if err == nil && len(batch) == 1 {
		// Alone, a job needs no savepoint: the transaction is its own. After some errors, a full disk for one, SQLite
		// has rolled back by itself, and a rollback that fails leaves nothing that the next batch would not undo.
		if w.run(batch[0]); batch[0].failed() {
			_ = w.exec("ROLLBACK")
			return
		}
		err = w.exec("COMMIT")
	} else if err == nil {
		if err = w.runAll(batch); err == nil {
			err = w.exec("COMMIT")
		}
	}
	if err == nil {
		return
	}
	// Jobs that were refused get the error too, because what they were refused for may have been undone with the rest
	// ("spent" by a neighbour).
	_ = w.exec("ROLLBACK")
	for _, j := range batch {
		j.err = fmt.Errorf("write to the store: %w", err)
	}
}

// runAll runs each job in its savepoint. An error is of the batch as a whole: the transaction is gone.
func (w *writer) runAll(batch []*job) error {
	for _, j := range batch {
		if err := w.exec("SAVEPOINT job"); err != nil {
			return err
		}
		if w.run(j); j.failed() {
			if err := w.exec("ROLLBACK TO job"); err != nil {
				return fmt.Errorf("undo what failed with %v: %w", j.err, err)
			}
		}
		if err := w.exec("RELEASE job"); err != nil {
			return err
		}
	}
	return nil
}

// run lets a panic of work reach its own caller instead of ending the writer of all.
func (w *writer) run(j *job) {
	if j.err = j.ctx.Err(); j.err != nil {
		return
	}
	defer func() { j.panicked = recover() }()
	j.err = j.work(j.ctx, w.sql)
}

func (j *job) failed() bool { return j.err != nil || j.panicked != nil }

func (w *writer) exec(statement string) error {
	_, err := w.sql.ExecContext(context.Background(), statement)
	return err
}
