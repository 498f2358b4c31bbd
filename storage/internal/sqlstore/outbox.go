package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

const messageColumns = `id, device_id, grant_id, hashes, created_at, attempts, expires_at`

// post leaves word of ended tokens for the devices that are pushed to. Rows of one grant stay apart, because its
// revocation is confirmed by them.
func (s *Store) post(ctx context.Context, q Querier, ended []authz.TokenRecord, at int64) error {
	type about struct {
		device provision.DeviceID
		grant  pop.GrantID
	}
	tokens := map[about][]authz.TokenRecord{}
	var order []about
	for _, t := range ended {
		key := about{t.Device, t.Grant}
		if tokens[key] == nil {
			order = append(order, key)
		}
		tokens[key] = append(tokens[key], t)
	}
	for _, key := range order {
		var delivery string
		err := one(ctx, q, ask(`SELECT delivery FROM devices WHERE id = $1`, key.device[:]), &delivery)
		if err != nil {
			return fmt.Errorf("outbox: %w", err)
		}
		if authz.Delivery(delivery) != authz.DeliveryPush {
			continue
		}
		for piece := range slices.Chunk(tokens[key], tokensPerMessage) {
			if err := post(ctx, q, piece, at); err != nil {
				return fmt.Errorf("outbox: %w", err)
			}
		}
	}
	return nil
}

func post(ctx context.Context, q Querier, tokens []authz.TokenRecord, at int64) error {
	var hashes [][]byte
	var until time.Time
	for i := range tokens {
		t := &tokens[i]
		hashes = append(hashes, t.Hash)
		if t.AltHash != nil {
			hashes = append(hashes, t.AltHash)
		}
		if k := kept(t); k.After(until) {
			until = k
		}
	}
	packed, err := packHashes(hashes)
	if err != nil {
		return err
	}
	return run(ctx, q, ask(`INSERT INTO outbox (device_id, grant_id, hashes, created_at, due_at, attempts, done_at, expires_at)
		VALUES ($1, $2, $3, $4, $4, 0, 0, $5)`, tokens[0].Device[:], grantRef(tokens[0].Grant), packed, at, ms(until)))
}

// packHashes joins hashes, each of the length that pop/trl names.
func packHashes(hashes [][]byte) ([]byte, error) {
	for _, h := range hashes {
		if len(h) != hashSize {
			return nil, fmt.Errorf("a token hash of %d bytes", len(h))
		}
	}
	return slices.Concat(hashes...), nil
}

func scanMessage(rows Rows) (authz.Message, error) {
	var m authz.Message
	var packed []byte
	err := rows.Scan(&m.ID, (*id8)(&m.Device), (*grantRef)(&m.Grant), &packed, (*when)(&m.CreatedAt), &m.Attempts, (*when)(&m.ExpiresAt))
	for h := range slices.Chunk(packed, hashSize) {
		m.Hashes = append(m.Hashes, h)
	}
	return m, err
}

// Due takes messages that are due; whoever comes meanwhile does not get them until lease.
func (s *Store) Due(ctx context.Context, now, lease time.Time, limit int) ([]authz.Message, error) {
	var list []authz.Message
	err := s.engine.Write(ctx, func(ctx context.Context, q Querier) (err error) {
		list, err = all(ctx, q, ask(`UPDATE outbox SET due_at = $2, attempts = attempts + 1 WHERE done_at = 0 AND id IN (
			SELECT id FROM outbox WHERE done_at = 0 AND due_at <= $1 AND expires_at > $1 ORDER BY due_at, id LIMIT $3)
			AND due_at <= $1 RETURNING `+messageColumns, ms(now), ms(lease), limit), scanMessage)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	slices.SortFunc(list, func(a, b authz.Message) int { return int(a.ID - b.ID) })
	return list, nil
}

// Waiting lists what a device has not confirmed, oldest first.
func (s *Store) Waiting(ctx context.Context, device provision.DeviceID, now time.Time) ([]authz.Message, error) {
	list, err := all(ctx, s.engine.Reader(), ask(`SELECT `+messageColumns+` FROM outbox
		WHERE device_id = $1 AND done_at = 0 AND expires_at > $2 ORDER BY id`, device[:], ms(now)), scanMessage)
	if err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	return list, nil
}

// Told notes a confirmation, and that of each grant of which nothing waits any more.
func (s *Store) Told(ctx context.Context, now time.Time, ids ...int64) error {
	at, err := moment(now)
	if err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	err = s.engine.Write(ctx, func(ctx context.Context, q Querier) error {
		for _, id := range ids {
			var grant grantRef
			err := one(ctx, q, ask(`UPDATE outbox SET done_at = $2, expires_at = $2 WHERE id = $1 AND done_at = 0 RETURNING grant_id`, id, at), &grant)
			if err == nil && grant != (grantRef{}) {
				err = confirm(ctx, q, grant, at)
			}
			if err != nil && !errors.Is(err, authz.ErrNotFound) { // told before, or expired and removed since
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	return nil
}

// confirm notes that a device knows of a grant's end once nothing of it waits. Of two messages of one grant that are
// confirmed at once, the second sees the first, because they take turns at the grant's row.
func confirm(ctx context.Context, q Querier, grant grantRef, at int64) error {
	var id []byte
	if err := one(ctx, q, ask(`SELECT id FROM grants WHERE id = $1 FOR UPDATE`, grant[:]), &id); err != nil {
		return err
	}
	return run(ctx, q, ask(`UPDATE grants SET confirmed_at = $2 WHERE id = $1 AND revoked_at <> 0 AND confirmed_at = 0
		AND NOT EXISTS (SELECT 1 FROM outbox WHERE grant_id = $1 AND done_at = 0 AND expires_at > $2)`, grant[:], at))
}

// Retry lets messages wait until due.
func (s *Store) Retry(ctx context.Context, due time.Time, ids ...int64) error {
	err := s.engine.Write(ctx, func(ctx context.Context, q Querier) error {
		for _, id := range ids {
			if err := run(ctx, q, ask(`UPDATE outbox SET due_at = $2 WHERE id = $1 AND done_at = 0`, id, ms(due))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	return nil
}
