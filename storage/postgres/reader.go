package postgres

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/latchkey-ace/latchkey/storage/internal/sqlstore"
)

// reader is the Querier of statements outside of transactions.
type reader struct {
	marked
	e *engine
}

// Together runs steps on one journey, on pgx itself. A connection that had ended before anything was sent on it is replaced.
func (r reader) Together(ctx context.Context, steps ...sqlstore.Step) error {
	for try := 1; ; try++ {
		err := r.e.journey(ctx, steps)
		if err == nil || try == maxConnections+1 || !errors.Is(err, driver.ErrBadConn) && !pgconn.SafeToRetry(err) || ctx.Err() != nil {
			return mark(err)
		}
	}
}

func (e *engine) journey(ctx context.Context, steps []sqlstore.Step) error {
	conn, err := e.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Raw(func(c any) error { return send(ctx, c.(*stdlib.Conn).Conn(), steps) })
}
