// Package resource is an ACE resource server (RFC 9200, RFC 9202, RFC 9203) for a door lock or a medical device: it accepts tokens,
// decides about requests made with them, and remembers what it must across power cuts.
//
// It works without a network and, for tokens with exi, without a clock (RFC 9200 §5.10.3). It opens no socket: the faces
// resource/coapapi and resource/gatt carry the messages, pop/coapsec protects them. Store, Clock and randomness are handed
// in. Start from New, give each action its function with Handle, then serve a face.
package resource

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// Reasons why a token, a request or news is refused. They are for logs and tests; the peer sees only the code.
var (
	ErrMalformed       = errors.New("message or token malformed")
	ErrBadProtection   = errors.New("token not protected by a key of this authorization server")
	ErrWrongIssuer     = errors.New("token of another issuer")
	ErrExpired         = errors.New("token expired")
	ErrNotYetValid     = errors.New("token not valid yet")
	ErrTimeUnknown     = errors.New("time unknown")
	ErrNoBound         = errors.New("token has no bound that this device can measure")
	ErrReplayOfExpired = errors.New("token counts as expired: its sequence number has passed")
	ErrWrongAudience   = errors.New("token for another audience")
	ErrForeignID       = errors.New("token id is not of this device")
	ErrUnknownScope    = errors.New("scope not understood")
	ErrNoCNonce        = errors.New("token without a fresh client nonce")
	ErrRevoked         = errors.New("token revoked")
	ErrOldEpoch        = errors.New("token of an earlier epoch")
	ErrStep            = errors.New("step of more than 30 days without a live authorization server")
	ErrBadConfirmation = errors.New("possession key not usable")
	ErrInactive        = errors.New("the authorization server does not call the token active")
	ErrNoAnswer        = errors.New("the authorization server says nothing about the token")
	ErrSuperseded      = errors.New("a newer token for this key is present")
	ErrUsed            = errors.New("used")
	ErrNoRoom          = errors.New("no room")
	ErrNoSession       = errors.New("no session")
	ErrPathNotCovered  = errors.New("path not covered by the token")
	ErrMethod          = errors.New("method not covered by the token")
	ErrNoAction        = errors.New("action without a part that does it")
	ErrNotFresh        = errors.New("request not shown to be fresh")
	ErrNotGenuine      = errors.New("app not shown to be genuine")
	ErrOldNews         = errors.New("news older than the newest applied")
	ErrStore           = errors.New("store")
)

// RefusedError says with which code a message is refused, and why. Reason wraps one of the sentinels above.
type RefusedError struct {
	Code   codes.Code
	Reason error
}

// Error is the reason.
func (e *RefusedError) Error() string { return e.Reason.Error() }

// Unwrap gives the reason.
func (e *RefusedError) Unwrap() error { return e.Reason }

func refuse(code codes.Code, reason error) *RefusedError {
	return &RefusedError{Code: code, Reason: reason}
}

// Config is what a Server cannot do without.
type Config struct {
	Device *provision.Device
	Store  Store
	Clock  Clock
	Opener TokenOpener // nil: CWTs in the shape of the device's record; resource/jwt opens JWTs
	Rand   io.Reader   // nil: crypto/rand
}

// Options may be left zero.
type Options struct {
	// RequireCNonce demands that tokens echo a nonce of this device (RFC 9200 §5.3): the phone is online when it is here.
	RequireCNonce bool
	// Introspect asks the authorization server about a token that says nothing itself (RFC 7662), over a channel that binds
	// answers to requests: it gives the token's claims, with the possession key, or ErrInactive. With it every token is asked
	// about and none is opened; without an answer none is taken (RFC 9200 §5.9.3). It must end with ctx.
	Introspect func(ctx context.Context, token []byte) (*pop.Claims, error)
	// Apps judges whether a request comes from a genuine app (D21), for the actions that Vouched names; both or neither.
	Apps    Apps
	Vouched []string
	// OnLog gets every decision, those too that the stored log leaves out. It must return soon and not call the Server.
	OnLog func(Entry)
}

// Apps judges integrity tokens. resource/integrity is one. It must answer soon and call nobody.
type Apps interface {
	// Genuine says why a token does not show that the request with this Echo, in unpadded base64url, comes from a genuine app; nil if it
	// does. now is the zero time where the device does not know it.
	Genuine(token []byte, challenge string, now time.Time) error
}

