package client

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

const (
	nonceSize    = 8 // bytes of N1 (RFC 9203 §4.1)
	recipientID1 = 1 // bytes of ID1: one session has one context, so one byte tells them apart
)

// Saved is all a session needs to go on after a restart. It holds secrets: keep it in a 0600 file.
type Saved struct {
	Profile   pop.Profile `json:"profile,omitempty"` // 0: coap_oscore
	Audience  string      `json:"audience"`
	Scope     string      `json:"scope"`
	Token     []byte      `json:"token,omitempty"` // empty if the server delivered it
	KeyID     []byte      `json:"key_id"`          // the kid of a coap_dtls key
	Secret    []byte      `json:"secret"`
	Salt      []byte      `json:"salt,omitempty"`
	Nonce1    []byte      `json:"nonce1"`
	Recipient []byte      `json:"recipient_id"`
	Nonce2    []byte      `json:"nonce2,omitempty"` // empty until the device has answered
	Sender    []byte      `json:"sender_id,omitempty"`
	Next      uint64      `json:"next"` // sender sequence numbers below may be in use (RFC 8613 B.1.1)
	URIs      []string    `json:"uris,omitempty"`
	Refresh   string      `json:"refresh_token,omitempty"` // empty: none
	ExpiresAt time.Time   `json:"expires_at"`
	Uploaded  bool        `json:"uploaded"`            // by the server (SDC)
	Delivered bool        `json:"delivered,omitempty"` // by us; coap_dtls
}

// String hides the secrets.
func (Saved) String() string { return "[redacted]" }

// GoString hides the secrets.
func (Saved) GoString() string { return "[redacted]" }

// Session is a token, its key and, once a device has accepted them, the security context with that device, if it speaks
// coap_oscore; with one that speaks coap_dtls each Dial makes an association. It is safe for concurrent use.
type Session struct {
	mu    sync.Mutex
	saved Saved
	save  func(Saved) error
	rand  io.Reader
	keys  *oscore.Context
	vouch func(ctx context.Context, challenge string) (token string, err error)

	refreshing sync.Mutex // held while a refresh token is used
}

// Restore goes on with a saved session. save is called, and must be durable, before a sender sequence number is used
// and whenever the device has accepted the token.
func Restore(s Saved, save func(Saved) error, random io.Reader) *Session {
	return &Session{saved: s, save: save, rand: random}
}

// Want is what a token is asked for.
type Want struct {
	Code     *Code // nil: client credentials, unless Device is set
	Device   *DeviceLogin
	Audience string // the device; may be empty with a code
	Scope    string
	Key      []byte // a possession key of 16 or 32 random bytes made here; nil: the server makes it
	CNonce   []byte // the device's; nil: none
	Upload   bool   // ask the server to deliver (SDC); it falls back to handing the token over
}

// Token redeems the grant and returns the session, saved for the first time.
func (c *Client) Token(ctx context.Context, w Want, save func(Saved) error) (*Session, error) {
	s := &Session{save: save, rand: c.Rand}
	p, err := s.propose()
	if err != nil {
		return nil, err
	}
	request, err := w.request(p)
	if err != nil {
		return nil, err
	}
	response, err := c.redeem(ctx, w, request)
	if err != nil {
		return nil, err
	}
	if err := s.take(response, w, p, c.Now()); err != nil {
		return nil, err
	}
	return s, s.save(s.saved)
}

// proposal is the client's half of a context. It becomes the session's when a device has answered it: until then a context
// that works must go on working.
type proposal struct{ nonce1, recipient []byte }

func (s *Session) propose() (proposal, error) {
	random := make([]byte, nonceSize+recipientID1)
	if _, err := io.ReadFull(s.rand, random); err != nil {
		return proposal{}, fmt.Errorf("nonce: %w", err)
	}
	return proposal{random[:nonceSize], random[nonceSize:]}, nil
}

func (w Want) request(p proposal) (ace.TokenRequest, error) {
	r := ace.TokenRequest{GrantType: ace.GrantClientCredentials, Audience: w.Audience, Scope: ace.Scope{Words: w.Scope}, CNonce: w.CNonce, Profile: ace.TellProfile()}
	if w.Code != nil {
		r.GrantType, r.Code, r.RedirectURI, r.CodeVerifier = ace.GrantAuthorizationCode, w.Code.Value, w.Code.Redirect, w.Code.Verifier
	}
	if w.Device != nil {
		r.GrantType, r.DeviceCode = ace.GrantDeviceCode, w.Device.Code
	}
	if w.Key != nil {
		r.ReqCnf = &pop.Confirmation{Key: cose.NewSymmetric(w.Key, nil)}
	}
	if w.Upload {
		want := ace.UploadWantHash
		r.TokenUpload = &want
		var err error
		if r.ToRS, err = (ace.AuthzInfo{Nonce1: p.nonce1, ClientRecipientID: p.recipient}).Encode(); err != nil {
			return r, err
		}
	}
	return r, nil
}

