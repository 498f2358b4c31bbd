package resource

import (
	"context"
	"errors"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// ask finds out what the authorization server says of a token; nil and nil where it is not asked. It holds no lock: a server that
// is far away keeps nobody else from the door. Uploads are open to anyone in reach, so only so many are asked about at a time
// (RFC 9200 §5.9.3); a face limits how many there are in a minute.
func (s *Server) ask(ctx context.Context, token []byte) (*pop.Claims, error) {
	if s.options.Introspect == nil {
		return nil, nil
	}
	select {
	case s.asking <- struct{}{}:
		defer func() { <-s.asking }()
	default:
		return nil, refuse(codes.TooManyRequests, fmt.Errorf("%w: too many at a time", ErrNoAnswer))
	}
	ctx, cancel := context.WithTimeout(ctx, AskTime)
	defer cancel()
	claims, err := s.options.Introspect(ctx, token)
	switch {
	case errors.Is(err, ErrInactive):
		return nil, refuse(codes.Unauthorized, err)
	case err != nil:
		return nil, refuse(codes.ServiceUnavailable, fmt.Errorf("%w: %w", ErrNoAnswer, err))
	case claims == nil:
		return nil, refuse(codes.ServiceUnavailable, ErrNoAnswer)
	}
	return claims, nil
}

// hashes are those of the token under which a revocation may name it.
func (s *Server) hashes(o *offer) [][]byte {
	if o.told == nil {
		return s.opener.Hashes(o.in.Token)
	}
	hash := cwt.Hash(o.in.Token)
	return [][]byte{hash[:]}
}

// materialOf takes the key from the answer of the authorization server, or from the token.
func (s *Server) materialOf(o *offer) (pop.InputMaterial, error) {
	if o.told == nil {
		return s.opener.Material(o.claims.Confirmation)
	}
	if m := o.claims.Confirmation.OSCORE; m != nil {
		return *m, nil
	}
	return pop.InputMaterial{}, fmt.Errorf("%w: the answer has none", ErrBadConfirmation)
}
