package sqlstore

import (
	"context"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
)

const familyColumns = `id, generation, rotated_at, client_id, user_name, device_id, grant_id, rights, details, bound_key,
	material, series, code_hash, issued_at, ends_at, revoked_at`

// familyRef is the id of a family, NULL for none.
type familyRef authz.FamilyID

// Value is the id or NULL.
func (f familyRef) Value() (driver.Value, error) {
	if f == (familyRef{}) {
		return nil, nil
	}
	return f[:], nil
}

// Scan reads the id or NULL.
func (f *familyRef) Scan(column any) error {
	if column == nil {
		*f = familyRef{}
		return nil
	}
	data, ok := column.([]byte)
	if !ok || len(data) != len(f) {
		return columnError("family", column)
	}
	copy(f[:], data)
	return nil
}

// RefreshSecret is the HMAC of a generation under a key derived from the store key (D19).
func (s *Store) RefreshSecret(f authz.FamilyID, generation uint32) []byte {
	return s.sealer.Remember(binary.BigEndian.AppendUint32(append([]byte("rt"), f[:]...), generation))
}

func (s *Store) addFamily(ctx context.Context, q Querier, f *authz.Family) error {
	var material []byte
	if f.Material.MasterSecret != nil {
		var err error
		plain := append([]byte{byte(len(f.Material.ID))}, append(f.Material.ID, f.Material.MasterSecret...)...)
		if material, err = s.sealer.SealRow(tableFamilies, f.ID[:], plain); err != nil {
			return fmt.Errorf("refresh token: %w", err)
		}
	}
	err := run(ctx, q, ask(`INSERT INTO families (`+familyColumns+`, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, 0, $15)`,
		f.ID[:], int64(f.Generation), ms(f.RotatedAt), f.Client, f.User, f.Device[:], grantRef(f.Grant), rights(f.Rights), f.Details,
		f.BoundKey, material, f.Series, f.Code, ms(f.IssuedAt), ms(f.ExpiresAt)))
	if err != nil {
		return fmt.Errorf("refresh token: %w", s.meaning(err))
	}
	return nil
}

func (s *Store) scanFamily(rows Rows) (authz.Family, error) {
	var f authz.Family
	var material []byte
	err := rows.Scan((*familyRef)(&f.ID), &f.Generation, (*when)(&f.RotatedAt), &f.Client, &f.User, (*id8)(&f.Device), (*grantRef)(&f.Grant),
		(*rights)(&f.Rights), &f.Details, &f.BoundKey, &material, &f.Series, &f.Code, (*when)(&f.IssuedAt), (*when)(&f.ExpiresAt),
		(*when)(&f.RevokedAt))
	if err != nil || material == nil {
		return f, err
	}
	plain, err := s.sealer.OpenRow(tableFamilies, f.ID[:], material)
	if err != nil {
		return f, fmt.Errorf("refresh token: %w", err)
	}
	if len(plain) < 1 || len(plain) <= int(plain[0])+1 {
		return f, errors.New("refresh token: possession key is malformed")
	}
	cut := 1 + int(plain[0])
	f.Material = pop.InputMaterial{ID: plain[1:cut:cut], MasterSecret: plain[cut:]}
	return f, nil
}

// Family finds a family, live or not.
func (s *Store) Family(ctx context.Context, id authz.FamilyID) (authz.Family, error) {
	f, err := single(all(ctx, s.engine.Reader(), ask(`SELECT `+familyColumns+` FROM families WHERE id = $1`, id[:]), s.scanFamily))
	if err != nil {
		return authz.Family{}, fmt.Errorf("refresh token: %w", err)
	}
	return f, nil
}

// Families lists the live ones of a user or client, newest first.
func (s *Store) Families(ctx context.Context, user, client string, now time.Time) ([]authz.Family, error) {
	if !storable(user) || !storable(client) {
		return nil, nil
	}
	list, err := all(ctx, s.engine.Reader(), ask(`SELECT `+familyColumns+` FROM families
		WHERE ($1 = '' OR user_name = $1) AND ($2 = '' OR client_id = $2) AND revoked_at = 0 AND ends_at > $3
		ORDER BY issued_at DESC, id`, user, client, ms(now)), s.scanFamily)
	if err != nil {
		return nil, fmt.Errorf("refresh tokens: %w", err)
	}
	return list, nil
}

// refresh uses a generation. Of any number of uses of one that rotates the statement lets one through.
func (s *Store) refresh(ctx context.Context, q Querier, use *authz.RefreshUse, now time.Time) (authz.Family, error) {
	by := ask(`UPDATE families SET generation = generation + 1, rotated_at = $3
		WHERE id = $1 AND generation = $2 AND revoked_at = 0 AND ends_at > $3 RETURNING `+familyColumns,
		use.Family[:], int64(use.Generation), ms(now))
	if !use.Rotate {
		by.text = `SELECT ` + familyColumns + ` FROM families WHERE id = $1 AND generation = $2 AND revoked_at = 0 AND ends_at > $3`
	}
	f, err := single(all(ctx, q, by, s.scanFamily))
	if !errors.Is(err, authz.ErrNotFound) {
		return f, err
	}
	f, err = single(all(ctx, q, ask(`SELECT `+familyColumns+` FROM families WHERE id = $1 AND revoked_at = 0 AND ends_at > $2`,
		use.Family[:], ms(now)), s.scanFamily))
	if err != nil {
		return authz.Family{}, fmt.Errorf("refresh token: %w", err)
	}
	return f, replaced(&f, use, now)
}

// replaced judges the use of a generation that is not the one that is good now (D19).
func replaced(f *authz.Family, use *authz.RefreshUse, now time.Time) error {
	age := now.Sub(f.RotatedAt)
	switch {
	case use.Generation > f.Generation: // its HMAC was good, so the store went back
		return fmt.Errorf("refresh token: %w", authz.ErrNotFound)
	case use.Generation+1 != f.Generation || age > authz.RefreshGrace:
		return &authz.RefreshReusedError{Family: f.ID}
	case age < authz.RefreshPause:
		return authz.ErrBusy
	}
	return nil
}
