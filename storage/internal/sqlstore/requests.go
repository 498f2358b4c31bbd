package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
)

// AddRequest keeps a pushed authorization request.
func (s *Store) AddRequest(ctx context.Context, r authz.PushedRequest) error {
	return s.add(ctx, "pushed request", ask(`INSERT INTO requests (hash, client_id, query, verdict, expires_at) VALUES ($1, $2, $3, $4, $5)`,
		r.Hash, r.Client, r.Query, asJSON{r.Verdict}, ms(r.ExpiresAt)))
}

// Request finds a pushed request that has not expired.
func (s *Store) Request(ctx context.Context, hash []byte, now time.Time) (authz.PushedRequest, error) {
	var r authz.PushedRequest
	err := one(ctx, s.engine.Reader(), ask(`SELECT hash, client_id, query, verdict, expires_at FROM requests WHERE hash = $1 AND expires_at > $2`,
		present(hash), ms(now)), &r.Hash, &r.Client, &r.Query, asJSON{&r.Verdict}, (*when)(&r.ExpiresAt))
	if err != nil {
		return authz.PushedRequest{}, fmt.Errorf("pushed request: %w", err)
	}
	return r, nil
}

// ProlongRequest lets a pushed request live longer.
func (s *Store) ProlongRequest(ctx context.Context, hash []byte, now, until time.Time) error {
	return s.change(ctx, "pushed request", ask(`UPDATE requests SET expires_at = CASE WHEN expires_at > $3 THEN expires_at ELSE $3 END
		WHERE hash = $1 AND expires_at > $2`, present(hash), ms(now), ms(until)))
}

const deviceCodeColumns = `hash, client_id, device_id, asked, details, bound_key, pace, polled_at, answer, user_name, rights,
	grant_id, issued_at, ends_at, consumed_at, verdict`

// AddDeviceCode keeps a device authorization request.
func (s *Store) AddDeviceCode(ctx context.Context, c authz.DeviceCode) error {
	return s.add(ctx, "device code", ask(`INSERT INTO device_codes (`+deviceCodeColumns+`, user_code, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)`,
		c.Hash, c.Client, c.Device[:], rights(c.Asked), c.Details, c.BoundKey, int64(c.Pace/time.Second), ms(c.PolledAt), c.Answer,
		c.User, rights(c.Rights), grantRef(c.Grant), ms(c.IssuedAt), ms(c.ExpiresAt), ms(c.ConsumedAt), asJSON{c.Verdict}, s.userCode(c.UserCode),
		ms(c.ExpiresAt.Add(deviceCodeAfter))))
}

func (s *Store) userCode(typed string) []byte {
	return s.sealer.Remember([]byte("user code\x00" + typed))
}

func scanDeviceCode(rows Rows) (authz.DeviceCode, error) {
	var c authz.DeviceCode
	err := rows.Scan(&c.Hash, &c.Client, (*id8)(&c.Device), (*rights)(&c.Asked), &c.Details, &c.BoundKey, (*seconds)(&c.Pace),
		(*when)(&c.PolledAt), &c.Answer, &c.User, (*rights)(&c.Rights), (*grantRef)(&c.Grant), (*when)(&c.IssuedAt),
		(*when)(&c.ExpiresAt), (*when)(&c.ConsumedAt), asJSON{&c.Verdict})
	return c, err
}

// DeviceCode finds a device code, whatever its state.
func (s *Store) DeviceCode(ctx context.Context, hash []byte) (authz.DeviceCode, error) {
	return s.deviceCode(ctx, s.engine.Reader(), ask(`SELECT `+deviceCodeColumns+` FROM device_codes WHERE hash = $1`, present(hash)))
}

// DeviceCodeFor finds one that waits for an answer by what a person typed.
func (s *Store) DeviceCodeFor(ctx context.Context, userCode string, now time.Time) (authz.DeviceCode, error) {
	return s.deviceCode(ctx, s.engine.Reader(), ask(`SELECT `+deviceCodeColumns+` FROM device_codes
		WHERE user_code = $1 AND answer = '' AND ends_at > $2`, s.userCode(userCode), ms(now)))
}

func (s *Store) deviceCode(ctx context.Context, q Querier, by query) (authz.DeviceCode, error) {
	c, err := single(all(ctx, q, by, scanDeviceCode))
	if err != nil {
		return authz.DeviceCode{}, fmt.Errorf("device code: %w", err)
	}
	return c, nil
}

