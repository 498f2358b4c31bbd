package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/latchkey-ace/latchkey/storage/internal/sqlstore"
)

// link is the Querier of one transaction, on pgx itself. What nobody waits for travels with the next statement that somebody
// does wait for: a mint goes there and back twice.
type link struct {
	conn   *pgx.Conn
	queued []sqlstore.Step // the first of a transaction is its begin
	begun  bool
}

var (
	begin  = sqlstore.Step{Text: "begin isolation level read committed"}
	commit = sqlstore.Step{Text: "commit"}
)

func newLink(conn *pgx.Conn) *link { return &link{conn: conn, queued: []sqlstore.Step{begin}} }

// Later lets statements wait for the next ones.
func (l *link) Later(steps ...sqlstore.Step) { l.queued = append(l.queued, steps...) }

// Flush sends what waits and reads all of the answers. After an error the transaction is to be undone.
func (l *link) Flush(ctx context.Context) error {
	steps := l.queued
	l.queued = nil
	if len(steps) == 0 {
		return nil
	}
	l.begun = true
	return send(ctx, l.conn, steps)
}

// send runs steps on one journey.
func send(ctx context.Context, conn *pgx.Conn, steps []sqlstore.Step) error {
	if len(steps) == 1 {
		return sendOne(ctx, conn, &steps[0])
	}
	batch := &pgx.Batch{}
	for i := range steps {
		args, err := plain(steps[i].Args)
		if err != nil {
			return err
		}
		batch.Queue(steps[i].Text, args...)
	}
	answers := conn.SendBatch(ctx, batch)
	for i := range steps {
		if err := read(answers, &steps[i]); err != nil {
			return errors.Join(err, ignore(answers.Close()))
		}
	}
	return answers.Close()
}

func sendOne(ctx context.Context, conn *pgx.Conn, s *sqlstore.Step) error {
	args, err := plain(s.Args)
	if err != nil {
		return err
	}
	if s.Read == nil {
		tag, err := conn.Exec(ctx, s.Text, args...)
		affected(s, tag)
		return err
	}
	found, err := conn.Query(ctx, s.Text, args...)
	if err != nil {
		return err
	}
	return readAll(found, s)
}

// ignore drops the error that follows from one that is known already.
func ignore(error) error { return nil }

func read(answers pgx.BatchResults, s *sqlstore.Step) error {
	if s.Read == nil {
		tag, err := answers.Exec()
		affected(s, tag)
		return err
	}
	found, err := answers.Query()
	if err != nil {
		return err
	}
	return readAll(found, s)
}

func readAll(found pgx.Rows, s *sqlstore.Step) error {
	defer found.Close()
	if err := s.Read(rows{found}); err != nil {
		return cmp.Or(found.Err(), err) // no row, because the statement failed
	}
	found.Close()
	return found.Err()
}

func affected(s *sqlstore.Step, tag pgconn.CommandTag) {
	if s.Affected != nil {
		*s.Affected = tag.RowsAffected()
	}
}

// plain are the arguments as the driver takes them, whatever types of ours they are.
func plain(args []any) ([]any, error) {
	list := make([]any, len(args))
	for i, arg := range args {
		if v, isValuer := arg.(driver.Valuer); isValuer {
			value, err := v.Value()
			if err != nil {
				return nil, err
			}
			arg = value
		}
		list[i] = arg
	}
	return list, nil
}

// ExecContext runs a statement without rows.
func (l *link) ExecContext(ctx context.Context, text string, args ...any) (sql.Result, error) {
	var n int64
	l.Later(sqlstore.Step{Text: text, Args: args, Affected: &n})
	if err := l.Flush(ctx); err != nil {
		return nil, err
	}
	return driver.RowsAffected(n), nil
}

// QueryContext runs a statement with rows.
func (l *link) QueryContext(ctx context.Context, text string, args ...any) (sqlstore.Rows, error) {
	if err := l.Flush(ctx); err != nil {
		return nil, err
	}
	list, err := plain(args)
	if err != nil {
		return nil, err
	}
	found, err := l.conn.Query(ctx, text, list...)
	if err != nil {
		return nil, err
	}
	return rows{found}, nil
}

// commit sends what waits, and the end with it.
func (l *link) commit(ctx context.Context) error {
	l.Later(commit)
	err := l.Flush(ctx)
	if err == nil {
		l.begun = false
	}
	return undone(err)
}

// undone marks what the server itself has said: then there is no commit.
func undone(err error) error {
	var told *pgconn.PgError
	if errors.As(err, &told) && told.Severity == "ERROR" {
		return fmt.Errorf("%w: %w", sqlstore.ErrUndone, err)
	}
	return err
}

// rollback undoes what was begun; a connection on which that fails is not used again.
func (l *link) rollback(ctx context.Context) {
	if !l.begun || l.conn.IsClosed() {
		return
	}
	if _, err := l.conn.Exec(ctx, "rollback"); err != nil {
		_ = l.conn.Close(ctx)
	}
}

// rows are pgx's.
type rows struct{ pgx.Rows }

// Close ends them.
func (r rows) Close() error {
	r.Rows.Close()
	return nil
}
