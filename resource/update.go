package resource

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// A token that names a key instead of bringing one is the next of that key's series. It comes through the session whose key it
// is: its rights and bounds replace those of the token before it, and the session goes on (RFC 9203 §4.4, RFC 9202 §4).

// checkSeries wants the token to name the key of the very session that protects it: who shows it has shown the key. The key's
// fingerprint holds its id too, so nothing more is kept to know it by.
func (s *Server) checkSeries(o *offer) error {
	session, kid := o.origin.Session, o.claims.Confirmation.KeyID
	switch {
	case kid == nil:
		return refuse(codes.Unauthorized, fmt.Errorf("%w: an update that brings a key", ErrBadConfirmation))
	case session == nil || o.bare != (session.context == nil):
		return fmt.Errorf("%w: an update outside of the session that it updates", ErrBadConfirmation)
	}
	r, ok := o.state.session(session.number)
	if !ok {
		return refuse(codes.Unauthorized, ErrNoSession)
	}
	if !r.named(kid, o.claims.Profile) {
		return refuse(codes.Unauthorized, fmt.Errorf("%w: an update of another key", ErrBadConfirmation))
	}
	o.updates, o.key = true, r.Key
	o.material = pop.InputMaterial{ID: kid, MasterSecret: r.Material.Secret, Salt: r.Material.Salt, Algorithm: r.Material.Algorithm}
	return nil
}

// named reports whether the record's key has this id, and its profile is the token's.
func (r *Record) named(kid []byte, profile pop.Profile) bool {
	if r.Profile == pop.ProfileCoAPDTLS {
		return profile == pop.ProfileCoAPDTLS && bytes.Equal(r.KeyID, kid)
	}
	m := pop.InputMaterial{ID: kid, MasterSecret: r.Material.Secret}
	return profile == pop.ProfileCoAPOSCORE && bytes.Equal(r.Key, fingerprint(m))
}

// update lets r replace the token of the session that it came through, and nothing of its context: true if it is an update.
func (s *State) update(o *offer, r *Record) bool {
	if !o.updates {
		return false
	}
	i := slices.IndexFunc(s.Sessions, func(x Record) bool { return x.Number == o.origin.Session.number })
	if i < 0 {
		return false // checkSeries found it in the same state
	}
	old := s.Sessions[i]
	r.Number, r.Used, r.Server, r.Reserved = old.Number, old.Used, old.Server, old.Reserved
	r.Profile, r.KeyID = old.Profile, old.KeyID
	r.Nonce1, r.Nonce2, r.ClientID, r.ServerID = old.Nonce1, old.Nonce2, old.ClientID, old.ServerID
	// What else the key may have open was opened by earlier tokens, with other rights.
	s.drop(func(x *Record) bool { return bytes.Equal(x.Key, r.Key) })
	return true
}

// sessionOf is the session of the record: for an update the one that there is.
func (s *Server) sessionOf(o *offer, r Record) (*Session, error) {
	if o.updates {
		return o.origin.Session, nil
	}
	return s.newSession(r, oscore.Options{})
}
