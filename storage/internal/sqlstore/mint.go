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

// Mint is one transaction. It takes its locks always in this order: gate, proofs, code, sequence, key; so two of them cannot
// wait for each other. The gate is what a revocation or suspension waits for: once that has returned, no Mint that began
// before it is still on its way.
func (s *Store) Mint(ctx context.Context, spec authz.MintSpec, issue func(authz.Minting) (authz.Issued, error)) error {
	if _, err := moment(spec.Now); err != nil {
		return fmt.Errorf("mint: %w", err)
	}
	return s.engine.Write(ctx, func(ctx context.Context, q Querier) error {
		m, err := s.prepare(ctx, q, &spec)
		if err != nil {
			return err
		}
		issued, err := issue(m)
		if err != nil {
			return err
		}
		return s.keep(ctx, q, &spec, &issued)
	})
}

// prepare checks and takes everything a token needs.
func (s *Store) prepare(ctx context.Context, q Querier, spec *authz.MintSpec) (m authz.Minting, err error) {
	if err = s.enter(ctx, q, many); err != nil {
		return m, err
	}
	if err = useOnce(ctx, q, spec.Now, spec.Proofs); err != nil {
		return m, err
	}
	if err = s.consume(ctx, q, spec, &m); err != nil {
		return m, err
	}
	if m.Epoch, err = checkParties(ctx, q, &spec.Parties, spec.Now); err != nil {
		return m, err
	}
	if spec.Series != nil {
		if err = checkSeries(ctx, q, spec.Series); err != nil {
			return m, err
		}
	}
	if m.Sequence, err = advance(ctx, q, spec.Device, authz.SequenceEXI, spec.Now); err != nil {
		return m, err
	}
	if spec.ClientKey != nil {
		err = s.rememberKey(ctx, q, spec.ClientKey, spec.Now)
	}
	return m, err
}

// consume spends what the client showed; client_credentials shows nothing.
func (s *Store) consume(ctx context.Context, q Querier, spec *authz.MintSpec, m *authz.Minting) (err error) {
	at := ms(spec.Now)
	if spec.Code != nil {
		if m.Code, err = consumeCode(ctx, q, spec.Code, at); err != nil {
			return err
		}
	}
	if spec.DeviceCode != nil {
		if m.DeviceCode, err = consumeDeviceCode(ctx, q, spec.DeviceCode, at); err != nil {
			return err
		}
	}
	if spec.Refresh != nil {
		m.Family, err = s.refresh(ctx, q, spec.Refresh, spec.Now)
	}
	return err
}

// checkSeries finds the first token of a series unrevoked. Who revokes waits at the gate until this transaction has ended.
func checkSeries(ctx context.Context, q Querier, first []byte) error {
	var found int
	err := one(ctx, q, ask(`SELECT 1 FROM tokens WHERE id = $1 AND revoked_at = 0`, first), &found)
	if errors.Is(err, authz.ErrNotFound) {
		return authz.ErrSeriesEnded
	}
	return err
}

// advance moves a device's sequence to max(previous + 1, unix seconds · 2^20) (D4).
func advance(ctx context.Context, q Querier, device provision.DeviceID, kind string, now time.Time) (next uint64, err error) {
	err = one(ctx, q, ask(`INSERT INTO sequences (device_id, kind, value) VALUES ($1, $2, $3)
		ON CONFLICT (device_id, kind) DO UPDATE SET value =
			CASE WHEN sequences.value >= excluded.value THEN sequences.value + 1 ELSE excluded.value END
		RETURNING value`, device[:], kind, now.Unix()<<perSecond), (*counter)(&next))
	if err != nil {
		return 0, fmt.Errorf("sequence of device %q: %w", provision.Audience(device), err)
	}
	return next, nil
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
	if low, high := tokenRange(spec.Device); len(t.ID) != len(low) || t.Device != spec.Device || bytes.Compare(t.ID, low) < 0 || bytes.Compare(t.ID, high) > 0 {
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
	if err := checkSigner(ctx, q, t.SignedBy); err != nil {
		return err
	}
	err := run(ctx, q, ask(`INSERT INTO tokens (`+tokenColumns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0, $13, $14)`,
		t.ID, t.Hash, t.AltHash, grantRef(t.Grant), t.Client, t.User, t.Code, familyRef(t.Family), t.Series, claims,
		ms(t.IssuedAt), ms(t.Expires), ms(kept(t)), nullable(t.SignedBy)))
	if err != nil {
		return fmt.Errorf("token: %w", s.meaning(err))
	}
	record(q, &spec.Audit)
	return nil
}

// checkSigner refuses a token that was signed with a key that another process has withdrawn meanwhile: the End that follows a
// withdrawal waits for every Mint before it, so a token is ended by that or refused here.
func checkSigner(ctx context.Context, q Querier, id string) error {
	if id == "" {
		return nil
	}
	var good int64
	err := one(ctx, q, ask(`SELECT COUNT(*) FROM signing_keys WHERE id = $1 AND withdrawn_at = 0`, id), &good)
	if err == nil && good == 0 {
		err = authz.ErrKeyWithdrawn
	}
	if err != nil {
		return fmt.Errorf("signing key %q: %w", id, err)
	}
	return nil
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
	err = s.engine.Write(ctx, func(ctx context.Context, q Querier) error {
		if _, err := checkParties(ctx, q, &authz.Parties{Device: device}, now); err != nil && !errors.As(err, new(*authz.SuspendedError)) {
			return err // a device that mints nothing is still told the news
		}
		next, err = advance(ctx, q, device, kind, now)
		return err
	})
	if err != nil {
		return 0, err
	}
	return next, nil
}

// Token finds a token by its id, whatever its state.
func (s *Store) Token(ctx context.Context, id []byte) (authz.TokenRecord, error) {
	t, err := single(all(ctx, s.engine.Reader(), ask(`SELECT `+tokenColumns+` FROM tokens WHERE id = $1`, present(id)), s.scanToken))
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
