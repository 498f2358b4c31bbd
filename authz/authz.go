// Package authz is the authorization server: it decides who may have which token and makes it (RFC 6749, RFC 9200, RFC 9202,
// RFC 9203). Its faces authz/httpapi and authz/coapapi turn bytes into calls of Server; authz/delivery carries tokens
// to resource servers; storage keeps what must not be forgotten.
//
// It opens no socket and parses no wire format. Start from New and Server.Token.
package authz

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/latchkey-ace/latchkey/authz/throttle"
	"github.com/latchkey-ace/latchkey/pop/news"
)

// Granter judges OAuth grants; authz/grant puts go-oauth2's Manager behind it. The server has already authenticated
// the client, and for a code checked client, redirect URI and verifier and consumed the row (D20): the Granter is a
// second opinion by an independent implementation, and it can only refuse.
//
// Implementations are safe for concurrent use and keep no state between calls.
type Granter interface {
	// Judge refuses with an *ace.Error. It must not block: it runs inside the minting transaction.
	Judge(ctx context.Context, j Judgement) error
	// NewCode makes the value of an authorization code: 256 random bits, unpadded base64url.
	NewCode(ctx context.Context, c CodeGrant) (string, error)
}

// Judgement is one redemption.
type Judgement struct {
	GrantType   string
	Client      Client
	Code        CodeGrant  // the consumed row; zero without a code
	DeviceCode  DeviceCode // the consumed row; zero without
	Family      Family     // of the refresh token that was used; zero without
	CodeValue   string     // as presented
	Verifier    string
	RedirectURI string
	Scope       string // text of the rights to be granted
}

// Deliverer reaches resource servers over their provisioned channels; authz/delivery implements it.
type Deliverer interface {
	// Upload posts the authz-info payload of the device's profile (RFC 9203 §4.1, RFC 9202 §3.3.1) and returns the payload
	// of the 2.xx answer. Any error means that the outcome is unknown or the device refused; the token then goes to the
	// client.
	Upload(ctx context.Context, d Device, payload []byte) ([]byte, error)
	// Tell posts news (D22) and returns the opened receipt for exactly this sequence.
	Tell(ctx context.Context, d Device, n news.News) (news.Receipt, error)
}

// Options of a Server; zero fields are the safe defaults.
type Options struct {
	Now  func() time.Time // default time.Now
	Rand io.Reader        // default crypto/rand
	// Uptime is time that runs on in sleep and that nobody sets. With it, mints stop with ErrClockMoved once Now was set by more than
	// an hour between two of them (D4); nil: they do not.
	Uptime    func() time.Duration
	Log       *slog.Logger  // default discards
	Deliverer Deliverer     // nil: nothing is uploaded, revocations reach no device
	TokenLife time.Duration // default TokenLife, and at most that
	KeyEvery  time.Duration // how long a signing key signs; default KeyEvery, at least MinKeyEvery

	// Limits slow down who asks too often or guesses wrong; throttle.Rules has those for a server that faces the internet.
	// Nil slows down nobody.
	Limits map[throttle.Kind]throttle.Rule
	// Observe hears of decisions after they were made; nil for nobody. It is called concurrently and must not block.
	Observe func(Observation)
}

// Server is the authorization server. It is safe for concurrent use.
type Server struct {
	issuer  string
	store   Store
	granter Granter
	deliver Deliverer
	now     func() time.Time
	steady  steady
	rand    io.Reader
	log     *slog.Logger
	life    time.Duration
	keys    *keyring
	uploads *uploadLimits
	observe func(Observation)
	limits  *throttle.Guard
	bell    *bell

	searching chan struct{} // holds one while a search runs
}

// New makes a Server for an issuer identifier (RFC 8414 §2). On a store without a signing key it makes one.
func New(ctx context.Context, issuer string, store Store, granter Granter, o Options) (*Server, error) {
	rung := &bell{}
	s := &Server{
		issuer: issuer, store: ringing{store, rung}, bell: rung, granter: granter, deliver: o.Deliverer,
		now: o.Now, rand: o.Rand, log: o.Log, life: o.TokenLife, uploads: newUploadLimits(), observe: o.Observe,
		searching: make(chan struct{}, 1), steady: steady{uptime: o.Uptime},
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.rand == nil {
		s.rand = rand.Reader
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.life <= 0 || s.life > TokenLife {
		s.life = TokenLife
	}
	if o.Limits != nil {
		s.limits = throttle.NewGuard(throttle.GuardOptions{Now: s.now, Rules: o.Limits, Tell: s.slowedDown, Count: s.slowed})
	}
	return s, s.loadKeys(ctx, o.KeyEvery)
}

// Issuer is the issuer identifier.
func (s *Server) Issuer() string { return s.issuer }

// Store is the store the server runs on, for faces that only read. What is ended through it is announced (OnEnded).
func (s *Server) Store() Store { return s.store }

// Limits are the limits that the faces ask; nil has none.
func (s *Server) Limits() *throttle.Guard { return s.limits }

// SetDeliverer sets the way to the devices, once, before the server serves: delivery itself needs the server's store.
func (s *Server) SetDeliverer(d Deliverer) { s.deliver = d }

// Secret makes a random credential of 256 bits as unpadded base64url, and its hash for the store.
func Secret(random io.Reader) (value string, hash []byte, err error) {
	raw := make([]byte, minSecretBytes)
	if _, err := io.ReadFull(random, raw); err != nil {
		return "", nil, fmt.Errorf("random secret: %w", err)
	}
	value = base64.RawURLEncoding.EncodeToString(raw)
	return value, HashSecret(value), nil
}

// HashSecret is how random secrets rest in the store (D3): SHA-256, enough for values of 128 random bits and more.
func HashSecret(value string) []byte {
	sum := sha256.Sum256([]byte(value))
	return sum[:]
}

// ClientRefused puts on record that authz/clientauth did not find a client: id is what the sender said it is, why may be "".
func (s *Server) ClientRefused(ctx context.Context, id, why string) {
	reason := "client authentication"
	if why != "" {
		reason += ": " + why
	}
	s.audit(ctx, AuditEntry{Event: "client", Result: "refused", Client: clip(id), Reason: reason})
}

// audit writes an entry that no transaction carries. An entry that cannot be written is logged: a refusal stands
// whether or not it is on record, and what is granted is recorded by the transaction that grants it. A caller who hangs
// up does not keep the entry from being written.
func (s *Server) audit(ctx context.Context, e AuditEntry) {
	e.At = s.now()
	s.observeEntry(e)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), AuditTime)
	defer cancel()
	if err := s.store.Record(ctx, e); err != nil {
		s.log.Error("audit entry lost", "event", e.Event, "result", e.Result, "reason", e.Reason, "err", err)
	}
}

// clip bounds what a stranger can write into the audit log.
func clip(s string) string {
	if len(s) > maxName {
		return s[:maxName] + "…"
	}
	return s
}
