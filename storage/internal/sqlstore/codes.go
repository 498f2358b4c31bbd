package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/internal/checks"
)

const codeColumns = `hash, client_id, user_name, redirect_uri, challenge, device_id, rights, grant_id, bound_key,
	details, issued_at, ends_at, consumed_at`

func codeDest(c *authz.CodeGrant) []any {
	return []any{&c.Hash, &c.Client, &c.User, &c.RedirectURI, &c.Challenge, (*id8)(&c.Device), (*rights)(&c.Rights),
		(*id8)(&c.Grant), &c.BoundKey, &c.Details, (*when)(&c.IssuedAt), (*when)(&c.ExpiresAt), (*when)(&c.ConsumedAt)}
}

// AddCode keeps what a code stands for, by the hash of the code, and consumes the pushed request that asked for it.
func (s *Store) AddCode(ctx context.Context, c authz.CodeGrant, request []byte) error {
	insert := ask(`INSERT INTO codes (`+codeColumns+`, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
		c.Hash, c.Client, c.User, c.RedirectURI, c.Challenge, c.Device[:], rights(c.Rights), c.Grant[:], c.BoundKey, c.Details,
		ms(c.IssuedAt), ms(c.ExpiresAt), ms(c.ConsumedAt), ms(c.ExpiresAt.Add(codeAfter)))
	if request == nil {
		return s.add(ctx, "code", insert)
	}
	if !insert.storable() {
		return fmt.Errorf("code: %w", authz.ErrNotFound)
	}
	err := s.engine.Write(ctx, func(ctx context.Context, q Querier) error {
		err := touch(ctx, q, ask(`DELETE FROM requests WHERE hash = $1 AND expires_at > $2`, request, ms(c.IssuedAt)))
		if err != nil {
			return err
		}
		return run(ctx, q, insert)
	})
	if err != nil {
		return fmt.Errorf("code: %w", s.meaning(err))
	}
	return nil
}

// Code reads what a code stands for, whatever its state.
func (s *Store) Code(ctx context.Context, hash []byte) (authz.CodeGrant, error) {
	var c authz.CodeGrant
	err := one(ctx, s.engine.Reader(), ask(`SELECT `+codeColumns+` FROM codes WHERE hash = $1`, hash), codeDest(&c)...)
	if err != nil {
		return authz.CodeGrant{}, fmt.Errorf("code: %w", err)
	}
	return c, nil
}

// unspent is the condition under which a code is redeemed; a test-only build drops it to show what it is for.
func unspent() string {
	if checks.Code {
		return "consumed_at = 0"
	}
	return "consumed_at >= 0"
}

// consumeCode is the statement that spends a code and returns it: of any number of redemptions one gets the row.
func consumeCode(ctx context.Context, q Querier, hash []byte, at int64) (authz.CodeGrant, error) {
	var c authz.CodeGrant
	err := one(ctx, q, ask(`UPDATE codes SET consumed_at = $2, expires_at = $3
		WHERE hash = $1 AND `+unspent()+` AND ends_at > $2 RETURNING `+codeColumns,
		hash, at, at+tombstoneLife.Milliseconds()), codeDest(&c)...)
	if !errors.Is(err, authz.ErrNotFound) {
		return c, err
	}
	// A spent code is told from one that never was, expired ones among the latter, because a replay has consequences (D20).
	var consumed time.Time
	err = one(ctx, q, ask(`SELECT consumed_at FROM codes WHERE hash = $1`, hash), (*when)(&consumed))
	if err == nil && !consumed.IsZero() {
		return authz.CodeGrant{}, &authz.CodeSpentError{ConsumedAt: consumed}
	}
	if err == nil {
		err = authz.ErrNotFound
	}
	return authz.CodeGrant{}, fmt.Errorf("code: %w", err)
}
