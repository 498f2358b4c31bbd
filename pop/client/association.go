package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// Conn is a DTLS association: a *dtls.Conn of coapsec/dtls is one.
type Conn interface {
	coapsec.Exchanger
	Close() error
}

// Dial makes a DTLS association with a device under a psk_identity and a key: dtls.Dial, with address and options filled in.
type Dial func(ctx context.Context, identity, key []byte) (Conn, error)

// Association is a session's association with a device that speaks coap_dtls. Only Session.Dial makes one; Session.Do uses
// it. The caller closes it.
type Association struct {
	session   *Session
	conn      Conn
	repeating coapsec.Exchanger // conn
}

var _ coapsec.Exchanger = (*Association)(nil)

// Exchange implements coapsec.Exchanger. A 4.01 with an Echo makes it repeat the request with that Echo, as coapsec.Secure
// does.
func (a *Association) Exchange(ctx context.Context, request message.Message) (message.Message, error) {
	return a.repeating.Exchange(ctx, request)
}

// Close ends the association.
func (a *Association) Close() error { return a.conn.Close() }

// Profile is how the device is talked to.
func (s *Session) Profile() pop.Profile {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.saved.Profile == 0 {
		return pop.ProfileCoAPOSCORE
	}
	return s.saved.Profile
}

var errNotDTLS = errors.New("this device speaks coap_oscore, which needs no association")

// Dial makes an association with a device that speaks coap_dtls (RFC 9202 §3.3.2): under the key id, if the device has the
// token, and else under the token itself, which delivers it.
func (s *Session) Dial(ctx context.Context, dial Dial) (*Association, error) {
	if s.Profile() != pop.ProfileCoAPDTLS {
		return nil, errNotDTLS
	}
	saved, named := s.Saved(), s.Ready()
	if !named && len(saved.Token) == 0 {
		return nil, errors.New("there is no token to show")
	}
	id := ace.PSKIdentity{Token: saved.Token}
	if named {
		id = ace.PSKIdentity{KeyID: saved.KeyID}
	}
	identity, err := id.Encode()
	if err != nil {
		return nil, err
	}
	conn, err := dial(ctx, identity, saved.Secret)
	if err != nil {
		return nil, err
	}
	if !named {
		if err := s.delivered(); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	return &Association{session: s, conn: conn, repeating: coapsec.Reachable(conn)}, nil
}

// Forget makes the next Dial show the token again, to a device that has lost it. It does nothing without a token.
func (s *Session) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.saved.Token) > 0 {
		s.saved.Uploaded, s.saved.Delivered = false, false
	}
}

func (s *Session) delivered() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saved.Delivered = true
	return s.save(s.saved)
}

// deliverToken posts the bare token (RFC 9202 §3.3.1). s.mu is held.
func (s *Session) deliverToken(ctx context.Context, x coapsec.Exchanger) error {
	response, err := x.Exchange(ctx, coapsec.NewRequest(codes.POST, ace.PathAuthzInfo, ace.FormatCWT, s.saved.Token))
	if err != nil {
		return fmt.Errorf("authz-info: %w", err)
	}
	if response.Code>>5 != 2 {
		return &AnswerError{Code: response.Code, Text: string(response.Payload)}
	}
	s.saved.Delivered = true
	return s.save(s.saved)
}

// ask is Do for coap_dtls. What is not this session's association protects nothing, or with another key.
func (s *Session) ask(ctx context.Context, x coapsec.Exchanger, request message.Message) (message.Message, error) {
	a, ok := x.(*Association)
	if !ok || a.session != s {
		return message.Message{}, errors.New("this device speaks coap_dtls: the request needs an association of this session")
	}
	response, err := a.Exchange(ctx, request)
	if err != nil {
		return message.Message{}, err
	}
	if response.Code>>5 != 2 {
		return response, &AnswerError{Code: response.Code, Text: string(response.Payload), Protected: true}
	}
	return response, nil
}
