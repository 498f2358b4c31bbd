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

// selection says which tokens and families of $2 (and $3) end.
type selection struct {
	tokens, families string // "" where there can be none
	args             []any
	many             bool // may be a great part of all tokens, and no index helps to find them
}

// selected turns the one field of spec that is set into conditions.
func selected(spec *authz.EndSpec) (selection, error) {
	low, high := tokenRange(spec.Device)
	var found []selection
	for _, c := range []struct {
		set bool
		selection
	}{
		{spec.Token != nil, selection{`id = $2`, ``, []any{spec.Token}, false}},
		{spec.Code != nil, selection{`code_hash = $2`, `code_hash = $2`, []any{spec.Code}, false}},
		{spec.Family != (authz.FamilyID{}), selection{`family = $2`, `id = $2`, []any{spec.Family[:]}, false}},
		{spec.Grant != (pop.GrantID{}), selection{`grant_id = $2`, `grant_id = $2`, []any{spec.Grant[:]}, false}},
		{spec.Client != "", selection{`client_id = $2`, `client_id = $2`, []any{spec.Client}, true}},
		{spec.User != "", selection{`user_name = $2`, `user_name = $2`, []any{spec.User}, true}},
		{spec.SignedBy != "", selection{`signed_by = $2`, ``, []any{spec.SignedBy}, true}},
		{spec.Device != (provision.DeviceID{}), selection{`id >= $2 AND id <= $3`, `device_id = $4`, []any{low, high, spec.Device[:]}, true}},
	} {
		if c.set {
			found = append(found, c.selection)
		}
	}
	if len(found) != 1 {
		return selection{}, fmt.Errorf("end tokens: %d selections, want one", len(found))
	}
	return found[0], nil
}

// End revokes tokens, and whatever could give new ones in their place.
func (s *Store) End(ctx context.Context, spec authz.EndSpec, now time.Time) ([]authz.TokenRecord, error) {
	which, err := selected(&spec)
	if err != nil {
		return nil, err
	}
	at, err := moment(now)
	if err != nil {
		return nil, fmt.Errorf("end tokens: %w", err)
	}
	if !storable(spec.Client) || !storable(spec.User) || !storable(spec.SignedBy) {
		return nil, nil
	}
	var ended []authz.TokenRecord
	if which.many {
		ended, err = s.endMany(ctx, which, at, &spec.Audit)
	} else {
		ended, err = s.endFew(ctx, which, at, &spec.Audit)
	}
	if err != nil {
		return nil, fmt.Errorf("end tokens: %w", err)
	}
	return ended, nil
}

func (s *Store) endFew(ctx context.Context, which selection, at int64, audit *authz.AuditEntry) (ended []authz.TokenRecord, err error) {
	err = s.engine.Write(ctx, func(ctx context.Context, q Querier) error {
		if err := s.enter(ctx, q, alone); err != nil {
			return err
		}
		if ended, err = s.end(ctx, q, which, at); err != nil {
			return err
		}
		record(q, audit)
		return nil
	})
	return ended, err
}

// endMany takes so many tokens as would hold up all mints in steps. The first ends what could give new tokens: every token of
// before it is in the table then, and is found by a reader, who holds up nobody. What comes from a new sign-in meanwhile comes
// after the end.
func (s *Store) endMany(ctx context.Context, which selection, at int64, audit *authz.AuditEntry) ([]authz.TokenRecord, error) {
	err := s.engine.Write(ctx, func(ctx context.Context, q Querier) error {
		if err := s.enter(ctx, q, alone); err != nil {
			return err
		}
		if which.families != "" {
			if err := endFamilies(ctx, q, which, at); err != nil {
				return err
			}
		}
		record(q, audit)
		return nil
	})
	if err != nil {
		return nil, err
	}
	ids, err := all(ctx, s.engine.Reader(), ask(`SELECT id FROM tokens WHERE revoked_at = 0 AND expires_at > $1 AND `+which.tokens+
		` ORDER BY id`, append([]any{at}, which.args[:min(2, len(which.args))]...)...), scanID)
	if err != nil {
		return nil, err
	}
	var ended []authz.TokenRecord
	for step := range slices.Chunk(ids, endAtOnce) {
		var some []authz.TokenRecord
		err := s.engine.Write(ctx, func(ctx context.Context, q Querier) error {
			some, err = s.endEach(ctx, q, step, at)
			return err
		})
		if err != nil {
			return nil, err
		}
		ended = append(ended, some...)
	}
	return ended, nil
}

func scanID(rows Rows) (id []byte, err error) {
	err = rows.Scan(&id)
	return id, err
}

func (s *Store) endEach(ctx context.Context, q Querier, ids [][]byte, at int64) (ended []authz.TokenRecord, err error) {
	if err := s.enter(ctx, q, alone); err != nil {
		return nil, err
	}
	for _, id := range ids {
		one, err := s.revokeTokens(ctx, q, selection{tokens: `id = $2`, args: []any{id}}, at)
		if err != nil {
			return nil, err
		}
		ended = append(ended, one...)
	}
	return ended, s.announce(ctx, q, ended, at)
}

