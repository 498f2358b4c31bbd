package sqlstore

import (
	"context"
	"fmt"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
)

// PruneAudit removes whole groups from the front of the log. What is left of a chain continues the link of the newest group
// that went, which the register keeps under a MAC.
func (s *Store) PruneAudit(ctx context.Context, before time.Time, limit int) (removed int, err error) {
	at, err := moment(before)
	if err == nil {
		err = s.engine.Write(ctx, func(ctx context.Context, q Querier) error {
			removed, err = s.pruneAudit(ctx, q, at, limit)
			return err
		})
	}
	if err != nil {
		return 0, fmt.Errorf("prune audit: %w", err)
	}
	return removed, nil
}

// pruneAudit looks at the oldest rows and takes from each chain the groups that end among them, up to the first of which a row
// is too young. The newest row of all stays, so that ids are never given twice.
func (s *Store) pruneAudit(ctx context.Context, q Querier, before int64, limit int) (int, error) {
	rows, err := all(ctx, q, ask(`SELECT `+auditRowColumns+` FROM audit WHERE id < (SELECT MAX(id) FROM audit) ORDER BY id LIMIT $1`, limit), scanAuditRow)
	if err != nil {
		return 0, err
	}
	groups, order := map[int64][]auditRow{}, []int64{}
	for _, r := range rows {
		if groups[r.chain] == nil {
			order = append(order, r.chain)
		}
		groups[r.chain] = append(groups[r.chain], r)
	}
	removed := 0
	for _, number := range order {
		n, err := s.pruneChain(ctx, q, number, groups[number], before)
		if err != nil {
			return 0, err
		}
		removed += n
	}
	return removed, nil
}

func (s *Store) pruneChain(ctx context.Context, q Querier, number int64, rows []auditRow, before int64) (removed int, err error) {
	if number == 0 {
		return 0, nil // not in a chain yet
	}
	state, err := s.chain(ctx, q, number)
	if err != nil {
		return 0, err
	}
	if !same(state.mac, s.stateMAC(&state)) {
		return 0, &authz.AuditBrokenError{Chain: number, Why: "its place in the register was changed"}
	}
	c := chain{number: number, id: state.id, head: state.pruned, link: state.prunedLink}
	begin := 0
	for i := range rows {
		if rows[i].at >= before {
			break
		}
		if rows[i].mac == nil {
			continue
		}
		group := rows[begin : i+1]
		if group[0].number != c.head+1 || !same(rows[i].mac, s.groupMAC(&c, group)) {
			return 0, &authz.AuditBrokenError{Entry: group[0].id, Chain: number, Why: "it is not what was recorded"}
		}
		s.advance(&c, rows[i].mac, group)
		begin = i + 1
	}
	if begin == 0 {
		return 0, nil
	}
	for i := range rows[:begin] {
		if err := touch(ctx, q, ask(`DELETE FROM audit WHERE id = $1`, rows[i].id)); err != nil {
			return 0, err
		}
	}
	state.pruned, state.prunedLink = c.head, c.link
	if state.head < c.head {
		state.head, state.headLink = c.head, c.link
	}
	return begin, s.writeState(ctx, q, &state)
}
