package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/storage/internal/sqlstore"
)

// mark adds authz.ErrUnavailable to errors that say that the database cannot be reached or takes nothing now. It may come
// back by itself; wrong addresses, passwords and names do not.
func mark(err error) error {
	if err == nil || errors.Is(err, authz.ErrUnavailable) || !away(err) {
		return err
	}
	return fmt.Errorf("%w: %w", authz.ErrUnavailable, err)
}

// awayStates are SQLSTATE classes and values: connection exception, insufficient resources, and a server that starts,
// stops or only reads.
var awayStates = []string{"08", "53", "57P01", "57P02", "57P03", "25006"}

func away(err error) bool {
	if state := sqlState(err); state != "" {
		for _, s := range awayStates {
			if strings.HasPrefix(state, s) {
				return true
			}
		}
		return false
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || pgconn.SafeToRetry(err) || pgconn.Timeout(err)
}

// queryer is a *sql.DB or a *sql.Tx.
type queryer interface {
	ExecContext(ctx context.Context, statement string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, statement string, args ...any) (*sql.Rows, error)
}

// marked is a Querier whose errors are marked.
type marked struct{ queryer }

func (m marked) ExecContext(ctx context.Context, statement string, args ...any) (sql.Result, error) {
	r, err := m.queryer.ExecContext(ctx, statement, args...)
	return r, mark(err)
}

func (m marked) QueryContext(ctx context.Context, statement string, args ...any) (sqlstore.Rows, error) {
	rows, err := m.queryer.QueryContext(ctx, statement, args...)
	if err != nil {
		return nil, mark(err)
	}
	return rows, nil
}