// end is the part of a transaction that is alone at the gate.
func (s *Store) end(ctx context.Context, q Querier, which selection, at int64) ([]authz.TokenRecord, error) {
	ended, err := s.revokeTokens(ctx, q, which, at)
	if err != nil {
		return nil, err
	}
	if which.families != "" {
		if err := endFamilies(ctx, q, which, at); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(ended, func(a, b authz.TokenRecord) int { return slices.Compare(a.ID, b.ID) })
	return ended, s.announce(ctx, q, ended, at)
}

// revokeTokens marks what is selected and forgets what their claims hold (D3).
func (s *Store) revokeTokens(ctx context.Context, q Querier, which selection, at int64) ([]authz.TokenRecord, error) {
	return all(ctx, q, ask(`UPDATE tokens SET revoked_at = $1, claims = NULL WHERE revoked_at = 0 AND expires_at > $1 AND `+which.tokens+`
		RETURNING `+tokenColumns, append([]any{at}, which.args...)...), s.scanToken)
}

// announce puts ended tokens on the revocation list and into the outbox.
func (s *Store) announce(ctx context.Context, q Querier, ended []authz.TokenRecord, at int64) error {
	if len(ended) == 0 {
		return nil
	}
	if err := list(ctx, q, ended, at, false); err != nil {
		return err
	}
	return s.post(ctx, q, ended, at)
}

func endFamilies(ctx context.Context, q Querier, which selection, at int64) error {
	args := append([]any{at}, which.args...)
	text := which.families
	if len(which.args) > 1 { // of a device: its id is the last
		args, text = []any{at, which.args[len(which.args)-1]}, `device_id = $2`
	}
	return run(ctx, q, ask(`UPDATE families SET revoked_at = $1, material = NULL WHERE revoked_at = 0 AND `+text, args...))
}

// Revoke ends a grant and returns its tokens that a device may still take for live. A Mint that began before has put its
// token among them; one that comes later finds the grant revoked.
func (s *Store) Revoke(ctx context.Context, id pop.GrantID, now time.Time) ([]authz.TokenRecord, error) {
	var tokens []authz.TokenRecord
	at, err := moment(now)
	if err == nil {
		err = s.engine.Write(ctx, func(ctx context.Context, q Querier) error {
			tokens, err = s.revoke(ctx, q, id, at)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("grant %x: %w", id, err)
	}
	return tokens, nil
}

func (s *Store) revoke(ctx context.Context, q Querier, id pop.GrantID, at int64) ([]authz.TokenRecord, error) {
	if err := s.enter(ctx, q, alone); err != nil {
		return nil, err
	}
	err := touch(ctx, q, ask(`UPDATE grants SET revoked_at = $2, expires_at = $3 WHERE id = $1 AND revoked_at = 0`,
		id[:], at, at+grantHistory.Milliseconds()))
	if errors.Is(err, authz.ErrNotFound) {
		var before int64
		err = one(ctx, q, ask(`SELECT revoked_at FROM grants WHERE id = $1`, id[:]), &before)
	}
	if err != nil {
		return nil, err
	}
	if _, err := s.end(ctx, q, selection{`grant_id = $2`, `grant_id = $2`, []any{id[:]}, false}, at); err != nil {
		return nil, err
	}
	return all(ctx, q, ask(`SELECT `+tokenColumns+` FROM tokens WHERE grant_id = $1 AND expires_at > $2 ORDER BY id`, id[:], at), s.scanToken)
}

// list writes one update of the revocation list: tokens that came onto it, or left it.
func list(ctx context.Context, q Querier, tokens []authz.TokenRecord, at int64, removed bool) error {
	number, err := count(ctx, q, counterTRL, at/1000<<perSecond)
	if err != nil {
		return err
	}
	for i := range tokens {
		t := &tokens[i]
		err := run(ctx, q, ask(`INSERT INTO trl_updates (number, token_id, device_id, client_id, hash, alt_hash, removed, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`, number, t.ID, t.Device[:], t.Client, t.Hash, t.AltHash, removed,
			at+updateLife.Milliseconds()))
		if err != nil {
			return fmt.Errorf("revocation list: %w", err)
		}
	}
	return nil
}

// count moves a counter of the whole store to max(previous + 1, floor).
func count(ctx context.Context, q Querier, name string, floor int64) (next int64, err error) {
	err = one(ctx, q, ask(`INSERT INTO counters (name, value) VALUES ($1, $2)
		ON CONFLICT (name) DO UPDATE SET value =
			CASE WHEN counters.value >= excluded.value THEN counters.value + 1 ELSE excluded.value END
		RETURNING value`, name, floor), &next)
	if err != nil {
		return 0, fmt.Errorf("counter %s: %w", name, err)
	}
	return next, nil
}

// UpdateSigningKeys changes the times of keys, all or none.
func (s *Store) UpdateSigningKeys(ctx context.Context, keys ...authz.SigningKey) error {
	err := s.engine.Write(ctx, func(ctx context.Context, q Querier) error {
		for _, k := range keys {
			err := touch(ctx, q, ask(`UPDATE signing_keys SET signs_from = $2, signs_until = $3,
				withdrawn_at = CASE WHEN withdrawn_at <> 0 THEN withdrawn_at ELSE $4 END WHERE id = $1`,
				k.ID, ms(k.From), ms(k.Until), ms(k.Withdrawn)))
			if err != nil {
				return fmt.Errorf("signing key %q: %w", k.ID, err)
			}
		}
		return nil
	})
	return err
}