// Server is one resource server. It is safe for concurrent use.
type Server struct {
	device      *provision.Device
	store       Store
	clock       Clock
	opener      TokenOpener
	rand        io.Reader
	options     Options
	audience    string
	synced      bool
	rights      aif.Rights
	actions     []*action // in the order of the device's record
	reservedIDs [][]byte

	mu        sync.Mutex
	state     State // as stored, but for log entries that can wait
	savedAt   instant
	unsaved   bool
	live      map[string]*Session // of coap_oscore, by our recipient id
	keyed     map[string]*Session // of coap_dtls, by the kid of its key
	ended     func(*Session)
	acting    map[uint64]bool // changes decided and not finished, by entry; true: begun
	nonces    nonces
	asking    chan struct{} // holds one for each token that is being asked about
	wantNonce bool
}

// action is a named action of the device's record and what does it.
type action struct {
	provision.Action
	index   int
	do      Action
	vouched bool // for who shows that the app is genuine
}

// New loads the state and makes the contexts of the sessions in it. A damaged store is an error.
func New(c Config, o Options) (*Server, error) {
	if c.Device == nil || c.Store == nil || c.Clock == nil {
		return nil, errors.New("resource server: device, store and clock are needed")
	}
	s := &Server{
		device: c.Device, store: c.Store, clock: c.Clock, opener: c.Opener, rand: c.Rand, options: o,
		live: make(map[string]*Session), keyed: make(map[string]*Session), acting: make(map[uint64]bool),
		asking: make(chan struct{}, MaxAsking),
		ended:  func(*Session) {},
	}
	if s.rand == nil {
		s.rand = rand.Reader
	}
	if err := s.read(c.Device); err != nil {
		return nil, fmt.Errorf("resource server: %w", err)
	}
	if err := s.vouch(); err != nil {
		return nil, fmt.Errorf("resource server: %w", err)
	}
	state, err := c.Store.Load()
	if err != nil {
		return nil, fmt.Errorf("resource server: %w", err)
	}
	s.state = state
	s.savedAt = instant{boot: state.Time.Boot, uptime: state.Time.Uptime}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.sweep(); err != nil {
		return nil, fmt.Errorf("resource server: %w", err)
	}
	if err := s.restore(); err != nil {
		return nil, fmt.Errorf("resource server: %w", err)
	}
	return s, nil
}

// vouch marks the actions for which an app has to show that it is genuine.
func (s *Server) vouch() error {
	if (s.options.Apps == nil) != (len(s.options.Vouched) == 0) {
		return errors.New("Apps and Vouched go together")
	}
	for _, name := range s.options.Vouched {
		found := false
		for _, a := range s.actions {
			if a.Name == name {
				a.vouched, found = true, true
			}
		}
		if !found {
			return fmt.Errorf("action %q is not in the device's record", name)
		}
	}
	return nil
}

// Handle gives the device's action its function. It must be called before serving, once for each action; a name that the
// device's record does not have is an error.
func (s *Server) Handle(name string, do Action) error {
	for _, a := range s.actions {
		if a.Name == name {
			a.do = do
			return nil
		}
	}
	return fmt.Errorf("action %q is not in the device's record", name)
}

