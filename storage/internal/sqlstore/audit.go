package sqlstore

import (
	"context"
	"fmt"
	"slices"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
)

const auditColumns = `at, event, result, reason, client_id, user_name, device, grant_id`

// Record keeps a decision, also while the store is restored: refusals then are decisions too.
func (s *Store) Record(ctx context.Context, e authz.AuditEntry) error {
	err := s.open().Write(ctx, func(_ context.Context, q Querier) error {
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

// AuditFind lists the newest entries that match.
func (s *Store) AuditFind(ctx context.Context, by authz.AuditQuery) ([]authz.AuditRecord, error) {
	if by.Limit <= 0 || !storable(by.Client) || !storable(by.User) || !storable(by.Device) || !storable(by.Event) {
		return nil, nil
	}
	list, err := all(ctx, s.engine.Reader(), ask(`SELECT id, `+auditColumns+` FROM audit WHERE id > $1 AND at >= $2
		AND ($3 = '' OR client_id = $3) AND ($4 = '' OR user_name = $4) AND ($5 = '' OR device = $5) AND ($6 = '' OR event = $6)
		AND ($8 OR grant_id = $7) ORDER BY id DESC LIMIT $9`, by.After, ms(by.Since), by.Client, by.User, by.Device, by.Event,
		by.Grant[:], by.Grant == (pop.GrantID{}), min(by.Limit, maxAuditTail)), scanRecord)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	slices.Reverse(list)
	return list, nil
}

func scanRecord(rows Rows) (authz.AuditRecord, error) {
	var r authz.AuditRecord
	e := &r.AuditEntry
	err := rows.Scan(&r.ID, (*when)(&e.At), &e.Event, &e.Result, &e.Reason, &e.Client, &e.User, &e.Device, (*id8)(&e.Grant))
	return r, err
}

func scanAudit(rows Rows) (authz.AuditEntry, error) {
	var e authz.AuditEntry
	err := rows.Scan((*when)(&e.At), &e.Event, &e.Result, &e.Reason, &e.Client, &e.User, &e.Device, (*id8)(&e.Grant))
	return e, err
}