// take checks the token response (RFC 9200 §5.8.2, RFC 9203 §3.2, RFC 9202 §3.3.1).
func (s *Session) take(r *ace.TokenResponse, w Want, p proposal, now time.Time) error {
	v := &s.saved
	if err := v.takeKey(r); err != nil {
		return fmt.Errorf("token response: %w", err)
	}
	if r.ExpiresIn <= 0 {
		return errors.New("token response: no lifetime (RFC 9200 §5.8.2)")
	}
	v.Audience, v.Scope, v.Token, v.URIs = w.Audience, r.Scope.String(), r.AccessToken, r.RSURI
	v.ExpiresAt = now.Add(r.ExpiresIn)
	if r.RefreshToken != "" {
		v.Refresh = r.RefreshToken // without a new one the old one stays good (RFC 6749 §6)
	}
	if r.TokenUpload == nil || *r.TokenUpload != ace.UploadDone {
		if len(v.Token) == 0 {
			return errors.New("token response: neither a token nor a delivery")
		}
		return nil
	}
	v.Uploaded = true
	if v.Profile == pop.ProfileCoAPDTLS {
		if len(r.FromRS) != 0 {
			return errors.New("token response: from_rs where a DTLS device says nothing")
		}
		return nil
	}
	answer, err := ace.ParseAuthzInfoAnswer(r.FromRS)
	if err != nil {
		return fmt.Errorf("token response: from_rs: %w", err)
	}
	return s.agree(p, answer)
}

// takeKey takes the possession key in the form of its profile. A COSE_Key without a profile could be for anything.
func (v *Saved) takeKey(r *ace.TokenResponse) error {
	switch {
	case r.Cnf == nil:
		return errors.New("no possession key")
	case r.Profile == pop.ProfileCoAPDTLS && r.Cnf.Key != nil && len(r.Cnf.Key.ID()) > 0 && r.Cnf.Key.Secret() != nil:
		v.Profile, v.KeyID, v.Secret = r.Profile, r.Cnf.Key.ID(), r.Cnf.Key.Secret()
		return nil
	case (r.Profile == 0 || r.Profile == pop.ProfileCoAPOSCORE) && r.Cnf.OSCORE != nil && len(r.Cnf.OSCORE.MasterSecret) > 0:
		m := r.Cnf.OSCORE
		v.KeyID, v.Secret, v.Salt = m.ID, m.MasterSecret, m.Salt
		return nil
	}
	return fmt.Errorf("no possession key for profile %v", r.Profile)
}

// agree puts both halves of a context together (RFC 9203 §4.2).
func (s *Session) agree(p proposal, a ace.AuthzInfoAnswer) error {
	if string(a.ServerRecipientID) == string(p.recipient) {
		return errors.New("the device chose our own identifier (RFC 9203 §4.2)")
	}
	s.saved.Nonce1, s.saved.Recipient = p.nonce1, p.recipient
	s.saved.Nonce2, s.saved.Sender, s.saved.Next = a.Nonce2, a.ServerRecipientID, 0
	s.keys = nil
	return nil
}

// Saved is a copy of the session's state.
func (s *Session) Saved() Saved {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.saved
}

// Ready reports whether a device has accepted the token.
func (s *Session) Ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.saved.Profile == pop.ProfileCoAPDTLS {
		return s.saved.Uploaded || s.saved.Delivered
	}
	return len(s.saved.Nonce2) > 0
}

// Deliver shows the token to the device at the other end of x, which nothing need protect, and agrees on a fresh context
// (RFC 9203 §4); with a device that speaks coap_dtls there is nothing to agree on (RFC 9202 §3.3.1).
func (s *Session) Deliver(ctx context.Context, x coapsec.Exchanger) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.saved.Token) == 0 {
		return errors.New("the server delivered this token; there is nothing to show")
	}
	if s.saved.Profile == pop.ProfileCoAPDTLS {
		return s.deliverToken(ctx, x)
	}
	p, err := s.propose()
	if err != nil {
		return err
	}
	payload, err := ace.AuthzInfo{Token: s.saved.Token, Nonce1: p.nonce1, ClientRecipientID: p.recipient}.Encode()
	if err != nil {
		return fmt.Errorf("authz-info: %w", err)
	}
	response, err := x.Exchange(ctx, coapsec.NewRequest(codes.POST, ace.PathAuthzInfo, ace.FormatACE, payload))
	if err != nil {
		return fmt.Errorf("authz-info: %w", err)
	}
	if response.Code>>5 != 2 {
		return &AnswerError{Code: response.Code, Text: string(response.Payload)}
	}
	answer, err := ace.ParseAuthzInfoAnswer(response.Payload)
	if err != nil {
		return fmt.Errorf("authz-info: %w", err)
	}
	if err := s.agree(p, answer); err != nil {
		return err
	}
	return s.save(s.saved)
}

