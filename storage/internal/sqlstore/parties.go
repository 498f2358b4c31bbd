package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// perSecond is how many bits of a sequence lie below the seconds (D4).
const perSecond = 20

// Who may pass the gate together.
const (
	many  = false // those who mint
	alone = true  // who ends or suspends: it waits for all who have passed, and they for it
)

// enter passes the engine's gate until the transaction ends.
func (s *Store) enter(ctx context.Context, q Querier, alone bool) error {
	return together(ctx, q, s.gate(alone)...)
}

func (s *Store) gate(alone bool) []Step {
	text := s.engine.Gate(alone)
	if text == "" {
		return nil
	}
	return []Step{{Text: text}}
}

// party is a row that a token depends on.
type party struct {
	name      sql.NullString
	suspended sql.NullInt64
	asked     bool
}

// standing is what one statement finds of the parties. What depends on the time is judged anew for each token.
type standing struct {
	epoch                 uint64
	state, owner          string
	device                time.Time
	holder, client, user  party
	grant                 sql.NullString // its owner
	from, until           sql.NullInt64
	revoked, grantStopped sql.NullInt64
	once                  sql.NullBool
	logWanted             time.Time
}

func readStanding(ctx context.Context, q Querier, p *authz.Parties) (f standing, err error) {
	err = one(ctx, q, ask(`SELECT d.epoch, d.state, d.owner, d.suspended_at, o.name, o.suspended_at, c.id, c.suspended_at,
			u.name, u.suspended_at, g.owner, g.starts_at, g.ends_at, g.revoked_at, g.suspended_at, g.once, d.log_wanted
		FROM devices d LEFT JOIN users o ON o.name = d.owner LEFT JOIN clients c ON c.id = $2
			LEFT JOIN users u ON u.name = $3 LEFT JOIN grants g ON g.id = $4 AND g.device_id = d.id
		WHERE d.id = $1`, p.Device[:], p.Client, p.User, p.Grant[:]),
		(*counter)(&f.epoch), &f.state, &f.owner, (*when)(&f.device), &f.holder.name, &f.holder.suspended, &f.client.name,
		&f.client.suspended, &f.user.name, &f.user.suspended, &f.grant, &f.from, &f.until, &f.revoked, &f.grantStopped,
		&f.once, (*when)(&f.logWanted))
	if err != nil {
		err = fmt.Errorf("device %q: %w", provision.Audience(p.Device), err)
	}
	return f, err
}

// checkParties is the one place where a token is refused for what its parties have become. The newest sequence of any
// device is the store's own clock: a server whose clock is far behind it would issue what devices take for old.
func (f *standing) checkParties(p *authz.Parties, m mark, now time.Time) error {
	if now.Add(clockStep).Unix() < m.clock {
		return authz.ErrClockStepped
	}
	if err := f.check(p); err != nil {
		return err
	}
	if p.Grant != (pop.GrantID{}) {
		return f.checkGrant(p, ms(now))
	}
	if p.User != "" && p.User != f.owner { // no grant: the owner's own rights
		return &authz.SuspendedError{What: "owner"}
	}
	return nil
}

func (f *standing) check(p *authz.Parties) error {
	f.client.asked, f.user.asked, f.holder.asked = p.Client != "", p.User != "", true
	for _, party := range []struct {
		what string
		good bool
	}{
		{"device", f.state == string(authz.DeviceActive) && f.device.IsZero()},
		{"owner", f.holder.good()}, {"client", f.client.good()}, {"user", f.user.good()},
	} {
		if !party.good {
			return &authz.SuspendedError{What: party.what}
		}
	}
	return nil
}

func (p *party) good() bool { return !p.asked || p.name.Valid && p.suspended.Int64 == 0 }

func (f *standing) checkGrant(p *authz.Parties, now int64) error {
	switch {
	case !f.grant.Valid:
		return fmt.Errorf("grant %x: %w", p.Grant, authz.ErrNotFound)
	case f.revoked.Int64 != 0, f.from.Int64 > now, f.until.Int64 != 0 && f.until.Int64 <= now:
		return fmt.Errorf("grant %x: %w", p.Grant, authz.ErrGrantEnded)
	case f.grantStopped.Int64 != 0, f.grant.String != f.owner:
		return &authz.SuspendedError{What: "grant"}
	case f.once.Bool && !f.logWanted.IsZero():
		return fmt.Errorf("grant %x: %w", p.Grant, authz.ErrLogWanted)
	}
	return nil
}

