package sqlstore

import (
	"context"
	"fmt"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
)

// AddUser keeps a person.
func (s *Store) AddUser(ctx context.Context, u authz.User) error {
	return s.addUnless(ctx, fmt.Sprintf("user %q", u.Name), s.unnamed(`SELECT COUNT(*) FROM clients WHERE id = $1`, u.Name),
		ask(`INSERT INTO users (name, password_hash, suspended_at, created_at) VALUES ($1, $2, $3, $4)`,
			u.Name, u.PasswordHash, ms(u.SuspendedAt), ms(u.CreatedAt)))
}

// unnamed refuses a name that a party of the other kind has: the sub of a token for an HTTP API says which of them it is by
// nothing else (RFC 9068 §5). The gate holds up two who add the same name at once.
func (s *Store) unnamed(count, name string) func(context.Context, Querier) error {
	return func(ctx context.Context, q Querier) error {
		if err := s.enter(ctx, q, alone); err != nil {
			return err
		}
		var n int64
		if err := one(ctx, q, ask(count, name), &n); err != nil {
			return err
		}
		if n > 0 {
			return authz.ErrExists
		}
		return nil
	}
}

const usersNamed = `SELECT COUNT(*) FROM users WHERE name = $1`

// User finds a person by name.
func (s *Store) User(ctx context.Context, name string) (authz.User, error) {
	u := authz.User{Name: name}
	err := authz.ErrNotFound
	if storable(name) {
		err = one(ctx, s.engine.Reader(), ask(`SELECT password_hash, suspended_at, created_at FROM users WHERE name = $1`, name),
			&u.PasswordHash, (*when)(&u.SuspendedAt), (*when)(&u.CreatedAt))
	}
	if err != nil {
		return authz.User{}, fmt.Errorf("user %q: %w", name, err)
	}
	return u, nil
}

// AddLogin keeps a session.
func (s *Store) AddLogin(ctx context.Context, l authz.Login) error {
	return s.add(ctx, "login",
		ask(`INSERT INTO logins (hash, user_name, expires_at) VALUES ($1, $2, $3)`, l.Hash, l.User, ms(l.ExpiresAt)))
}

// Login finds a session that has not expired at now.
func (s *Store) Login(ctx context.Context, hash []byte, now time.Time) (authz.Login, error) {
	var l authz.Login
	err := one(ctx, s.engine.Reader(),
		ask(`SELECT hash, user_name, expires_at FROM logins WHERE hash = $1 AND expires_at > $2`, hash, ms(now)),
		&l.Hash, &l.User, (*when)(&l.ExpiresAt))
	if err != nil {
		return authz.Login{}, fmt.Errorf("login: %w", err)
	}
	return l, nil
}

// EndLogin forgets a session.
func (s *Store) EndLogin(ctx context.Context, hash []byte) error {
	return s.change(ctx, "login", ask(`DELETE FROM logins WHERE hash = $1`, hash))
}

// AddSigningKey keeps a key, sealed.
func (s *Store) AddSigningKey(ctx context.Context, k authz.SigningKey) error {
	what := fmt.Sprintf("signing key %q", k.ID)
	sealed, err := s.sealer.Seal(tableSigningKeys, []byte(k.ID), k.Private)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return s.add(ctx, what,
		ask(`INSERT INTO signing_keys (id, private_key, created_at, signs_from, signs_until, withdrawn_at)
			VALUES ($1, $2, $3, $4, $5, $6)`, k.ID, sealed, ms(k.CreatedAt), ms(k.From), ms(k.Until), ms(k.Withdrawn)))
}

// SigningKeys lists all, newest first.
func (s *Store) SigningKeys(ctx context.Context) ([]authz.SigningKey, error) {
	list, err := all(ctx, s.engine.Reader(),
		ask(`SELECT id, private_key, created_at, signs_from, signs_until, withdrawn_at FROM signing_keys ORDER BY created_at DESC, id DESC`), s.scanSigningKey)
	if err != nil {
		return nil, fmt.Errorf("signing keys: %w", err)
	}
	return list, nil
}

func (s *Store) scanSigningKey(rows Rows) (authz.SigningKey, error) {
	var k authz.SigningKey
	var sealed []byte
	if err := rows.Scan(&k.ID, &sealed, (*when)(&k.CreatedAt), (*when)(&k.From), (*when)(&k.Until), (*when)(&k.Withdrawn)); err != nil {
		return k, err
	}
	var err error
	if k.Private, err = s.sealer.Open(tableSigningKeys, []byte(k.ID), sealed); err != nil {
		return k, fmt.Errorf("signing key %q: %w", k.ID, err)
	}
	return k, nil
}
