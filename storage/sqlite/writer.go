package sqlite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/storage/internal/sqlstore"
)

var errClosed = errors.New("store is closed")

// writer is the one connection that writes. It groups commits: transactions that arrive while a commit is on its way
// to the disk share the next one, each in its own savepoint, and are answered only after it.
//
// One of the callers leads: it runs the batch that it is the first of, and then lets the first of those who came
// meanwhile lead the next. A caller who is alone thus waits for no other goroutine.
type writer struct {
	conn   *conn
	ledger sqlstore.Ledger

	mu      sync.Mutex
	queue   []*job
	leading bool // somebody leads, or has been told to
	closed  bool
	idle    sync.Cond // nobody leads any more
}

// job is one transaction of a caller.
type job struct {
	ctx context.Context
	sqlstore.Transaction
	err      error
	panicked any
	lead     chan bool // true: lead the next batch; false: this job is done
}

func newWriter(c *conn) *writer {
	w := &writer{conn: c}
	w.idle.L = &w.mu
	return w
}

// write runs work and waits for its commit. Not the end of ctx but the answer ends the wait: only it tells whether the
// transaction happened.
func (w *writer) write(ctx context.Context, t sqlstore.Transaction) error {
	j := &job{ctx: ctx, Transaction: t, lead: make(chan bool, 1)}
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return errClosed
	}
	w.queue = append(w.queue, j)
	lead := !w.leading
	w.leading = true
	w.mu.Unlock()
	if lead || <-j.lead {
		w.commitBatch()
	}
	if j.panicked != nil {
		panic(j.panicked)
	}
	return j.err
}

// commitBatch is called by the one who leads, whose job is the first of the queue.
func (w *writer) commitBatch() {
	w.mu.Lock()
	size := min(len(w.queue), maxBatch)
	batch := slices.Clone(w.queue[:size])
	w.queue = slices.Delete(w.queue, 0, size)
	w.mu.Unlock()

	w.commit(batch)

	w.mu.Lock()
	if w.leading = len(w.queue) > 0; w.leading {
		w.queue[0].lead <- true
	} else {
		w.idle.Broadcast()
	}
	w.mu.Unlock()
	for _, j := range batch[1:] {
		j.lead <- false
	}
}

// close takes no more jobs and waits until the last is committed. It may be called again.
func (w *writer) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	for w.leading {
		w.idle.Wait()
	}
	return w.conn.close()
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
		err = w.finish(batch)
	} else if err == nil {
		if err = w.runAll(batch); err == nil {
			err = w.finish(batch)
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

// finish enters what the batch leaves for the ledger, as one group, and commits.
func (w *writer) finish(batch []*job) error {
	var entries []authz.AuditEntry
	for _, j := range batch {
		if !j.failed() && j.Left != nil {
			entries = append(entries, j.Left()...)
		}
	}
	if len(entries) == 0 {
		return w.exec("COMMIT")
	}
	done, err := w.ledger.Enter(context.Background(), w.conn, entries)
	if err != nil {
		return err
	}
	err = w.exec("COMMIT")
	done(err)
	return err
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

// run lets a panic of work reach its own caller instead of the one who leads.
func (w *writer) run(j *job) {
	if j.err = j.ctx.Err(); j.err != nil {
		return
	}
	defer func() { j.panicked = recover() }()
	j.err = j.Work(context.WithoutCancel(j.ctx), w.conn)
}

func (j *job) failed() bool { return j.err != nil || j.panicked != nil }

func (w *writer) exec(statement string) error {
	_, err := w.conn.ExecContext(context.Background(), statement)
	return err
}
