package sqlstore

import (
	"context"
	"fmt"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

const grantColumns = `id, owner, to_user, to_client, device_id, rights, starts_at, ends_at, once, spent, created_at,
	revoked_at, confirmed_at, suspended_at`

// AddGrant keeps a grant on a device that exists.
func (s *Store) AddGrant(ctx context.Context, g authz.Grant) error {
	what := fmt.Sprintf("grant %x", g.ID)
	if g.ID == (pop.GrantID{}) {
		return fmt.Errorf("%s: the zero id stands for the owner's own rights", what)
	}
	if (g.To.User == "") == (g.To.Client == "") {
		return fmt.Errorf("%s: it must be to a user or to a client", what)
	}
	return s.add(ctx, what, ask(`INSERT INTO grants (`+grantColumns+`, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`,
		g.ID[:], g.Owner, g.To.User, g.To.Client, g.Device[:], rights(g.Rights), ms(g.From), ms(g.Until), g.Once,
		rights(g.Spent), ms(g.CreatedAt), ms(g.RevokedAt), ms(g.ConfirmedAt), ms(g.SuspendedAt), ms(until(&g))))
}

// until is when nobody looks up a grant any more: never, while it has no end.
func until(g *authz.Grant) time.Time {
	if g.Until.IsZero() {
		return time.Time{}
	}
	return g.Until.Add(grantHistory)
}

// Grant finds a grant, live or not.
func (s *Store) Grant(ctx context.Context, id pop.GrantID) (authz.Grant, error) {
	g, err := single(all(ctx, s.engine.Reader(), ask(`SELECT `+grantColumns+` FROM grants WHERE id = $1`, id[:]), scanGrant))
	if err != nil {
		return authz.Grant{}, fmt.Errorf("grant %x: %w", id, err)
	}
	return g, nil
}

// GrantsOf lists a subject's grants on a device that are neither revoked nor ended at now, newest first.
func (s *Store) GrantsOf(ctx context.Context, to authz.Subject, device provision.DeviceID, now time.Time) ([]authz.Grant, error) {
	if !storable(to.User) || !storable(to.Client) {
		return nil, nil
	}
	list, err := lookup(ctx, s, &s.known.grants, grantsKey{to, device}, func() ([]authz.Grant, error) {
		return all(ctx, s.engine.Reader(), ask(`SELECT `+grantColumns+` FROM grants
			WHERE device_id = $1 AND to_user = $2 AND to_client = $3 AND revoked_at = 0
			ORDER BY created_at DESC, id`, device[:], to.User, to.Client), scanGrant)
	})
	if err != nil {
		return nil, fmt.Errorf("grants: %w", err)
	}
	return live(list, now), nil
}

// live leaves out what has ended: the list is good for any time.
func live(list []authz.Grant, now time.Time) []authz.Grant {
	var good []authz.Grant
	for _, g := range list {
		if g.Until.IsZero() || ms(g.Until) > ms(now) {
			good = append(good, g)
		}
	}
	return good
}

// Grants lists an owner's grants, or everyone's, newest first.
func (s *Store) Grants(ctx context.Context, owner string) ([]authz.Grant, error) {
	if !storable(owner) {
		return nil, nil
	}
	by := ask(`SELECT ` + grantColumns + ` FROM grants ORDER BY created_at DESC, id`)
	if owner != "" {
		by = ask(`SELECT `+grantColumns+` FROM grants WHERE owner = $1 ORDER BY created_at DESC, id`, owner)
	}
	list, err := all(ctx, s.engine.Reader(), by, scanGrant)
	if err != nil {
		return nil, fmt.Errorf("grants: %w", err)
	}
	return list, nil
}

func scanGrant(rows Rows) (authz.Grant, error) {
	var g authz.Grant
	err := rows.Scan((*id8)(&g.ID), &g.Owner, &g.To.User, &g.To.Client, (*id8)(&g.Device), (*rights)(&g.Rights),
		(*when)(&g.From), (*when)(&g.Until), &g.Once, (*rights)(&g.Spent), (*when)(&g.CreatedAt), (*when)(&g.RevokedAt),
		(*when)(&g.ConfirmedAt), (*when)(&g.SuspendedAt))
	return g, err
}

// Confirm keeps the first confirmation of a revoked grant; a grant that is not revoked is not found.
func (s *Store) Confirm(ctx context.Context, id pop.GrantID, now time.Time) error {
	at, err := moment(now)
	if err != nil {
		return fmt.Errorf("grant %x: %w", id, err)
	}
	return s.change(ctx, fmt.Sprintf("revoked grant %x", id), ask(`UPDATE grants
		SET confirmed_at = CASE WHEN confirmed_at = 0 THEN $2 ELSE confirmed_at END
		WHERE id = $1 AND revoked_at <> 0`, id[:], at))
}

// Spend unites the spent rights of a grant with entry, under the grant's row lock: no report is lost to another.
func (s *Store) Spend(ctx context.Context, id pop.GrantID, entry aif.Entry) error {
	err := s.engine.Write(ctx, func(ctx context.Context, q Querier) error {
		var spent aif.Rights
		if err := one(ctx, q, ask(`SELECT spent FROM grants WHERE id = $1 FOR UPDATE`, id[:]), (*rights)(&spent)); err != nil {
			return err
		}
		return touch(ctx, q, ask(`UPDATE grants SET spent = $2 WHERE id = $1`, id[:], rights(spent.Union(aif.New(entry)))))
	})
	if err != nil {
		return fmt.Errorf("grant %x: %w", id, err)
	}
	return nil
}