// Live checks outside of a transaction what Mint checks of the parties.
func (s *Store) Live(ctx context.Context, p authz.Parties, now time.Time) error {
	if !storable(p.Client) || !storable(p.User) {
		return authz.ErrNotFound
	}
	if s.guard.restored.Load() {
		if made, err := s.Restored(ctx); err != nil || !made.IsZero() {
			return cmp.Or(err, authz.ErrRestored)
		}
	}
	m, err := s.markOf(ctx)
	if err != nil {
		return err
	}
	f, err := s.known.standings.lookup(m.changes, p, func() (standing, error) { return readStanding(ctx, s.engine.Reader(), &p) })
	if err != nil {
		return err
	}
	return f.checkParties(&p, m, now)
}

// close changes one row on which minting depends, alone at the gate, and what follows from it.
func (s *Store) close(ctx context.Context, what string, update query, more ...query) error {
	if !update.storable() {
		return fmt.Errorf("%s: %w", what, authz.ErrNotFound)
	}
	err := s.engine.Write(ctx, func(ctx context.Context, q Querier) error {
		if err := s.enter(ctx, q, alone); err != nil {
			return err
		}
		if err := touch(ctx, q, update); err != nil {
			return err
		}
		for _, m := range more {
			if err := run(ctx, q, m); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", what, s.meaning(err))
	}
	return nil
}

// SuspendClient stops a client, or lets it go on.
func (s *Store) SuspendClient(ctx context.Context, id string, at time.Time) error {
	return s.suspend(ctx, fmt.Sprintf("client %q", id), `UPDATE clients SET suspended_at = $2 WHERE id = $1`, id, at)
}

// SuspendUser stops a person, or lets them go on.
func (s *Store) SuspendUser(ctx context.Context, name string, at time.Time) error {
	return s.suspend(ctx, fmt.Sprintf("user %q", name), `UPDATE users SET suspended_at = $2 WHERE name = $1`, name, at)
}

// SuspendDevice stops a device, or lets it go on.
func (s *Store) SuspendDevice(ctx context.Context, id provision.DeviceID, at time.Time) error {
	return s.suspend(ctx, fmt.Sprintf("device %q", provision.Audience(id)), `UPDATE devices SET suspended_at = $2 WHERE id = $1`, id[:], at)
}

// SuspendGrant stops a grant, or lets it go on.
func (s *Store) SuspendGrant(ctx context.Context, id pop.GrantID, at time.Time) error {
	return s.suspend(ctx, fmt.Sprintf("grant %x", id), `UPDATE grants SET suspended_at = $2 WHERE id = $1`, id[:], at)
}

// suspend takes the zero time for "go on"; no other time may be stored as that.
func (s *Store) suspend(ctx context.Context, what, update string, id any, at time.Time) error {
	if _, err := moment(at); err != nil && !at.IsZero() {
		return fmt.Errorf("%s: %w", what, err)
	}
	return s.close(ctx, what, ask(update, id, ms(at)))
}

// TransferDevice gives a device a new state, owner and epoch. What others have given ends with it, at the epoch, which is
// the time of the transfer (D4): should the device come back to one of them, it comes back without their old grants.
func (s *Store) TransferDevice(ctx context.Context, id provision.DeviceID, state authz.DeviceState, owner string, epoch uint64) error {
	what := fmt.Sprintf("device %q", provision.Audience(id))
	if state != authz.DeviceActive && state != authz.DeviceUnclaimed && state != authz.DeviceDecommissioned {
		return fmt.Errorf("%s: state %q is unknown", what, state)
	}
	return s.close(ctx, what,
		ask(`UPDATE devices SET state = $2, owner = $3, epoch = CASE WHEN epoch > $4 THEN epoch ELSE $4 END
			WHERE id = $1 AND (state <> $5 OR state = $2)`, id[:], string(state), owner, counter(epoch), string(authz.DeviceDecommissioned)),
		ask(`UPDATE grants SET revoked_at = (SELECT epoch * 1000 + 1 FROM devices WHERE id = $1),
			expires_at = (SELECT epoch * 1000 + $3 FROM devices WHERE id = $1)
			WHERE device_id = $1 AND owner <> $2 AND revoked_at = 0`, id[:], owner, grantHistory.Milliseconds()))
}
