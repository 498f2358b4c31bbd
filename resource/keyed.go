package resource

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"iter"
	"slices"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/cose"
)

// AcceptToken takes an upload of the token alone, as the profile coap_dtls has it (RFC 9202 §3.3.1): in Content-Format 61 to
// /authz-info or as psk_identity of a handshake. Checks, durability and refusals are those of Accept. A newer token for a key
// that is known replaces the rights of its session, which goes on; an older one is refused (RFC 9202 §4).
func (s *Server) AcceptToken(ctx context.Context, token []byte, origin Origin) (*Session, error) {
	o := &offer{in: ace.AuthzInfo{Token: token}, bare: true, origin: origin}
	o.told, o.silence = s.ask(ctx, token)
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.accept(o)
	if err != nil {
		return nil, err
	}
	return s.keyed[string(r.KeyID)], nil
}

// PSK finds the live session whose key has this kid, and the key. Like Session it finds none that has expired, but one whose
// actions are used up for Linger, so that its client can learn that they are.
func (s *Server) PSK(kid []byte) (key []byte, session *Session, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = s.sweep() // as in Session
	session, ok = s.keyed[string(kid)]
	if !ok {
		return nil, nil, false
	}
	return slices.Clone(session.psk), session, true
}

// Key is the key of the session's handshakes, nil in the profile coap_oscore.
func (s *Session) Key() []byte { return slices.Clone(s.psk) }

// DTLS reports whether the device's tokens are for the profile coap_dtls: a face serves handshakes with the keys that PSK gives.
func (s *Server) DTLS() bool { return s.device.Profile == pop.ProfileCoAPDTLS }

// OnEnd sets who is told that a session of coap_dtls is over, before serving: its association is to be ended. Whatever still
// comes through it is refused by Decide. ended must return soon and not call the Server.
func (s *Server) OnEnd(ended func(*Session)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = ended
}

// checkPSK takes a symmetric COSE_Key with a kid (RFC 9202 §3.3.1). Tokens of such a device are encrypted as a whole, which alone
// hides it (provision.Device.Check).
func (s *Server) checkPSK(o *offer) error {
	key := o.claims.Confirmation.Key
	switch {
	case !s.DTLS():
		return fmt.Errorf("%w: this device does not speak coap_dtls", ErrBadConfirmation)
	case o.claims.Profile != pop.ProfileCoAPDTLS:
		return fmt.Errorf("%w: profile %d", ErrBadConfirmation, o.claims.Profile)
	case key == nil || key.Secret() == nil:
		return fmt.Errorf("%w: no symmetric key", ErrBadConfirmation)
	case key.Algorithm() != 0 || key.Operations() != nil:
		return fmt.Errorf("%w: the key is for another use", ErrBadConfirmation)
	case len(key.ID()) == 0 || len(key.ID()) > maxKeyID:
		return fmt.Errorf("%w: kid of %d bytes", ErrBadConfirmation, len(key.ID()))
	case len(key.Secret()) < minPSK:
		return fmt.Errorf("%w: key of %d bytes", ErrBadConfirmation, len(key.Secret()))
	}
	other, ok := s.keyed[string(key.ID())]
	if ok && subtle.ConstantTimeCompare(other.psk, key.Secret()) != 1 {
		return fmt.Errorf("%w: kid of another key", ErrBadConfirmation)
	}
	o.material = pop.InputMaterial{ID: key.ID(), MasterSecret: key.Secret()}
	o.key = pskFingerprint(key)
	return nil
}

// pskFingerprint names a DTLS key as fingerprint does OSCORE material. The leading 0, which is no length of an id, keeps the
// two apart: one key, one profile.
func pskFingerprint(key *cose.Key) []byte {
	h := sha256.New()
	h.Write([]byte{0, byte(len(key.ID()))})
	h.Write(key.ID())
	h.Write(key.Secret())
	return h.Sum(nil)[:16]
}

// renew lets r replace the record of the same DTLS key and be its session from now on: true if there is one.
func (s *State) renew(r *Record) bool {
	if r.Profile != pop.ProfileCoAPDTLS {
		return false
	}
	i := slices.IndexFunc(s.Sessions, func(x Record) bool { return bytes.Equal(x.Key, r.Key) })
	if i < 0 {
		return false
	}
	old := s.Sessions[i]
	r.Number, r.Used, r.Server = old.Number, old.Used, r.Server || old.Server
	s.Sessions = slices.Delete(s.Sessions, i, i+1)
	return true
}

// newKeyed is the session of a record of coap_dtls: the one there is, if it had the key before.
func (s *Server) newKeyed(r Record) *Session {
	if session, ok := s.keyed[string(r.KeyID)]; ok && session.number == r.Number {
		return session
	}
	return &Session{number: r.Number, kid: string(r.KeyID), psk: r.Material.Secret}
}

// sessions are all that can be found, of both profiles.
func (s *Server) sessions() iter.Seq[*Session] {
	return func(yield func(*Session) bool) {
		for _, found := range []map[string]*Session{s.live, s.keyed} {
			for _, session := range found {
				if !yield(session) {
					return
				}
			}
		}
	}
}

// show lets a session be found.
func (s *Server) show(session *Session) {
	if session.context != nil {
		s.live[session.kid] = session
		return
	}
	if old, ok := s.keyed[session.kid]; ok && old != session {
		s.ended(old)
	}
	s.keyed[session.kid] = session
}

// hide lets a session be found no more.
func (s *Server) hide(session *Session) {
	if session.context != nil {
		delete(s.live, session.kid)
		return
	}
	delete(s.keyed, session.kid)
	s.ended(session)
}
