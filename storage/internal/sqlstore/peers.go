package sqlstore

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// reserve takes an OSCORE Sender ID for one client or device. An id that is nil but needed is the empty one, which is
// an id like any other (RFC 8613 §3.3).
func reserve(senderID []byte, client, device any) query {
	return ask(`INSERT INTO peers (peer_id, client_id, device_id) VALUES ($1, $2, $3)`, present(senderID), client, device)
}

// present keeps an empty value from being stored as NULL.
func present(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}

// Peer finds the device or client with this OSCORE Sender ID.
func (s *Store) Peer(ctx context.Context, senderID []byte) (authz.Peer, error) {
	var client sql.NullString
	var device []byte
	err := one(ctx, s.engine.Reader(), ask(`SELECT client_id, device_id FROM peers WHERE peer_id = $1`, present(senderID)),
		&client, &device)
	if err != nil {
		return authz.Peer{}, fmt.Errorf("peer %x: %w", senderID, err)
	}
	if client.Valid {
		c, err := s.Client(ctx, client.String)
		if err != nil {
			return authz.Peer{}, err
		}
		return authz.Peer{Client: &c}, nil
	}
	var id provision.DeviceID
	if err := (*id8)(&id).Scan(device); err != nil {
		return authz.Peer{}, fmt.Errorf("peer %x: %w", senderID, err)
	}
	d, err := s.Device(ctx, id)
	if err != nil {
		return authz.Peer{}, err
	}
	return authz.Peer{Device: &d}, nil
}
