package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

const tokenColumns = `id, hash, alt_hash, grant_id, client_id, user_name, code_hash, family, series, claims, issued_at,
	ends_at, revoked_at, expires_at, signed_by`

// bareColumns leave out the claims: a row goes whether or not they still open.
var bareColumns = strings.Replace(tokenColumns, "claims", "NULL", 1)

// checkSeries finds the first token of a series unrevoked. Who revokes waits at the gate until this transaction has ended.
func checkSeries(ctx context.Context, q Querier, first []byte) error {
	var found int
	err := one(ctx, q, ask(`SELECT 1 FROM tokens WHERE id = $1 AND revoked_at = 0`, first), &found)
	if errors.Is(err, authz.ErrNotFound) {
		return authz.ErrSeriesEnded
	}
	return err
}

// advance moves a device's sequence by n steps and gives the last of them. The first is max(previous + 1, unix seconds · 2^20)
// (D4).
func advance(device provision.DeviceID, kind string, now time.Time, n int64, last *uint64) Step {
	return ask(`INSERT INTO sequences (device_id, kind, value) VALUES ($1, $2, $3)
		ON CONFLICT (device_id, kind) DO UPDATE SET value =
			CASE WHEN sequences.value + $4 > excluded.value THEN sequences.value + $4 ELSE excluded.value END
		RETURNING value`, device[:], kind, now.Unix()<<perSecond+n-1, n).into((*counter)(last))
}

// tick notes the second of a sequence, the newest of all, in the transaction that moved it. The counter is the last of its
// locks: mints of other devices and nodes wait for it for no longer than a commit takes, and that once a second.
func (s *Store) tick(ctx context.Context, q Querier, sequence uint64) (reached int64, err error) {
	reached = int64(sequence >> perSecond)
	if reached <= s.clock.Load() {
		return reached, nil
	}
	return reached, Later(ctx, q, Step{Text: `INSERT INTO counters (name, value) VALUES ('` + counterClock + `', $1)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE counters.value < excluded.value`, Args: []any{reached}})
}

// ticked is tick after the commit.
func (s *Store) ticked(reached int64) {
	for old := s.clock.Load(); old < reached && !s.clock.CompareAndSwap(old, reached); old = s.clock.Load() {
	}
}

// rememberKey notes a key that a client made, or says that any client made it before (D9).
func (s *Store) rememberKey(ctx context.Context, q Querier, key []byte, now time.Time) error {
	err := touch(ctx, q, ask(`INSERT INTO client_keys (mac, used_at, expires_at) VALUES ($1, $2, $3)
		ON CONFLICT (mac) DO UPDATE SET used_at = excluded.used_at, expires_at = excluded.expires_at
		WHERE client_keys.expires_at <= excluded.used_at`,
		s.sealer.Remember(key), ms(now), ms(now.Add(clientKeyLife))))
	if errors.Is(err, authz.ErrNotFound) {
		return authz.ErrKeySeen
	}
	return err
}

// keep stores what was issued and why.
func (s *Store) keep(ctx context.Context, q Querier, spec *authz.MintSpec, issued *authz.Issued) error {
	t := &issued.Token
	if !ofDevice(t, spec.Device) {
		return fmt.Errorf("token id %x is not of device %q", t.ID, provision.Audience(spec.Device))
	}
	if len(t.Hash) != hashSize || t.AltHash != nil && len(t.AltHash) != hashSize {
		return errors.New("token without a hash to revoke it by")
	}
	if err := s.keepLonger(ctx, q, spec, issued); err != nil {
		return err
	}
	if issued.Family != nil {
		if err := s.addFamily(ctx, q, issued.Family); err != nil {
			return err
		}
	}
	var claims []byte
	if t.Claims != nil {
		var err error
		if claims, err = s.sealer.SealRow(tableTokens, t.ID, t.Claims); err != nil {
			return fmt.Errorf("token: %w", err)
		}
	}
	err := Later(ctx, q, Step{Text: insertToken, Args: []any{
		t.ID, t.Hash, t.AltHash, grantRef(t.Grant), t.Client, t.User, t.Code, familyRef(t.Family), t.Series, claims,
		ms(t.IssuedAt), ms(t.Expires), ms(kept(t)), nullable(t.SignedBy),
	}})
	if err != nil {
		return fmt.Errorf("token: %w", s.meaning(err))
	}
	record(q, &spec.Audit)
	return nil
}

const insertToken = `INSERT INTO tokens (` + tokenColumns + `)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0, $13, $14)`

// ofDevice reports whether a token's id is one of the device's.
func ofDevice(t *authz.TokenRecord, d provision.DeviceID) bool {
	return t.Device == d && len(t.ID) == len(d)+8 && bytes.Equal(t.ID[:len(d)], d[:])
}

// kept is how long the row of a token is needed.
func kept(t *authz.TokenRecord) time.Time {
	if t.Kept.After(t.Expires) {
		return t.Kept
	}
	return t.Expires
}

