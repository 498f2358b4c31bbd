package sqlstore

import (
	"context"
	"fmt"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
)

const (
	invitationColumns = `hash, note, uses_left, allowed, created_at, expires_at`
	invitationWhat    = "initial access token"
)

// AddRegistrationToken keeps an initial access token.
func (s *Store) AddRegistrationToken(ctx context.Context, t authz.RegistrationToken) error {
	return s.add(ctx, invitationWhat, ask(`INSERT INTO invitations_to_register (`+invitationColumns+`)
		VALUES ($1, $2, $3, $4, $5, $6)`, t.Hash, t.Note, t.Uses, asJSON{t.Allowed}, ms(t.CreatedAt), ms(t.ExpiresAt)))
}

// RegistrationToken finds one that can be used.
func (s *Store) RegistrationToken(ctx context.Context, hash []byte, now time.Time) (authz.RegistrationToken, error) {
	t, err := single(s.registrationTokens(ctx, ask(`SELECT `+invitationColumns+` FROM invitations_to_register
		WHERE hash = $1 AND uses_left > 0 AND expires_at > $2`, present(hash), ms(now))))
	if err != nil {
		return authz.RegistrationToken{}, fmt.Errorf("%s: %w", invitationWhat, err)
	}
	return t, nil
}

// RegistrationTokens lists those that can be used.
func (s *Store) RegistrationTokens(ctx context.Context, now time.Time) ([]authz.RegistrationToken, error) {
	list, err := s.registrationTokens(ctx, ask(`SELECT `+invitationColumns+` FROM invitations_to_register
		WHERE uses_left > 0 AND expires_at > $1 ORDER BY created_at DESC, hash`, ms(now)))
	if err != nil {
		return nil, fmt.Errorf("%ss: %w", invitationWhat, err)
	}
	return list, nil
}

func (s *Store) registrationTokens(ctx context.Context, by query) ([]authz.RegistrationToken, error) {
	return all(ctx, s.engine.Reader(), by, func(rows Rows) (t authz.RegistrationToken, err error) {
		err = rows.Scan(&t.Hash, &t.Note, &t.Uses, asJSON{&t.Allowed}, (*when)(&t.CreatedAt), (*when)(&t.ExpiresAt))
		return t, err
	})
}

// EndRegistrationToken takes the uses away that are left.
func (s *Store) EndRegistrationToken(ctx context.Context, hash []byte, audit authz.AuditEntry) error {
	return s.recorded(ctx, invitationWhat, audit, func(ctx context.Context, q Querier) error {
		return touch(ctx, q, ask(`DELETE FROM invitations_to_register WHERE hash = $1`, present(hash)))
	})
}

// RegisterClient consumes one use and keeps the client: of any number of requests at once as many pass as there are uses.
func (s *Store) RegisterClient(ctx context.Context, token []byte, c authz.Client, audit authz.AuditEntry) error {
	what := fmt.Sprintf("client %q", c.ID)
	insertion := insertClient(&c, nil, nil)
	if c.Channel != nil || !insertion.storable() {
		return fmt.Errorf("%s: text with a zero byte or broken UTF-8, and key material for CoAP, cannot be registered", what)
	}
	return s.recorded(ctx, what, audit, func(ctx context.Context, q Querier) error {
		if err := s.unnamed(usersNamed, c.ID)(ctx, q); err != nil {
			return err
		}
		err := touch(ctx, q, ask(`UPDATE invitations_to_register SET uses_left = uses_left - 1
			WHERE hash = $1 AND uses_left > 0 AND expires_at > $2`, present(token), ms(audit.At)))
		if err != nil {
			return err
		}
		return run(ctx, q, insertion)
	})
}

// ReplaceClient changes a client as it wishes. Mints that have begun with what it was are over before.
func (s *Store) ReplaceClient(ctx context.Context, c authz.Client, audit authz.AuditEntry) error {
	what := fmt.Sprintf("client %q", c.ID)
	update := replaceClient(&c, ` AND management_hash = $12 AND suspended_at = 0`)
	if !update.storable() {
		return fmt.Errorf("%s: text with a zero byte or broken UTF-8 cannot be stored", what)
	}
	return s.recorded(ctx, what, audit, func(ctx context.Context, q Querier) error {
		if err := s.enter(ctx, q, alone); err != nil {
			return err
		}
		return touch(ctx, q, update)
	})
}

// UnregisterClient forgets a client, and revokes what it was given.
func (s *Store) UnregisterClient(ctx context.Context, id string, management []byte, audit authz.AuditEntry) error {
	what := fmt.Sprintf("client %q", id)
	if !storable(id) {
		return fmt.Errorf("%s: %w", what, authz.ErrNotFound)
	}
	at, err := moment(audit.At)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return s.recorded(ctx, what, audit, func(ctx context.Context, q Querier) error {
		if err := s.enter(ctx, q, alone); err != nil {
			return err
		}
		err := forgetClient(ctx, q, ask(`DELETE FROM clients WHERE id = $1 AND management_hash = $2 AND suspended_at = 0`, id, present(management)))
		if err != nil {
			return err
		}
		return run(ctx, q, ask(`UPDATE grants SET revoked_at = $2, expires_at = $3 WHERE to_client = $1 AND to_client <> '' AND revoked_at = 0`,
			id, at, at+grantHistory.Milliseconds()))
	})
}

// recorded is a transaction with its audit entry.
func (s *Store) recorded(ctx context.Context, what string, audit authz.AuditEntry, work func(context.Context, Querier) error) error {
	err := s.engine.Write(ctx, func(ctx context.Context, q Querier) error {
		if err := work(ctx, q); err != nil {
			return err
		}
		record(q, &audit)
		return nil
	})
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, s.meaning(err))
}
