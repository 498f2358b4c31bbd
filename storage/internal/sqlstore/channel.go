package sqlstore

import (
	"database/sql"
	"fmt"

	"github.com/latchkey-ace/latchkey/authz"
)

// channelIDs is the part of a Channel that is no secret.
type channelIDs struct {
	Salt   []byte `json:"salt"`
	Peer   []byte `json:"peer"`
	Server []byte `json:"server"`
}

// sealChannel gives the two columns of a channel; both are NULL for none.
func (s *Store) sealChannel(table string, row []byte, c *authz.Channel) (ids any, sealed []byte, err error) {
	if c == nil {
		return nil, nil, nil
	}
	if sealed, err = s.sealer.Seal(table, row, c.MasterSecret); err != nil {
		return nil, nil, fmt.Errorf("channel: %w", err)
	}
	return asJSON{&channelIDs{Salt: c.MasterSalt, Peer: c.PeerID, Server: c.ServerID}}, sealed, nil
}

func (s *Store) openChannel(table string, row []byte, ids sql.NullString, sealed []byte) (*authz.Channel, error) {
	if !ids.Valid {
		return nil, nil
	}
	var known *channelIDs
	if err := (asJSON{&known}).Scan(ids.String); err != nil {
		return nil, fmt.Errorf("channel: %w", err)
	}
	secret, err := s.sealer.Open(table, row, sealed)
	if err != nil {
		return nil, fmt.Errorf("channel: %w", err)
	}
	return &authz.Channel{MasterSecret: secret, MasterSalt: known.Salt, PeerID: known.Peer, ServerID: known.Server}, nil
}

// material takes a secret for one client or device: one that two peers share protects neither from the other.
func (s *Store) material(c *authz.Channel, client, device any) query {
	return ask(`INSERT INTO materials (mac, client_id, device_id) VALUES ($1, $2, $3)`,
		s.sealer.Remember(append([]byte("channel\x00"), c.MasterSecret...)), client, device)
}