// keepLonger lets what a token came from be known as long as the token: its key, the code whose replay ends it, and the
// first token of its series.
func (s *Store) keepLonger(ctx context.Context, q Querier, spec *authz.MintSpec, issued *authz.Issued) error {
	t := &issued.Token
	until := kept(t)
	if known := until.Add(clientKeyAfter); spec.ClientKey != nil && known.After(spec.Now.Add(clientKeyLife)) {
		err := touch(ctx, q, ask(`UPDATE client_keys SET expires_at = $2 WHERE mac = $1`,
			s.sealer.Remember(spec.ClientKey), ms(known)))
		if err != nil {
			return fmt.Errorf("possession key: %w", err)
		}
	}
	if issued.Family != nil && issued.Family.ExpiresAt.After(until) {
		until = issued.Family.ExpiresAt
	}
	if spec.Code != nil && until.After(spec.Now.Add(tombstoneLife)) {
		if err := touch(ctx, q, ask(`UPDATE codes SET expires_at = $2 WHERE hash = $1`, spec.Code, ms(until))); err != nil {
			return fmt.Errorf("code: %w", err)
		}
	}
	if t.Series == nil {
		return nil
	}
	return run(ctx, q, ask(`UPDATE tokens SET expires_at = $2 WHERE id = $1 AND expires_at < $2`, t.Series, ms(until)))
}

// NextSequence advances a sequence on its own.
func (s *Store) NextSequence(ctx context.Context, device provision.DeviceID, kind string, now time.Time) (next uint64, err error) {
	if _, err := moment(now); err != nil {
		return 0, fmt.Errorf("sequence: %w", err)
	}
	if kind != authz.SequenceEXI && kind != authz.SequenceNews {
		return 0, fmt.Errorf("sequence %q is unknown", kind)
	}
	var reached int64
	err = s.engine.Write(ctx, func(ctx context.Context, q Querier) error {
		p := authz.Parties{Device: device}
		m, err := readMark(ctx, q)
		if err != nil {
			return err
		}
		f, err := readStanding(ctx, q, &p)
		if err == nil {
			err = f.checkParties(&p, m, now)
		}
		if err != nil && !errors.As(err, new(*authz.SuspendedError)) {
			return err // a device that mints nothing is still told the news
		}
		if err = together(ctx, q, advance(device, kind, now, 1, &next)); err != nil {
			return fmt.Errorf("sequence of device %q: %w", provision.Audience(device), err)
		}
		reached, err = s.tick(ctx, q, next)
		return err
	})
	if err != nil {
		return 0, err
	}
	s.ticked(reached)
	return next, nil
}

// Token finds a token by its id, whatever its state.
func (s *Store) Token(ctx context.Context, id []byte) (authz.TokenRecord, error) {
	read := func() (authz.TokenRecord, error) {
		return single(all(ctx, s.engine.Reader(), ask(`SELECT `+tokenColumns+` FROM tokens WHERE id = $1`, present(id)), s.scanToken))
	}
	var t authz.TokenRecord
	var err error
	if m, recalled := ctx.Value(asOf{}).(mark); recalled {
		t, err = s.known.tokens.lookup(m.revoked, string(id), read)
	} else {
		t, err = read()
	}
	if err != nil {
		return authz.TokenRecord{}, fmt.Errorf("token: %w", err)
	}
	return t, nil
}

// TokensOf lists a device's tokens that are live at now, oldest first.
func (s *Store) TokensOf(ctx context.Context, device provision.DeviceID, now time.Time) ([]authz.TokenRecord, error) {
	low, high := tokenRange(device)
	list, err := all(ctx, s.engine.Reader(), ask(`SELECT `+tokenColumns+` FROM tokens
		WHERE id >= $1 AND id <= $2 AND ends_at > $3 AND revoked_at = 0 ORDER BY id`, low, high, ms(now)), s.scanToken)
	if err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	return list, nil
}

// tokenRange is the lowest and the highest id that tokens of a device can have.
func tokenRange(device provision.DeviceID) (low, high []byte) {
	low = binary.BigEndian.AppendUint64(slices.Clone(device[:]), 0)
	return low, binary.BigEndian.AppendUint64(slices.Clone(device[:]), math.MaxUint64)
}

func (s *Store) scanToken(rows Rows) (authz.TokenRecord, error) {
	var t authz.TokenRecord
	var claims []byte
	var signedBy sql.NullString
	err := rows.Scan(&t.ID, &t.Hash, &t.AltHash, (*grantRef)(&t.Grant), &t.Client, &t.User, &t.Code, (*familyRef)(&t.Family),
		&t.Series, &claims, (*when)(&t.IssuedAt), (*when)(&t.Expires), (*when)(&t.Revoked), (*when)(&t.Kept), &signedBy)
	if err != nil {
		return t, err
	}
	t.SignedBy = signedBy.String
	copy(t.Device[:], t.ID)
	if t.Kept.Equal(t.Expires) {
		t.Kept = time.Time{}
	}
	if claims != nil {
		t.Claims, err = s.sealer.OpenRow(tableTokens, t.ID, claims)
	}
	return t, err
}
