package sqlstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/pop/trl"
)

// Names of counters.
const (
	counterClock    = "clock"     // the newest second of any sequence
	counterTRL      = "trl"       // the newest update
	counterChains   = "audit"     // the newest audit chain
	counterTRLFloor = "trl-floor" // the newest update that is not kept any more
)

// trlRow is a row of one of the three parts that one statement reads, so that they are of one moment.
type trlRow struct {
	part      int
	number    uint64
	hash, alt []byte
	removed   bool
}

const (
	partList = iota
	partUpdates
	partFloor
)

// Revoked reads the requester's part of the list and the newest updates of it.
func (s *Store) Revoked(ctx context.Context, by authz.Requester) (trl.Collection, error) {
	tokens, updates, args, err := part(by)
	if err != nil {
		return trl.Collection{}, err
	}
	rows, err := all(ctx, s.engine.Reader(), ask(`SELECT 0 AS part, 0 AS number, hash, alt_hash, FALSE AS removed, id
		FROM tokens WHERE revoked_at <> 0 AND `+tokens+`
		UNION ALL SELECT 1, number, hash, alt_hash, removed, token_id FROM trl_updates WHERE `+updates+` AND number IN (
			SELECT DISTINCT number FROM trl_updates WHERE `+updates+` ORDER BY number DESC LIMIT `+keptUpdates+`)
		UNION ALL SELECT 2, value, NULL, NULL, FALSE, NULL FROM counters WHERE name = '`+counterTRLFloor+`'
		ORDER BY 1, 2, 6`, args...), scanTRL)
	if err != nil {
		return trl.Collection{}, fmt.Errorf("revocation list: %w", err)
	}
	return collect(rows), nil
}

// keptUpdates is one more than MAX_N: the oldest of them only says that there were more.
const keptUpdates = `65`

func part(by authz.Requester) (tokens, updates string, args []any, err error) {
	low, high := tokenRange(by.Device)
	switch {
	case by.All && by.Client == "" && by.Device == (provision.DeviceID{}):
		return `TRUE`, `TRUE`, nil, nil
	case by.Client != "" && !by.All && by.Device == (provision.DeviceID{}) && storable(by.Client):
		return `client_id = $1`, `client_id = $1`, []any{by.Client}, nil
	case by.Client == "" && !by.All && by.Device != (provision.DeviceID{}):
		return `id >= $1 AND id <= $2`, `device_id = $3`, []any{low, high, by.Device[:]}, nil
	}
	return "", "", nil, errors.New("revocation list: exactly one requester must be named")
}

func scanTRL(rows Rows) (trlRow, error) {
	var r trlRow
	var id []byte
	err := rows.Scan(&r.part, (*counter)(&r.number), &r.hash, &r.alt, &r.removed, &id)
	return r, err
}

// hashes are all that a token may be known by.
func (r *trlRow) hashes() []trl.Hash {
	list := []trl.Hash{trl.Hash(r.hash)}
	if r.alt != nil {
		list = append(list, trl.Hash(r.alt))
	}
	return list
}

func collect(rows []trlRow) trl.Collection {
	var c trl.Collection
	for i := range rows {
		switch r := &rows[i]; r.part {
		case partList:
			c.Full = append(c.Full, r.hashes()...)
		case partUpdates:
			c.Updates = appendUpdate(c.Updates, r)
		case partFloor:
			c.Before, c.Dropped = r.number, true
		}
	}
	if extra := len(c.Updates) - trl.MaxUpdates; extra > 0 {
		c.Before, c.Dropped = c.Updates[extra-1].Index, true
		c.Updates = c.Updates[extra:]
	}
	return c
}

func appendUpdate(list []trl.Update, r *trlRow) []trl.Update {
	if len(list) == 0 || list[len(list)-1].Index != r.number {
		list = append(list, trl.Update{Index: r.number})
	}
	u := &list[len(list)-1]
	if r.removed {
		u.Removed = append(u.Removed, r.hashes()...)
	} else {
		u.Added = append(u.Added, r.hashes()...)
	}
	return list
}

// RevokedIndex is the newest update's number.
func (s *Store) RevokedIndex(ctx context.Context) (uint64, error) {
	var newest uint64
	err := one(ctx, s.engine.Reader(), ask(`SELECT value FROM counters WHERE name = $1`, counterTRL), (*counter)(&newest))
	if err != nil && !errors.Is(err, authz.ErrNotFound) {
		return 0, fmt.Errorf("revocation list: %w", err)
	}
	return newest, nil
}