// Run keeps the books once a minute until ctx ends: it ends what has expired and stores what could wait. Without it
// everything still expires in time, but a session's key stays in memory until the next message.
func (s *Server) Run(ctx context.Context, onError func(error)) {
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	for {
		if err := s.Sweep(); err != nil && onError != nil {
			onError(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Sweep ends what has expired and stores what could wait.
func (s *Server) Sweep() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.sweep(); err != nil {
		return err
	}
	return s.flush()
}

// LearnTime takes the time from the authorization server, said just now over a channel that binds answers to requests.
// From then on a device with a synced clock knows the time until it is switched off.
func (s *Server) LearnTime(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	before := now
	now.raise(t, true)
	now.known = s.synced
	// The clock's drift between two registrations is not worth a write.
	if now.known == before.known && now.low.Sub(before.low) < clockDrift && !before.low.IsZero() {
		s.state.Time = now.mark()
		return nil
	}
	return s.save(s.state.clone(), now)
}

// LearnEpoch takes the epoch from the authorization server, over the same channel. A later one ends every session of an
// earlier (D17).
func (s *Server) LearnEpoch(epoch uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if epoch <= s.state.Epoch {
		return nil
	}
	next := s.state.clone()
	next.raiseEpoch(epoch)
	return s.save(next, s.now())
}

func (s *State) raiseEpoch(epoch uint64) {
	if epoch <= s.Epoch {
		return
	}
	s.Epoch = epoch
	s.drop(func(r *Record) bool { return r.Grant.Epoch < epoch })
}

// Standing is what a device tells its server when it registers (D22).
type Standing struct {
	Epoch          uint64
	HighestExpired uint64
	News           uint64
}

// Standing gives the device's counters.
func (s *Server) Standing() Standing {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Standing{Epoch: s.state.Epoch, HighestExpired: s.state.HighestExpired, News: s.state.News}
}

// NonceWanted reports whether a client should get a nonce for its token request: because it is demanded, or because the
// last token was refused for a step in the epoch that only a live server may take (D16).
func (s *Server) NonceWanted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.options.RequireCNonce || s.wantNonce
}

// NewNonce makes a cnonce: unpredictable, good once and for NonceLifetime.
func (s *Server) NewNonce() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	nonce, err := s.nonces.issue(s.rand, s.now())
	if err != nil {
		return nil, fmt.Errorf("cnonce: %w", err)
	}
	return nonce, nil
}

// Audience is the name that tokens for this device carry.
func (s *Server) Audience() string { return s.audience }

// read takes from the device's record what every request needs.
func (s *Server) read(d *provision.Device) error {
	if err := d.Check(); err != nil {
		return err
	}
	s.audience = d.Audience()
	s.synced = d.Clock == provision.ClockSynced
	s.rights = d.Rights()
	s.reservedIDs = [][]byte{d.SenderID, d.RecipientID}
	s.options.RequireCNonce = s.options.RequireCNonce || d.RequireCNonce
	for i, a := range d.Actions {
		s.actions = append(s.actions, &action{index: i, Action: a})
	}
	if s.opener != nil {
		return nil
	}
	opener, err := newCWTOpener(d)
	s.opener = opener
	return err
}

// action finds what a request asks for, nil for what the device does not have. Where two actions allow the same, the
// first in the device's record does it.
func (s *Server) action(path string, method aif.Methods) *action {
	for _, a := range s.actions {
		if a.Path == path && method != 0 && a.Methods&method == method {
			return a
		}
	}
	return nil
}

// Issuer is the authorization server whose tokens are taken.
func (s *Server) Issuer() string { return s.device.Issuer }

// nonces are the cnonces given out (RFC 9200 §5.3). Strangers get one for the asking, so none is remembered before it comes
// back in a token: a nonce is the uptime when it was made and a random number, with a MAC. The key lives in memory: after
// a restart none is good.
type nonces struct {
	key   []byte             // nil: none was given out yet
	taken map[string]instant // when they came back
}

func (n *nonces) issue(random io.Reader, now instant) ([]byte, error) {
	if n.key == nil {
		key := make([]byte, sha256.Size)
		if _, err := io.ReadFull(random, key); err != nil {
			return nil, err
		}
		n.key = key
	}
	nonce := binary.BigEndian.AppendUint64(nil, uint64(now.uptime))
	nonce = append(nonce, make([]byte, nonceSize)...)
	if _, err := io.ReadFull(random, nonce[8:]); err != nil {
		return nil, err
	}
	return append(nonce, n.mac(nonce)...), nil
}

func (n *nonces) mac(nonce []byte) []byte {
	h := hmac.New(sha256.New, n.key)
	h.Write(nonce)
	return h.Sum(nil)[:nonceSize]
}

// take consumes a nonce: the second use of one is none. Its token has been verified, so only those whom the authorization
// server knows can fill the table.
func (n *nonces) take(nonce []byte, now instant) bool {
	const size = 8 + nonceSize
	if n.key == nil || len(nonce) != size+nonceSize || !hmac.Equal(n.mac(nonce[:size]), nonce[size:]) {
		return false
	}
	for value, at := range n.taken {
		if age, ok := now.elapsed(at.boot, at.uptime); ok && age > NonceLifetime {
			delete(n.taken, value)
		}
	}
	made := instant{boot: now.boot, uptime: time.Duration(binary.BigEndian.Uint64(nonce))}
	if _, again := n.taken[string(nonce)]; again || len(n.taken) >= MaxNonces || !now.within(made, NonceLifetime) {
		return false
	}
	if n.taken == nil {
		n.taken = make(map[string]instant)
	}
	n.taken[string(nonce)] = now
	return true
}
