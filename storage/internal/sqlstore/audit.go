package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/latchkey-ace/latchkey/authz"
)

const auditColumns = `at, event, result, reason, client_id, user_name, device, grant_id`

// Record keeps a decision.
func (s *Store) Record(ctx context.Context, e authz.AuditEntry) error {
	err := s.engine.Write(ctx, func(_ context.Context, q Querier) error {
		record(q, &e)
		return nil
	})
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return nil
}

// AuditTail lists the newest entries, oldest of them first; at most 10,000 whatever the limit.
func (s *Store) AuditTail(ctx context.Context, limit int) ([]authz.AuditEntry, error) {
	if limit <= 0 {
		return nil, nil
	}
	list, err := all(ctx, s.engine.Reader(), ask(`SELECT `+auditColumns+` FROM audit ORDER BY id DESC LIMIT $1`,
		min(limit, maxAuditTail)), scanAudit)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	slices.Reverse(list)
	return list, nil
}

func scanAudit(rows *sql.Rows) (authz.AuditEntry, error) {
	var e authz.AuditEntry
	err := rows.Scan((*when)(&e.At), &e.Event, &e.Result, &e.Reason, &e.Client, &e.User, &e.Device, (*id8)(&e.Grant))
	return e, err
}
