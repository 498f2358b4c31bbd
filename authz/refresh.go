package authz

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/latchkey-ace/latchkey/pop/ace"
)

// A refresh token is family ‖ generation ‖ HMAC (D19). A public client has one only bound to a key, and keeps it; a client
// that authenticates gets the next generation with each use.

// encodeRefresh writes the token of a generation.
func (s *Server) encodeRefresh(id FamilyID, generation uint32) string {
	token := binary.BigEndian.AppendUint32(slices.Clone(id[:]), generation)
	return base64.RawURLEncoding.EncodeToString(append(token, s.store.RefreshSecret(id, generation)...))
}

// parseRefresh reads a token that this server made; nothing is looked up for any other.
func (s *Server) parseRefresh(text string) (id FamilyID, generation uint32, ok bool) {
	token, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(token) != refreshTokenSize {
		return FamilyID{}, 0, false
	}
	id, generation = FamilyID(token[:len(id)]), binary.BigEndian.Uint32(token[len(id):])
	return id, generation, subtle.ConstantTimeCompare(s.store.RefreshSecret(id, generation), token[len(id)+4:]) == 1
}

// badRefresh is the one answer to everything that can be wrong with a refresh token.
func badRefresh(reason string) error {
	return &reasonError{told: &ace.Error{Code: ace.InvalidGrant, Description: "the refresh token is not valid for this client and key; sign in again"}, reason: reason}
}

// findRefresh finds the family and checks all that binds it. Whether its generation is the one that is good now, Mint
// decides.
func (s *Server) findRefresh(ctx context.Context, r *request) error {
	if r.RefreshToken == "" {
		return &ace.Error{Code: ace.InvalidRequest, Description: "refresh_token is missing"}
	}
	id, generation, ok := s.parseRefresh(r.RefreshToken)
	if !ok {
		return badRefresh("unknown refresh token")
	}
	f, err := s.store.Family(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return badRefresh("forgotten refresh token")
	}
	if err != nil {
		return err
	}
	switch {
	case f.Client != r.caller.Client.ID:
		return badRefresh("refresh token of another client")
	case !f.RevokedAt.IsZero():
		return badRefresh("revoked refresh token")
	case !s.now().Before(f.ExpiresAt):
		return badRefresh("expired refresh token")
	case !r.caller.proves(f.BoundKey):
		return badRefresh("refresh token of another key")
	case f.BoundKey == nil && r.caller.Client.Public(): // it had a credential when it got this, and has given that up since
		return badRefresh("refresh token bound to nothing")
	}
	r.shown = shown{
		user: f.User, device: f.Device, agreed: f.Rights, grant: f.Grant, code: f.Code, details: f.Details,
		use: use{refresh: &RefreshUse{Family: id, Generation: generation, Rotate: f.BoundKey == nil}}, family: &f,
	}
	return nil
}

// keepKey lets the possession key of a family stay what it was (RFC 9200 §5.8.2): a refresh cannot change it.
func (s *Server) keepKey(r *request) error {
	f := r.shown.family
	switch cnf := r.ReqCnf; {
	case f.Device != r.device.ID:
		return badRefresh("another audience")
	case cnf != nil && (cnf.KeyID == nil || subtle.ConstantTimeCompare(cnf.KeyID, f.Material.ID) != 1):
		return badRefresh("another possession key")
	}
	r.key = possession{material: f.Material, series: f.Series}
	return nil
}

// refreshable reports whether a refresh token comes with a new token: for clients that may use one, who can show at each
// use that they are who got it.
func (r *request) refreshable() bool {
	c := &r.caller.Client
	return r.shown.agreed != nil && r.shown.family == nil && slices.Contains(c.GrantTypes, RefreshToken) && (!c.Public() || r.caller.Key() != nil)
}

// newFamily begins a family with a token.
func (s *Server) newFamily(r *request, t *minted, now time.Time) (*Family, error) {
	f := &Family{
		Client: t.record.Client, User: t.record.User, Device: t.record.Device, Grant: r.decision.Grant, Rights: r.shown.agreed,
		Details: r.shown.details, BoundKey: r.caller.Key(), Code: r.shown.code, IssuedAt: now, ExpiresAt: now.Add(RefreshLife),
	}
	if until := r.decision.Until; !until.IsZero() && until.Before(f.ExpiresAt) {
		f.ExpiresAt = until
	}
	if t.material.MasterSecret != nil && r.device.Delivery != DeliveryHTTP {
		f.Material, f.Series = t.material, t.record.ID
		if t.record.Series != nil {
			f.Series = t.record.Series
		}
	}
	if _, err := io.ReadFull(s.rand, f.ID[:]); err != nil {
		return nil, fmt.Errorf("refresh token: %w", err)
	}
	return f, nil
}

// withFamily joins a token to its family: the one it was refreshed from, or a new one.
func (s *Server) withFamily(r *request, m Minting, t *minted, now time.Time) (Issued, error) {
	issued := Issued{Token: t.record}
	switch {
	case r.shown.family != nil:
		issued.Token.Family = m.Family.ID
		t.refresh = s.encodeRefresh(m.Family.ID, m.Family.Generation)
		if m.Family.BoundKey != nil {
			t.refresh = "" // it stays what it was
		}
	case r.refreshable():
		f, err := s.newFamily(r, t, now)
		if err != nil {
			return Issued{}, err
		}
		issued.Family, issued.Token.Family = f, f.ID
		t.refresh = s.encodeRefresh(f.ID, 0)
	}
	t.record = issued.Token
	return issued, nil
}

// refreshError says in protocol words why a generation gave nothing, and ends a family whose token two have (D19).
func (s *Server) refreshError(ctx context.Context, r *request, err error) error {
	var reused *RefreshReusedError
	switch {
	case errors.Is(err, ErrBusy):
		return &BusyError{Wait: RefreshPause}
	case errors.As(err, &reused):
		entry := r.entry("refused")
		entry.Event, entry.Reason, entry.At = "refresh.reuse", "a replaced refresh token was used: all that came from it has ended", s.now()
		if _, err := s.store.End(context.WithoutCancel(ctx), EndSpec{Family: reused.Family, Audit: entry}, s.now()); err != nil {
			return fmt.Errorf("end refresh token that was used twice: %w", err)
		}
		s.log.Warn("a replaced refresh token was used: its family has ended", "client", r.caller.Client.ID, "user", r.shown.user)
		return badRefresh("a replaced refresh token was used")
	case errors.Is(err, ErrNotFound):
		return badRefresh("ended refresh token")
	}
	return err
}

// BusyError says that the same is being done already: who asks again after Wait gets the answer.
type BusyError struct{ Wait time.Duration }

func (e *BusyError) Error() string {
	return "the same request is being answered; ask again in a moment"
}
