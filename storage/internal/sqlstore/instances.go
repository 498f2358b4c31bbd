package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
)

const instanceWhat = "app instance"

// AddInstance keeps an instance of an app.
func (s *Store) AddInstance(ctx context.Context, i authz.Instance) error {
	return s.add(ctx, instanceWhat, ask(`INSERT INTO instances (id, client_id, app, public_key, verdict, counter, created_at, expires_at, serials)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		i.ID, i.Client, i.App, i.PublicKey, asJSON{i.Verdict}, int64(i.Counter), ms(i.CreatedAt), ms(i.ExpiresAt), asJSON{i.Serials}))
}

// Instance finds an instance of a client.
func (s *Store) Instance(ctx context.Context, client string, id []byte, now time.Time) (authz.Instance, error) {
	var i authz.Instance
	if !storable(client) {
		return i, fmt.Errorf("%s: %w", instanceWhat, authz.ErrNotFound)
	}
	by := ask(`SELECT id, client_id, app, public_key, verdict, counter, created_at, expires_at, serials FROM instances
		WHERE id = $1 AND client_id = $2 AND expires_at > $3`, present(id), client, ms(now))
	err := one(ctx, s.engine.Reader(), by, &i.ID, &i.Client, &i.App, &i.PublicKey, asJSON{&i.Verdict}, &i.Counter,
		(*when)(&i.CreatedAt), (*when)(&i.ExpiresAt), asJSON{&i.Serials})
	if err != nil {
		return authz.Instance{}, fmt.Errorf("%s: %w", instanceWhat, err)
	}
	return i, nil
}

// CountInstance spends a count: of any number of uses of one the first moves the counter.
func (s *Store) CountInstance(ctx context.Context, id []byte, counter uint32, until time.Time) error {
	err := s.change(ctx, instanceWhat, ask(`UPDATE instances SET counter = $2, expires_at = $3 WHERE id = $1 AND counter < $2`,
		present(id), int64(counter), ms(until)))
	if errors.Is(err, authz.ErrNotFound) {
		return fmt.Errorf("%s: %w", instanceWhat, authz.ErrReplayed)
	}
	return err
}
