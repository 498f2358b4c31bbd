package sqlite

import (
	"context"

	"github.com/latchkey-ace/latchkey/storage/internal/sqlstore"
)

// Write commits work that leaves nothing for the ledger.
func (e *engine) Write(ctx context.Context, work func(context.Context, sqlstore.Querier) error) error {
	return e.Commit(ctx, sqlstore.Transaction{Work: work})
}
