package sqlstore

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
)

// sweeps names each table whose rows end, and its key.
var sweeps = []sweep{
	{"codes", "hash", ""}, {"logins", "hash", ""}, {"client_keys", "mac", ""}, {"families", "id", ""}, {"requests", "hash", ""},
	{"device_codes", "hash", ""}, {"outbox", "id", ""}, {"invitations_to_register", "hash", ""}, {"leases", "name", ""},
	{"uses", "(kind, value)", ""}, {"instances", "id", ""},
	// As long as a device may keep a token of it, its owner can end it.
	{"grants", "id", " AND NOT EXISTS (SELECT 1 FROM tokens WHERE tokens.grant_id = grants.id)"},
}

type sweep struct{ table, key, unless string }

// ended is the condition under which a row goes. It stands in the deletion too: a row that somebody prolonged while the
// deletion waited for its lock stays.
func (s sweep) ended() string { return "expires_at <> 0 AND expires_at <= $1" + s.unless }

func (s sweep) columns() string { return strings.Trim(s.key, "()") }

// Sweep removes what nobody asks for any more, a batch of each table.
func (s *Store) Sweep(ctx context.Context, now time.Time, limit int) (int, error) {
	at, err := moment(now)
	if err != nil {
		return 0, fmt.Errorf("sweep: %w", err)
	}
	if s.guard.restored.Load() {
		return 0, nil
	}
	total := 0
	add := func(n int, err error) error { total += n; return err }
	for _, t := range sweeps {
		by := ask(`DELETE FROM `+t.table+` WHERE `+t.key+` IN (SELECT `+t.columns()+` FROM `+t.table+`
			WHERE `+t.ended()+` ORDER BY expires_at LIMIT $2) AND `+t.ended(), at, limit)
		if err := add(s.remove(ctx, by)); err != nil {
			return total, fmt.Errorf("sweep %s: %w", t.table, err)
		}
	}
	if err := add(s.eraseClaims(ctx, at, limit)); err != nil {
		return total, fmt.Errorf("sweep claims: %w", err)
	}
	if err := add(s.sweepTokens(ctx, at, limit)); err != nil {
		return total, fmt.Errorf("sweep tokens: %w", err)
	}
	if err := add(s.sweepUpdates(ctx, at, limit)); err != nil {
		return total, fmt.Errorf("sweep revocation list: %w", err)
	}
	return total, nil
}

// eraseClaims lets go of what introspection has nothing more to tell of (D3). The rows stay; they count like removed ones, so
// that housekeeping goes on until none is left.
func (s *Store) eraseClaims(ctx context.Context, at int64, limit int) (int, error) {
	return s.remove(ctx, ask(`UPDATE tokens SET claims = NULL WHERE id IN (SELECT id FROM tokens
		WHERE claims IS NOT NULL AND ends_at <= $1 ORDER BY ends_at LIMIT $2)`, at, limit))
}

func (s *Store) remove(ctx context.Context, by query) (removed int, err error) {
	err = s.engine.Write(ctx, func(ctx context.Context, q Querier) error {
		result, err := q.ExecContext(ctx, by.text, by.args...)
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		removed = int(n)
		return err
	})
	return removed, err
}

// sweepTokens takes revoked tokens off the revocation list as it removes them.
func (s *Store) sweepTokens(ctx context.Context, at int64, limit int) (removed int, err error) {
	err = s.engine.Write(ctx, func(ctx context.Context, q Querier) error {
		if err := s.enter(ctx, q, alone); err != nil {
			return err
		}
		gone, err := all(ctx, q, ask(`DELETE FROM tokens WHERE id IN (SELECT id FROM tokens WHERE expires_at <= $1
			ORDER BY expires_at LIMIT $2) RETURNING `+bareColumns, at, limit), s.scanToken)
		if err != nil {
			return err
		}
		removed = len(gone)
		var listed []authz.TokenRecord
		for _, t := range gone {
			if !t.Revoked.IsZero() {
				listed = append(listed, t)
			}
		}
		if len(listed) == 0 {
			return nil
		}
		return list(ctx, q, listed, at, true)
	})
	return removed, err
}

// sweepUpdates forgets old updates and remembers up to which, so that who asks for what came after one of them learns that
// something is missing.
func (s *Store) sweepUpdates(ctx context.Context, at int64, limit int) (removed int, err error) {
	err = s.engine.Write(ctx, func(ctx context.Context, q Querier) error {
		if err := s.enter(ctx, q, alone); err != nil {
			return err
		}
		var newest *int64
		err := one(ctx, q, ask(`SELECT MAX(number) FROM (SELECT number FROM trl_updates WHERE expires_at <= $1
			ORDER BY number LIMIT $2) AS old`, at, limit), &newest)
		if err != nil || newest == nil {
			return err
		}
		result, err := q.ExecContext(ctx, `DELETE FROM trl_updates WHERE number <= $1`, *newest)
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		if err != nil {
			return err
		}
		removed = int(n)
		return run(ctx, q, ask(`INSERT INTO counters (name, value) VALUES ($1, $2)
			ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE counters.value < excluded.value`, counterTRLFloor, *newest))
	})
	return removed, err
}
