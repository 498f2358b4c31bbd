package sqlstore

import (
	"context"

	"github.com/latchkey-ace/latchkey/authz"
)

// What the MACs of the audit chain cover (docs/adr/0044), each in deterministic CBOR under a key derived from the store key:
//
//	opened  ["open",  opened of the chain before, number, id]       link 0 of a chain
//	mac n   ["group", id, n, link n−1, [* row]]                     row = [at, event, result, reason, client, user, device, grant]
//	link n  ["link",  mac n, [* row id]]
//	state   ["state", id, pruned number, pruned link, head number, head link]
//
// Ids come from the database when the rows are written, so it is the next group that covers them.

// auditRow is a row of audit as MACs see it.
type auditRow struct {
	id                                                   int64
	at                                                   int64
	event, result, reason, client, user, device, grantID string
	chain, number                                        int64
	mac                                                  []byte
}

const auditRowColumns = `id, at, event, result, reason, client_id, user_name, device, grant_id, chain, number, mac`

func scanAuditRow(rows Rows) (auditRow, error) {
	var r auditRow
	var grant []byte
	err := rows.Scan(&r.id, &r.at, &r.event, &r.result, &r.reason, &r.client, &r.user, &r.device, &grant, &r.chain, &r.number, &r.mac)
	r.grantID = string(grant)
	return r, err
}

func rowOf(e *authz.AuditEntry) auditRow {
	return auditRow{
		at: ms(e.At), event: legible(e.Event), result: legible(e.Result), reason: legible(e.Reason), client: legible(e.Client),
		user: legible(e.User), device: legible(e.Device), grantID: string(e.Grant[:]),
	}
}

// insertAudit writes a row of the chain's next group and learns its id, at the latest with the commit.
func (s *Store) insertAudit(ctx context.Context, q Querier, r *auditRow, c *chain, mac []byte) error {
	return s.engine.Insert(ctx, q, `INSERT INTO audit (`+auditColumns+`, chain, number, mac)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`, &r.id, r.at, r.event, r.result, r.reason, r.client, r.user,
		r.device, []byte(r.grantID), c.number, c.head+1, mac)
}

// chainState is a row of the register of chains.
type chainState struct {
	number               int64
	id, opened           []byte
	pruned, head         int64
	prunedLink, headLink []byte
	mac                  []byte
}

const chainColumns = `number, id, opened, pruned_number, pruned_link, head_number, head_link, state`

func scanChain(rows Rows) (chainState, error) {
	var s chainState
	err := rows.Scan(&s.number, &s.id, &s.opened, &s.pruned, &s.prunedLink, &s.head, &s.headLink, &s.mac)
	return s, err
}

// chain reads a row of the register, for this transaction alone.
func (s *Store) chain(ctx context.Context, q Querier, number int64) (chainState, error) {
	return single(all(ctx, q, ask(`SELECT `+chainColumns+` FROM audit_chains WHERE number = $1 FOR UPDATE`, number), scanChain))
}

func (s *Store) openedMAC(before []byte, c *chain) []byte {
	var e encoder
	return s.sealer.Chain(*e.array(4).text("open").bytes(before).int(c.number).bytes(c.id))
}

func (s *Store) groupMAC(c *chain, rows []auditRow) []byte {
	var e encoder
	e.array(5).text("group").bytes(c.id).int(c.head + 1).bytes(c.link).array(len(rows))
	for i := range rows {
		r := &rows[i]
		e.array(8).int(r.at).text(r.event).text(r.result).text(r.reason).text(r.client).text(r.user).text(r.device).bytes([]byte(r.grantID))
	}
	return s.sealer.Chain(e)
}

// advance moves a chain past a group.
func (s *Store) advance(c *chain, mac []byte, rows []auditRow) {
	var e encoder
	e.array(3).text("link").bytes(mac).array(len(rows))
	for i := range rows {
		e.int(rows[i].id)
	}
	c.head++
	c.link = s.sealer.Chain(e)
}

func (s *Store) stateMAC(c *chainState) []byte {
	var e encoder
	return s.sealer.Chain(*e.array(6).text("state").bytes(c.id).int(c.pruned).bytes(c.prunedLink).int(c.head).bytes(c.headLink))
}

func (s *Store) writeState(ctx context.Context, q Querier, c *chainState) error {
	return touch(ctx, q, ask(`UPDATE audit_chains SET pruned_number = $2, pruned_link = $3, head_number = $4, head_link = $5, state = $6
		WHERE number = $1`, c.number, c.pruned, c.prunedLink, c.head, c.headLink, s.stateMAC(c)))
}

// encoder writes deterministic CBOR (RFC 8949 §4.2.1) of the few kinds that MACs need. It is its own result.
type encoder []byte

func (e *encoder) head(major byte, n uint64) *encoder {
	switch {
	case n < 24:
		*e = append(*e, major<<5|byte(n))
	case n < 1<<8:
		*e = append(*e, major<<5|24, byte(n))
	case n < 1<<16:
		*e = append(*e, major<<5|25, byte(n>>8), byte(n))
	case n < 1<<32:
		*e = append(*e, major<<5|26, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	default:
		*e = append(*e, major<<5|27, byte(n>>56), byte(n>>48), byte(n>>40), byte(n>>32), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return e
}

func (e *encoder) int(n int64) *encoder {
	if n < 0 {
		return e.head(1, uint64(-1-n))
	}
	return e.head(0, uint64(n))
}

func (e *encoder) bytes(b []byte) *encoder {
	e.head(2, uint64(len(b)))
	*e = append(*e, b...)
	return e
}

func (e *encoder) text(s string) *encoder {
	e.head(3, uint64(len(s)))
	*e = append(*e, s...)
	return e
}

func (e *encoder) array(n int) *encoder { return e.head(4, uint64(n)) }
