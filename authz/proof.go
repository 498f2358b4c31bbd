package authz

import (
	"context"
	"crypto/subtle"
	"errors"

	"github.com/latchkey-ace/latchkey/pop/ace"
)

// proves reports whether the request came with a DPoP proof of the key that something is bound to; nil is bound to none (RFC
// 9449 §10).
func (c *Caller) proves(bound []byte) bool {
	return bound == nil || subtle.ConstantTimeCompare(bound, c.DPoP) == 1
}

// Spend uses up assertions and proofs where nothing is minted: everywhere but at the token endpoint, where Mint does it. What
// was used before is an *ace.Error.
func (s *Server) Spend(ctx context.Context, uses ...Use) error {
	if len(uses) == 0 {
		return nil
	}
	return replayed(s.store.UseOnce(ctx, s.now(), uses...))
}

// replayed says in protocol words what was used before; other errors it returns as they are.
func replayed(err error) error {
	var again *ReplayedError
	switch {
	case !errors.As(err, &again):
		return err
	case again.Kind == UseDPoP:
		return &ace.Error{Code: ace.InvalidDPoPProof, Description: "this proof was used before; make one for each request"}
	}
	return &ace.Error{Code: ace.InvalidClient, Description: "this client assertion was used before; make one for each request"}
}
