package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"

	"github.com/latchkey-ace/latchkey/storage/internal/sqlstore"
)

// conn is a connection of the driver itself, with each statement prepared once: database/sql in between costs as much as a
// short statement. One goroutine uses it at a time. Statements that have begun run to their end whatever becomes of their
// context: on the writer they belong to other callers too, and a watch over the context costs two goroutines each.
type conn struct {
	driver.Conn
	known map[string]*prepared
	args  []driver.NamedValue // of the statement that runs
}

type prepared struct {
	driver.Stmt
	values []driver.Value // the current row
}

func dial(db *sql.DB, name string) (*conn, error) {
	c, err := db.Driver().Open(name)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, known: map[string]*prepared{}}, nil
}

func (c *conn) prepared(text string) (*prepared, error) {
	if p := c.known[text]; p != nil {
		return p, nil
	}
	s, err := c.Prepare(translate(text))
	if err != nil {
		return nil, err
	}
	p := &prepared{Stmt: s}
	c.known[text] = p
	return p, nil
}

func (c *conn) bind(args []any) (err error) {
	c.args = c.args[:0]
	for i, arg := range args {
		if v, isValuer := arg.(driver.Valuer); isValuer {
			if arg, err = v.Value(); err != nil {
				return err
			}
		}
		switch arg.(type) {
		case nil, int64, bool, []byte, string:
		default:
			if arg, err = driver.DefaultParameterConverter.ConvertValue(arg); err != nil {
				return err
			}
		}
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: arg})
	}
	return nil
}

// ExecContext runs a statement without rows.
func (c *conn) ExecContext(_ context.Context, text string, args ...any) (sql.Result, error) {
	p, err := c.prepared(text)
	if err == nil {
		err = c.bind(args)
	}
	if err != nil {
		return nil, err
	}
	return p.Stmt.(driver.StmtExecContext).ExecContext(context.Background(), c.args)
}

// QueryContext runs a statement with rows; between two of them the end of ctx counts.
func (c *conn) QueryContext(ctx context.Context, text string, args ...any) (sqlstore.Rows, error) {
	found, err := c.query(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	return found, nil
}

func (c *conn) query(ctx context.Context, text string, args ...any) (*rows, error) {
	p, err := c.prepared(text)
	if err == nil {
		err = c.bind(args)
	}
	if err != nil {
		return nil, err
	}
	found, err := p.Stmt.(driver.StmtQueryContext).QueryContext(context.Background(), c.args)
	if err != nil {
		return nil, err
	}
	if p.values == nil {
		p.values = make([]driver.Value, len(found.Columns()))
	}
	return &rows{ctx: ctx, found: found, values: p.values}, nil
}

func (c *conn) close() error {
	for _, p := range c.known {
		p.Close()
	}
	clear(c.known)
	return c.Close()
}

// rows are what a conn has found.
type rows struct {
	ctx    context.Context
	found  driver.Rows
	values []driver.Value
	err    error
	done   func() // when nobody reads any more; may be nil
}

// Next goes to the next row, if there is one.
func (r *rows) Next() bool {
	if r.err == nil {
		r.err = r.ctx.Err()
	}
	if r.err == nil {
		r.err = r.found.Next(r.values)
	}
	return r.err == nil
}

// Scan copies the current row.
func (r *rows) Scan(dest ...any) error {
	if len(dest) != len(r.values) {
		return fmt.Errorf("%d columns for %d destinations", len(r.values), len(dest))
	}
	for i, d := range dest {
		if err := assign(d, r.values[i]); err != nil {
			return fmt.Errorf("column %d: %w", i, err)
		}
	}
	return nil
}

// Err is why there was no next row, unless it was the end.
func (r *rows) Err() error {
	if errors.Is(r.err, io.EOF) {
		return nil
	}
	return r.err
}

// Close ends the statement. It may be called again.
func (r *rows) Close() error {
	if r.found == nil {
		return nil
	}
	err := r.found.Close()
	r.found = nil
	if r.err == nil {
		r.err = errors.New("rows are closed")
	}
	if r.done != nil {
		r.done()
	}
	return err
}

// assign gives dest the value of a column. Byte strings are the receiver's own.
func assign(dest any, value driver.Value) error {
	switch d := dest.(type) {
	case sql.Scanner:
		return d.Scan(value)
	case *[]byte:
		switch v := value.(type) {
		case nil:
			*d = nil
			return nil
		case []byte:
			*d = v
			return nil
		}
	case *string:
		if v, ok := value.(string); ok {
			*d = v
			return nil
		}
	case **int64:
		if value == nil {
			*d = nil
			return nil
		}
		if v, ok := value.(int64); ok {
			*d = &v
			return nil
		}
	default:
		if v, ok := value.(int64); ok {
			return assignInt(dest, v)
		}
	}
	return fmt.Errorf("%T does not go into %T", value, dest)
}

func assignInt(dest any, v int64) error {
	fits := true
	switch d := dest.(type) {
	case *int64:
		*d = v
	case *int:
		*d = int(v)
	case *uint32:
		*d = uint32(v)
		fits = int64(*d) == v
	case *bool:
		*d = v != 0
		fits = v == 0 || v == 1
	default:
		fits = false
	}
	if !fits {
		return fmt.Errorf("%d does not go into %T", v, dest)
	}
	return nil
}
