package sqlstore

import (
	"context"
	"slices"

	"github.com/latchkey-ace/latchkey/authz"
)

// query is a statement and its arguments.
type query struct {
	text string
	args []any
}

func ask(text string, args ...any) query { return query{text: text, args: args} }

// storable reports whether every engine takes all the text among the arguments.
func (s query) storable() bool {
	return !slices.ContainsFunc(s.args, func(arg any) bool {
		text, isText := arg.(string)
		return isText && !storable(text)
	})
}

// run executes a statement that returns no rows.
func run(ctx context.Context, q Querier, s query) error {
	_, err := q.ExecContext(ctx, s.text, s.args...)
	return err
}

// touch executes a change of one row; if there was none, ErrNotFound.
func touch(ctx context.Context, q Querier, s query) error {
	result, err := q.ExecContext(ctx, s.text, s.args...)
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		err = authz.ErrNotFound
	}
	return err
}

// one reads the only row; none is ErrNotFound.
func one(ctx context.Context, q Querier, s query, into ...any) error {
	return together(ctx, q, s.into(into...))
}

// only reads the only row. It goes on to the end of the result, because SQLite promises that an UPDATE … RETURNING has happened
// only then.
func only(rows Rows, into []any) error {
	found := false
	for rows.Next() {
		found = true
		if err := rows.Scan(into...); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if !found {
		return authz.ErrNotFound
	}
	return nil
}

// all reads every row; scan reads the current one.
func all[T any](ctx context.Context, q Querier, s query, scan func(Rows) (T, error)) ([]T, error) {
	var list []T
	err := together(ctx, q, Step{Text: s.text, Args: s.args, Read: func(rows Rows) error {
		list = nil // it may be repeated
		for rows.Next() {
			item, err := scan(rows)
			if err != nil {
				return err
			}
			list = append(list, item)
		}
		return rows.Err()
	}})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// single turns a list of at most one into its item, or ErrNotFound.
func single[T any](list []T, err error) (T, error) {
	if err == nil && len(list) == 0 {
		err = authz.ErrNotFound
	}
	if err != nil {
		var none T
		return none, err
	}
	return list[0], nil
}
