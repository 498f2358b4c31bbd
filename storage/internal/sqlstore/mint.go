package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

const tokenColumns = `hash, alt_hash, id, device_id, grant_id, client_id, user_name, code_hash, issued_at, expires_at`

// Mint is one transaction. Its row locks are always taken in this order: code, grant, sequence, key; so two of them
// cannot wait for each other.
func (s *Store) Mint(ctx context.Context, spec authz.MintSpec, issue func(authz.Minting) (authz.TokenRecord, error)) error {
	if _, err := moment(spec.Now); err != nil {
		return fmt.Errorf("mint: %w", err)
	}
	return s.engine.Write(ctx, func(ctx context.Context, q Querier) error {
		m, err := s.prepare(ctx, q, &spec)
		if err != nil {
			return err
		}
		token, err := issue(m)
		if err != nil {
			return err
		}
		return s.keep(ctx, q, &spec, &token)
	})
}

// prepare checks and takes everything a token needs.
func (s *Store) prepare(ctx context.Context, q Querier, spec *authz.MintSpec) (m authz.Minting, err error) {
	if spec.Code != nil {
		if m.Code, err = consume(ctx, q, spec.Code, ms(spec.Now)); err != nil {
			return m, err
		}
	}
	if spec.Grant != (pop.GrantID{}) {
		if err = checkLive(ctx, q, spec.Grant, spec.Now); err != nil {
			return m, err
		}
	}
	if m.Epoch, m.Sequence, err = advance(ctx, q, spec.Device, authz.SequenceEXI, spec.Now); err != nil {
		return m, err
	}
	if spec.ClientKey != nil {
		err = s.rememberKey(ctx, q, spec.ClientKey, spec.Now)
	}
	return m, err
}

// checkLive holds the grant's row until the transaction ends, so that a revocation waits for it or is seen by it.
func checkLive(ctx context.Context, q Querier, id pop.GrantID, now time.Time) error {
	var from, until, revoked time.Time
	err := one(ctx, q, ask(`SELECT starts_at, ends_at, revoked_at FROM grants WHERE id = $1 FOR SHARE`, id[:]),
		(*when)(&from), (*when)(&until), (*when)(&revoked))
	switch {
	case err != nil:
		return fmt.Errorf("grant %x: %w", id, err)
	case !revoked.IsZero(), from.After(now), !until.IsZero() && !until.After(now):
		return fmt.Errorf("grant %x: %w", id, authz.ErrGrantEnded)
	}
	return nil
}

// advance moves a device's sequence to max(previous + 1, unix seconds · 2^20) (D4). The newest value of any device is
// the store's own clock: a server whose clock is far behind it would issue what devices take for old.
func advance(ctx context.Context, q Querier, device provision.DeviceID, kind string, now time.Time) (epoch, next uint64, err error) {
	const perSecond = 20 // bits below the seconds
	var newest sql.NullInt64
	err = one(ctx, q, ask(`SELECT epoch, (SELECT MAX(value) FROM sequences) FROM devices WHERE id = $1`, device[:]),
		(*counter)(&epoch), &newest)
	if err != nil {
		return 0, 0, fmt.Errorf("device %q: %w", provision.Audience(device), err)
	}
	if now.Add(clockStep).Unix() < newest.Int64>>perSecond {
		return 0, 0, authz.ErrClockStepped
	}
	err = one(ctx, q, ask(`INSERT INTO sequences (device_id, kind, value) VALUES ($1, $2, $3)
		ON CONFLICT (device_id, kind) DO UPDATE SET value =
			CASE WHEN sequences.value >= excluded.value THEN sequences.value + 1 ELSE excluded.value END
		RETURNING value`, device[:], kind, now.Unix()<<perSecond), (*counter)(&next))
	if err != nil {
		return 0, 0, fmt.Errorf("sequence of device %q: %w", provision.Audience(device), err)
	}
	return epoch, next, nil
}

// rememberKey notes a key that a client made, or says that any client made it before (D9).
func (s *Store) rememberKey(ctx context.Context, q Querier, key []byte, now time.Time) error {
	err := touch(ctx, q, ask(`INSERT INTO client_keys (mac, used_at, expires_at) VALUES ($1, $2, $3)
		ON CONFLICT (mac) DO UPDATE SET used_at = excluded.used_at, expires_at = excluded.expires_at
		WHERE client_keys.expires_at <= excluded.used_at`,
		s.sealer.Remember(key), ms(now), ms(now.Add(clientKeyLife))))
	if errors.Is(err, authz.ErrNotFound) {
		return authz.ErrKeySeen
	}
	return err
}

// keep stores what was issued and why.
func (s *Store) keep(ctx context.Context, q Querier, spec *authz.MintSpec, t *authz.TokenRecord) error {
	if known := t.Expires.Add(clientKeyAfter); spec.ClientKey != nil && known.After(spec.Now.Add(clientKeyLife)) {
		err := touch(ctx, q, ask(`UPDATE client_keys SET expires_at = $2 WHERE mac = $1`,
			s.sealer.Remember(spec.ClientKey), ms(known)))
		if err != nil {
			return fmt.Errorf("possession key: %w", err)
		}
	}
	err := run(ctx, q, ask(`INSERT INTO tokens (`+tokenColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		t.Hash, t.AltHash, t.ID, t.Device[:], grantRef(t.Grant), t.Client, t.User, t.Code, ms(t.IssuedAt), ms(t.Expires)))
	if err != nil {
		return fmt.Errorf("token: %w", s.meaning(err))
	}
	return record(ctx, q, &spec.Audit)
}

// NextSequence advances a sequence on its own.
func (s *Store) NextSequence(ctx context.Context, device provision.DeviceID, kind string, now time.Time) (next uint64, err error) {
	if _, err := moment(now); err != nil {
		return 0, fmt.Errorf("sequence: %w", err)
	}
	if kind != authz.SequenceEXI && kind != authz.SequenceNews {
		return 0, fmt.Errorf("sequence %q is unknown", kind)
	}
	err = s.engine.Write(ctx, func(ctx context.Context, q Querier) error {
		_, next, err = advance(ctx, q, device, kind, now)
		return err
	})
	if err != nil {
		return 0, err
	}
	return next, nil
}

// TokensOf lists a device's tokens that have not expired at now, oldest first.
func (s *Store) TokensOf(ctx context.Context, device provision.DeviceID, now time.Time) ([]authz.TokenRecord, error) {
	list, err := all(ctx, s.engine.Reader(), ask(`SELECT `+tokenColumns+` FROM tokens WHERE device_id = $1 AND expires_at > $2
		ORDER BY issued_at, hash`, device[:], ms(now)), scanToken)
	if err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	return list, nil
}

func scanToken(rows *sql.Rows) (authz.TokenRecord, error) {
	var t authz.TokenRecord
	err := rows.Scan(&t.Hash, &t.AltHash, &t.ID, (*id8)(&t.Device), (*grantRef)(&t.Grant), &t.Client, &t.User, &t.Code,
		(*when)(&t.IssuedAt), (*when)(&t.Expires))
	return t, err
}
