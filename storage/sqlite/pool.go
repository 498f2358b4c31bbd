package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"sync"

	"github.com/latchkey-ace/latchkey/storage/internal/sqlstore"
)

// pool are connections that read.
type pool struct {
	free  chan *conn // all of them, but for those in use
	ended chan struct{}
	end   sync.Once
}

func newPool(db *sql.DB, name string, size int) (*pool, error) {
	p := &pool{free: make(chan *conn, size), ended: make(chan struct{})}
	for range size {
		c, err := dial(db, name)
		if err != nil {
			return nil, errors.Join(err, p.drain(len(p.free)))
		}
		p.free <- c
	}
	return p, nil
}

// take waits for a connection, at most as long as ctx.
func (p *pool) take(ctx context.Context) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case <-p.ended:
		return nil, errClosed
	default:
	}
	select {
	case c := <-p.free:
		return c, nil
	case <-p.ended:
		return nil, errClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ExecContext runs a statement without rows.
func (p *pool) ExecContext(ctx context.Context, text string, args ...any) (sql.Result, error) {
	c, err := p.take(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { p.free <- c }()
	return c.ExecContext(ctx, text, args...)
}

// QueryContext keeps a connection until the rows are closed.
func (p *pool) QueryContext(ctx context.Context, text string, args ...any) (sqlstore.Rows, error) {
	c, err := p.take(ctx)
	if err != nil {
		return nil, err
	}
	found, err := c.query(ctx, text, args...)
	if err != nil {
		p.free <- c
		return nil, err
	}
	found.done = func() { p.free <- c }
	return found, nil
}

// close waits for those in use. It may be called again.
func (p *pool) close() (err error) {
	p.end.Do(func() {
		close(p.ended)
		err = p.drain(cap(p.free))
	})
	return err
}

func (p *pool) drain(n int) (err error) {
	for range n {
		c := <-p.free
		err = errors.Join(err, c.close())
	}
	return err
}