// AnswerError is a device's refusal. Protected tells a proven one from what anybody on the way may have said.
type AnswerError struct {
	Code      codes.Code
	Text      string
	Protected bool
}

func (e *AnswerError) Error() string {
	if e.Text == "" {
		return fmt.Sprintf("the device answered %v", e.Code)
	}
	return fmt.Sprintf("the device answered %v: %s", e.Code, e.Text)
}

// Do sends one protected request and returns the device's proven answer. For coap_dtls x is an Association of this session.
// When ctx ends first, the action may or may not have happened.
func (s *Session) Do(ctx context.Context, x coapsec.Exchanger, request message.Message) (message.Message, error) {
	response, err := s.do(ctx, x, request)
	for range maxWishes {
		echo := coapsec.Wish(response)
		if echo == nil || s.vouch == nil {
			break
		}
		token, refused := s.vouch(ctx, base64.RawURLEncoding.EncodeToString(echo))
		if refused != nil {
			return message.Message{}, fmt.Errorf("integrity token: %w", refused)
		}
		response, err = s.do(ctx, x, coapsec.WithIntegrity(request, echo, token))
	}
	return response, err
}

// Vouched lets somebody vouch for this app in each request to a device that wants it (D21): the token answers the challenge. It is set
// before the session is used.
func (s *Session) Vouched(by func(ctx context.Context, challenge string) (token string, err error)) {
	s.vouch = by
}

// maxWishes is how often a device may want a token for one request: the Echo of the first may be too old by then.
const maxWishes = 3

func (s *Session) do(ctx context.Context, x coapsec.Exchanger, request message.Message) (message.Message, error) {
	if s.Profile() == pop.ProfileCoAPDTLS {
		return s.ask(ctx, x, request)
	}
	keys, err := s.context()
	if err != nil {
		return message.Message{}, err
	}
	response, err := coapsec.Secure(x, keys).Exchange(ctx, request)
	var hint *coapsec.UnprotectedError
	switch {
	case errors.As(err, &hint):
		return message.Message{}, &AnswerError{Code: hint.Code, Text: hint.Diagnostic}
	case err != nil:
		return message.Message{}, err
	case response.Code>>5 != 2:
		return response, &AnswerError{Code: response.Code, Text: string(response.Payload), Protected: true}
	}
	return response, nil
}

// context derives the security context once per process (RFC 9203 §4.3).
func (s *Session) context() (*oscore.Context, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.saved.Nonce2) == 0 {
		return nil, errors.New("no device has accepted this token yet")
	}
	if s.keys != nil {
		return s.keys, nil
	}
	keys, err := oscore.New(oscore.Params{
		MasterSecret: s.saved.Secret, MasterSalt: pop.MasterSalt(s.saved.Salt, s.saved.Nonce1, s.saved.Nonce2),
		SenderID: s.saved.Sender, RecipientID: s.saved.Recipient,
	}, oscore.Options{Sequence: reservation{s, s.saved.Nonce1}, Next: s.saved.Next})
	if err != nil {
		return nil, fmt.Errorf("security context: %w", err)
	}
	s.keys = keys
	return keys, nil
}

// reservation keeps the sender sequence numbers of one context from being used twice across restarts (RFC 8613 B.1.1).
type reservation struct {
	s      *Session
	nonce1 []byte
}

var errReplaced = errors.New("a newer context has replaced this one")

// Reserve implements oscore.Sequence. What a context that was replaced meanwhile has used says nothing about its successor.
func (r reservation) Reserve(limit uint64) error {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if !bytes.Equal(r.nonce1, r.s.saved.Nonce1) {
		return errReplaced
	}
	r.s.saved.Next = limit
	return r.s.save(r.s.saved)
}

// Nonce asks the device for a cnonce: it sends a request without rights and reads the creation hints (RFC 9200 §5.3).
// The hints are not proven; only the nonce is used.
func Nonce(ctx context.Context, x coapsec.Exchanger) ([]byte, error) {
	// A device gives a stranger three times his bytes at most until he has shown that he is at his address (RFC 9175 §2.6).
	response, err := coapsec.Reachable(x).Exchange(ctx, coapsec.NewRequest(codes.GET, "/", coapsec.NoFormat, nil))
	if err != nil {
		return nil, err
	}
	hints, err := ace.ParseCreationHints(response.Payload)
	if err != nil {
		return nil, fmt.Errorf("creation hints: %w", err)
	}
	if hints.CNonce == nil {
		return nil, errors.New("the device gave no cnonce")
	}
	return hints.CNonce, nil
}
