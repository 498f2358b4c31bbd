package authz

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
)

// RevokeToken ends a token at its client's wish (RFC 7009): an access token alone, or a refresh token with everything that came
// with and from it. When it returns, introspection calls them inactive and they are on the revocation list; devices are told
// by way of the outbox. A token that nobody made, or that is another client's, is no error and changes nothing, but an attempt on
// another's is on record.
//
// An error is a fault of this server: the token may live on.
func (s *Server) RevokeToken(ctx context.Context, client Client, token []byte) error {
	end, err := s.ending(ctx, &client, token)
	if err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	if end == nil {
		return nil
	}
	end.Audit = AuditEntry{At: s.now(), Event: "token.revoke", Result: "granted", Client: client.ID}
	if _, err := s.store.End(ctx, *end, s.now()); err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	return nil
}

// ending says what is to end; nil for nothing.
func (s *Server) ending(ctx context.Context, client *Client, token []byte) (*EndSpec, error) {
	family, ok, err := s.refreshFamily(ctx, token)
	if err != nil {
		return nil, err
	}
	if ok {
		return s.ownEnding(ctx, client, family.Client, EndSpec{Family: family.ID}), nil
	}
	shown, err := s.read(ctx, token, &Device{}, true)
	if err != nil || shown.id == nil {
		return nil, err
	}
	record, err := s.store.Token(ctx, shown.id)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case !isHash(token, &record):
		return nil, nil
	}
	return s.ownEnding(ctx, client, record.Client, EndSpec{Token: record.ID}), nil
}

// ownEnding lets a client end what is its own.
func (s *Server) ownEnding(ctx context.Context, client *Client, of string, end EndSpec) *EndSpec {
	if client.ID == of {
		return &end
	}
	s.audit(ctx, AuditEntry{Event: "token.revoke", Result: "refused", Client: client.ID, Reason: "token of another client"})
	return nil
}

// refreshTokenSize is family ‖ generation ‖ HMAC (D19).
const refreshTokenSize = 16 + 4 + 32

// refreshFamily finds the family of a refresh token, of whatever generation: who has an old one may end the family too.
func (s *Server) refreshFamily(ctx context.Context, token []byte) (Family, bool, error) {
	if len(token) != refreshTokenSize {
		return Family{}, false, nil
	}
	id, _, ok := s.parseRefresh(base64.RawURLEncoding.EncodeToString(token))
	if !ok {
		return Family{}, false, nil
	}
	family, err := s.store.Family(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return Family{}, false, nil
	}
	return family, err == nil, err
}
