package sqlstore

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/latchkey-ace/latchkey/authz"
)

const clientColumns = `id, auth_method, secret_hash, redirect_uris, grant_types, client_made_keys, ceiling, channel,
	channel_secret, created_at, name, keys, settings, serves, management_hash, suspended_at`

// AddClient keeps a client and reserves the PeerID of its channel.
func (s *Store) AddClient(ctx context.Context, c authz.Client) error {
	what := fmt.Sprintf("client %q", c.ID)
	channel, sealed, err := s.sealChannel(tableClients, []byte(c.ID), c.Channel)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	rows := []query{insertClient(&c, channel, sealed)}
	if c.Channel != nil {
		rows = append(rows, reserve(c.Channel.PeerID, c.ID, nil), s.material(c.Channel, c.ID, nil))
	}
	return s.addUnless(ctx, what, s.unnamed(usersNamed, c.ID), rows...)
}

func insertClient(c *authz.Client, channel any, sealed []byte) query {
	return ask(`INSERT INTO clients (`+clientColumns+`) 
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`,
		c.ID, string(c.AuthMethod), c.SecretHash, asJSON{c.RedirectURIs}, asJSON{c.GrantTypes}, c.ClientMadeKeys,
		asJSON{c.Ceiling}, channel, sealed, ms(c.CreatedAt), c.Name, c.Keys, asJSON{c.Settings}, deviceRef(c.Serves), c.Management,
		ms(c.SuspendedAt))
}

// UpdateClient replaces what a client may change.
func (s *Store) UpdateClient(ctx context.Context, c authz.Client) error {
	what := fmt.Sprintf("client %q", c.ID)
	if !storable(c.Name) || !storable(c.Keys) || !storable(string(c.AuthMethod)) {
		return fmt.Errorf("%s: text with a zero byte or broken UTF-8 cannot be stored", what)
	}
	return s.close(ctx, what, replaceClient(&c, ``))
}

// replaceClient is an update of a client under one more condition.
func replaceClient(c *authz.Client, and string) query {
	return ask(`UPDATE clients SET auth_method = $2, secret_hash = $3,
		redirect_uris = $4, grant_types = $5, client_made_keys = $6, ceiling = $7, name = $8, keys = $9, settings = $10, serves = $11,
		management_hash = $12 WHERE id = $1`+and, c.ID, string(c.AuthMethod), c.SecretHash, asJSON{c.RedirectURIs}, asJSON{c.GrantTypes},
		c.ClientMadeKeys, asJSON{c.Ceiling}, c.Name, c.Keys, asJSON{c.Settings}, deviceRef(c.Serves), c.Management)
}

// DeleteClient forgets a client and frees its PeerID and key material.
func (s *Store) DeleteClient(ctx context.Context, id string) error {
	what := fmt.Sprintf("client %q", id)
	if !storable(id) {
		return fmt.Errorf("%s: %w", what, authz.ErrNotFound)
	}
	err := s.engine.Write(ctx, func(ctx context.Context, q Querier) error {
		if err := s.enter(ctx, q, alone); err != nil {
			return err
		}
		return forgetClient(ctx, q, ask(`DELETE FROM clients WHERE id = $1`, id))
	})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// forgetClient deletes a client, whose id is the first argument, and what refers to it.
func forgetClient(ctx context.Context, q Querier, deletion query) error {
	for _, its := range []string{`peers`, `materials`} {
		if err := run(ctx, q, ask(`DELETE FROM `+its+` WHERE client_id = $1`, deletion.args[0])); err != nil {
			return err
		}
	}
	return touch(ctx, q, deletion)
}

// Client finds a client.
func (s *Store) Client(ctx context.Context, id string) (authz.Client, error) {
	c, err := lookup(ctx, s, &s.known.clients, id, func() (authz.Client, error) {
		return single(s.clients(ctx, id, ask(`SELECT `+clientColumns+` FROM clients WHERE id = $1`, id)))
	})
	if err != nil {
		return authz.Client{}, fmt.Errorf("client %q: %w", id, err)
	}
	return c, nil
}

// Clients lists all, by id.
func (s *Store) Clients(ctx context.Context) ([]authz.Client, error) {
	list, err := s.clients(ctx, "", ask(`SELECT `+clientColumns+` FROM clients ORDER BY id`))
	if err != nil {
		return nil, fmt.Errorf("clients: %w", err)
	}
	return list, nil
}

func (s *Store) clients(ctx context.Context, name string, by query) ([]authz.Client, error) {
	if !storable(name) {
		return nil, authz.ErrNotFound
	}
	return all(ctx, s.engine.Reader(), by, s.scanClient)
}

func (s *Store) scanClient(rows Rows) (authz.Client, error) {
	var c authz.Client
	var channel sql.NullString
	var sealed []byte
	err := rows.Scan(&c.ID, (*string)(&c.AuthMethod), &c.SecretHash, asJSON{&c.RedirectURIs}, asJSON{&c.GrantTypes},
		&c.ClientMadeKeys, asJSON{&c.Ceiling}, &channel, &sealed, (*when)(&c.CreatedAt), &c.Name, &c.Keys, asJSON{&c.Settings},
		(*deviceRef)(&c.Serves), &c.Management, (*when)(&c.SuspendedAt))
	if err != nil {
		return c, err
	}
	if c.Channel, err = s.openChannel(tableClients, []byte(c.ID), channel, sealed); err != nil {
		return c, fmt.Errorf("client %q: %w", c.ID, err)
	}
	return c, nil
}