// AnswerDeviceCode writes a person's answer, once.
func (s *Store) AnswerDeviceCode(ctx context.Context, c authz.DeviceCode, now time.Time) error {
	if c.Answer != authz.AnswerYes && c.Answer != authz.AnswerNo {
		return fmt.Errorf("device code: answer %q", c.Answer)
	}
	return s.change(ctx, "device code", ask(`UPDATE device_codes SET answer = $2, user_name = $3, rights = $4, grant_id = $5
		WHERE hash = $1 AND answer = '' AND ends_at > $6`, c.Hash, c.Answer, c.User, rights(c.Rights), grantRef(c.Grant), ms(now)))
}

// PollDeviceCode notes a poll and slows down whoever polls too fast.
func (s *Store) PollDeviceCode(ctx context.Context, hash []byte, now time.Time) (early bool, err error) {
	err = s.engine.Write(ctx, func(ctx context.Context, q Querier) error {
		var before int64
		var pace int64
		by := ask(`SELECT polled_at, pace FROM device_codes WHERE hash = $1 FOR UPDATE`, present(hash))
		if err := one(ctx, q, by, &before, &pace); err != nil {
			return err
		}
		early = before != 0 && ms(now) < before+pace*1000
		if early {
			pace = min(pace+slowDown, maxPace)
		}
		return touch(ctx, q, ask(`UPDATE device_codes SET polled_at = $2, pace = $3 WHERE hash = $1`, hash, ms(now), pace))
	})
	if err != nil {
		return false, fmt.Errorf("device code: %w", err)
	}
	return early, nil
}

// consumeDeviceCode spends a device code that was answered with yes: of any number of uses one gets the row.
func consumeDeviceCode(ctx context.Context, q Querier, hash []byte, at int64) (authz.DeviceCode, error) {
	c, err := single(all(ctx, q, ask(`UPDATE device_codes SET consumed_at = $2
		WHERE hash = $1 AND consumed_at = 0 AND answer = '`+authz.AnswerYes+`' AND ends_at > $2 RETURNING `+deviceCodeColumns,
		hash, at), scanDeviceCode))
	if !errors.Is(err, authz.ErrNotFound) {
		return c, err
	}
	c, err = single(all(ctx, q, ask(`SELECT `+deviceCodeColumns+` FROM device_codes WHERE hash = $1`, hash), scanDeviceCode))
	switch {
	case err != nil:
	case !c.ConsumedAt.IsZero():
		err = &authz.CodeSpentError{ConsumedAt: c.ConsumedAt}
	case ms(c.ExpiresAt) <= at:
		err = authz.ErrNotFound
	case c.Answer == authz.AnswerNo:
		err = authz.ErrDenied
	default:
		err = authz.ErrPending
	}
	return authz.DeviceCode{}, fmt.Errorf("device code: %w", err)
}

// UseOnce notes all uses or none.
func (s *Store) UseOnce(ctx context.Context, now time.Time, uses ...authz.Use) error {
	return s.engine.Write(ctx, func(ctx context.Context, q Querier) error { return useOnce(ctx, q, now, uses) })
}

func useOnce(ctx context.Context, q Querier, now time.Time, uses []authz.Use) error {
	for _, u := range uses {
		err := touch(ctx, q, ask(`INSERT INTO uses (kind, value, expires_at) VALUES ($1, $2, $3)
			ON CONFLICT (kind, value) DO UPDATE SET expires_at = excluded.expires_at WHERE uses.expires_at <= $4`,
			u.Kind, present(u.Value), ms(u.Until), ms(now)))
		if errors.Is(err, authz.ErrNotFound) {
			return &authz.ReplayedError{Kind: u.Kind}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", u.Kind, err)
		}
	}
	return nil
}

// Lease takes or prolongs a lease.
func (s *Store) Lease(ctx context.Context, name, holder string, now, until time.Time) (bool, error) {
	err := s.change(ctx, "lease "+name, ask(`INSERT INTO leases (name, holder, expires_at) VALUES ($1, $2, $3)
		ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
		WHERE leases.holder = excluded.holder OR leases.expires_at <= $4`, name, holder, ms(until), ms(now)))
	if errors.Is(err, authz.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
