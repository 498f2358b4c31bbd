package authz

import (
	"context"
	"crypto/subtle"
	"errors"

	"github.com/latchkey-ace/latchkey/pop/ace"
)

// proves reports whether the request came with a proof of the key that something is bound to; nil is bound to none (RFC 9449
// §10).
func (c *Caller) proves(bound []byte) bool {
	return bound == nil || subtle.ConstantTimeCompare(bound, c.Key()) == 1
}

// Key is the one that the client has proven to have, whatever the proof looked like: an app instance has one key. Nil: none.
func (c *Caller) Key() []byte {
	if c.Attested != nil && c.Attested.Instance != nil {
		return c.Attested.Instance
	}
	return c.DPoP
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
	return spentBefore[again.Kind]
}

var spentBefore = map[string]error{
	UseAssertion: &ace.Error{Code: ace.InvalidClient, Description: "this client assertion was used before; make one for each request"},
	UseProof:     &ace.Error{Code: ace.InvalidClient, Description: "this proof of the instance key was used before; make one for each request"},
	UseChallenge: &ace.Error{Code: ace.UseAttestationChallenge, Description: "this challenge was used before; use the one of the header OAuth-Client-Attestation-Challenge"},
	UseIntegrity: &ace.Error{Code: ace.InvalidClient, Description: "this integrity token was used before; get one for each request"},
}
