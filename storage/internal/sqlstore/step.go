package sqlstore

import (
	"context"
	"errors"
)

// ErrUndone says that a transaction was undone by the database when it was to be committed.
var ErrUndone = errors.New("the transaction was undone")

// Step is a statement whose answer is waited for together with others'.
type Step struct {
	Text     string
	Args     []any
	Read     func(Rows) error // reads its rows to their end; nil where there are none
	Affected *int64           // may be nil
}

// Queue is a Querier on which a journey costs more than a statement.
type Queue interface {
	Querier
	// Later lets steps wait for the next statement, Flush or the commit, which goes after them in their order. Their errors come
	// with that.
	Later(steps ...Step)
	// Flush runs what waits.
	Flush(ctx context.Context) error
}

func queueOf(q Querier) (Queue, bool) {
	if n, isNoting := q.(*noting); isNoting {
		q = n.Querier
	}
	queue, is := q.(Queue)
	return queue, is
}

// Later runs a step, at the latest with the commit.
func Later(ctx context.Context, q Querier, s Step) error {
	if queue, is := queueOf(q); is {
		queue.Later(s)
		return nil
	}
	return s.now(ctx, q)
}

// Traveller is a Querier outside of transactions on which a journey costs more than a statement.
type Traveller interface {
	Querier
	// Together runs steps on one journey. They are repeated where nothing of them can have happened.
	Together(ctx context.Context, steps ...Step) error
}

// together runs steps on one journey.
func together(ctx context.Context, q Querier, steps ...Step) error {
	if t, is := q.(Traveller); is {
		return t.Together(ctx, steps...)
	}
	queue, is := queueOf(q)
	if is {
		queue.Later(steps...)
		return queue.Flush(ctx)
	}
	for i := range steps {
		if err := steps[i].now(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// flush runs what waits.
func flush(ctx context.Context, q Querier) error {
	if queue, is := queueOf(q); is {
		return queue.Flush(ctx)
	}
	return nil
}

func (s *Step) now(ctx context.Context, q Querier) error {
	if s.Read == nil {
		result, err := q.ExecContext(ctx, s.Text, s.Args...)
		if err == nil && s.Affected != nil {
			*s.Affected, err = result.RowsAffected()
		}
		return err
	}
	rows, err := q.QueryContext(ctx, s.Text, s.Args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	return s.Read(rows)
}

// into is a step that reads the only row; none is ErrNotFound.
func (s query) into(dest ...any) Step {
	return Step{Text: s.text, Args: s.args, Read: func(rows Rows) error { return only(rows, dest) }}
}
