package coapsec

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/latchkey-ace/latchkey/internal/checks"
	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// Contexts finds the security association of a request. It is called for every protected request, forged ones too.
type Contexts interface {
	// Find must take constant time and is safe for concurrent use. hasContext tells an empty kid context from none.
	Find(kid, kidContext []byte, hasContext bool) (Association, bool)
}

// Association is what two endpoints share: one context, or a channel that makes contexts.
type Association interface {
	// Accept unprotects a request. Its errors are those of oscore.ErrorResponse; no error may leave the association
	// changed. It is safe for concurrent use.
	Accept(ctx context.Context, outer message.Message, option oscore.Option) (Accepted, error)
}

// Accepted is an unprotected request with what is needed to answer it. If Reply is set, it is the outer answer, to be sent
// at once; the other fields are then empty and nobody is to act.
type Accepted struct {
	Inner    message.Message
	Exchange *oscore.Exchange
	Context  *oscore.Context
	Reply    *message.Message
}

type static struct{ context *oscore.Context }

// Static is the association of one context that both ends have.
func Static(c *oscore.Context) Association { return static{c} }

func (s static) Accept(_ context.Context, outer message.Message, _ oscore.Option) (Accepted, error) {
	inner, x, err := s.context.UnprotectRequest(outer)
	return Accepted{Inner: inner, Exchange: x, Context: s.context}, err
}

// ErrNotFresh: the request verified, but after a restart nothing showed that it is new (RFC 8613 appendix B.1.2).
var ErrNotFresh = errors.New("coapsec: not shown to be fresh since the restart")

// SecurityOptions are the sources of time and randomness; zero fields stand for the system's.
type SecurityOptions struct {
	Now  func() time.Time
	Rand io.Reader

	// Refused, if set, is told of every protected request that reached no handler, and why. It must be quick: strangers
	// can make it run as often as they can send.
	Refused func(address string, why error)
}

// Security is the Handler for messages as they come from the network: it unprotects requests, finds who the Peer is and
// protects the answers. It is safe for concurrent use.
type Security struct {
	contexts  Contexts
	plain     Handler
	protected Handler
	refused   func(address string, why error)
	echoes    echoes
}

// NewSecurity puts OSCORE under two handlers: plain gets the requests without an OSCORE option, whose Peer has no Context,
// and protected the inner requests of the others.
func NewSecurity(contexts Contexts, plain, protected Handler, o SecurityOptions) *Security {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Refused == nil {
		o.Refused = func(string, error) {}
	}
	return &Security{
		contexts: contexts, plain: plain, protected: protected, refused: o.Refused,
		echoes: newEchoes(o.Now, o.Rand),
	}
}

// ServeCoAP answers an outer request. What cannot be unprotected is answered unprotected, by oscore.ErrorResponse, and
// reaches no handler.
func (s *Security) ServeCoAP(ctx context.Context, r *Request) message.Message {
	option, found, err := oscore.FindOption(r.Message)
	if err != nil {
		return oscore.ErrorResponse(err)
	}
	if !found {
		return s.plain.ServeCoAP(ctx, &Request{Message: r.Message, Peer: Peer{Address: r.Peer.Address}})
	}
	response, err := s.secured(ctx, r, option)
	if err != nil {
		s.refused(r.Peer.Address, err)
		return oscore.ErrorResponse(err)
	}
	return response
}

// secured returns the outer answer. An error stands for a request that reached no handler.
func (s *Security) secured(ctx context.Context, r *Request, option oscore.Option) (message.Message, error) {
	if !option.HasKID || option.PartialIV == nil {
		return message.Message{}, oscore.ErrDecode
	}
	association, ok := s.contexts.Find(option.KID, option.KIDContext, option.HasKIDContext)
	if !ok {
		return message.Message{}, oscore.ErrNoContext
	}
	accepted, err := association.Accept(ctx, r.Message, option)
	if err != nil {
		return message.Message{}, err
	}
	if accepted.Reply != nil {
		return *accepted.Reply, nil
	}
	response, err := s.serve(ctx, accepted, Peer{Address: r.Peer.Address, Context: accepted.Context, Association: association, Security: s})
	if err != nil {
		return message.Message{}, err
	}
	return protectAnswer(accepted, response), nil
}

// serve returns the inner answer. An error stands for a request that turned out to be a replay.
func (s *Security) serve(ctx context.Context, a Accepted, peer Peer) (message.Message, error) {
	if value := echoOf(a.Inner); value != nil {
		peer.Fresh = s.echoes.spend(a.Context, peer.Address, value)
	}
	// RFC 8613 appendix B.1.2: without a window the request may have been acted upon before the restart.
	if a.Exchange.WindowLost() {
		if checks.Echo && !peer.Fresh {
			s.refused(peer.Address, ErrNotFresh)
			return s.Challenge(peer), nil
		}
		if err := a.Context.RecoverWindow(a.Exchange); err != nil {
			return message.Message{}, err
		}
	}
	if code, ok := understood(a.Inner.Options); !ok {
		return message.Message{Code: code}, nil
	}
	return s.protected.ServeCoAP(ctx, &Request{Message: a.Inner, Peer: peer}), nil
}

// criticalOptions are the critical options (odd numbers) that handlers of this house take into account.
var criticalOptions = map[message.OptionID]bool{
	message.IfMatch: true, message.URIHost: true, message.IfNoneMatch: true, message.URIPort: true, message.URIPath: true,
	message.URIQuery: true, message.Accept: true, message.Block2: true, message.Block1: true,
}

// understood refuses a request with a critical option that nobody would heed (RFC 7252 §5.4.1), or one for a proxy
// (§5.10.2), with the code to answer.
func understood(options message.Options) (codes.Code, bool) {
	for _, o := range options {
		switch {
		case o.ID == message.ProxyURI || o.ID == message.ProxyScheme:
			return codes.ProxyingNotSupported, false
		case o.ID%2 == 1 && !criticalOptions[o.ID]:
			return codes.BadOption, false
		}
	}
	return 0, true
}

// protectAnswer protects the inner answer; one with an Echo gets its own Partial IV (RFC 8613 appendix B.1.2). An answer
// that cannot be protected becomes a protected 5.00: the request has been acted upon, and no one else may say so.
func protectAnswer(a Accepted, response message.Message) message.Message {
	outer, err := a.Context.ProtectResponse(a.Exchange, response, response.Options.HasOption(OptionEcho))
	if errors.Is(err, oscore.ErrUnprotectable) {
		outer, err = a.Context.ProtectResponse(a.Exchange, message.Message{Code: codes.InternalServerError}, false)
	}
	if err != nil {
		return oscore.ErrorResponse(err)
	}
	return outer
}

// UnprotectedError is an answer without protection to a protected request. Anyone on the way may have sent it: it is a
// hint, and the request may have been acted upon.
type UnprotectedError struct {
	Code       codes.Code
	Diagnostic string // at most 64 bytes, of unknown origin
}

// Error implements error.
func (e *UnprotectedError) Error() string {
	return fmt.Sprintf("unprotected answer %d.%02d %q", e.Code>>5, e.Code&0x1f, e.Diagnostic)
}

// secured is an Exchanger under one context.
type secured struct {
	next     Exchanger
	context  *oscore.Context
	verified func() // called for every response that verifies; may be nil
}

// Secure protects requests with c and verifies the responses. A protected 4.01 with an Echo makes it repeat the request
// with that Echo, MaxEchoRepeats times at most and only while ctx lives; the last 4.01 is returned like any response.
//
// Errors: *UnprotectedError, those of oscore.Context's ProtectRequest and UnprotectResponse, and those of x. After each
// but those of ProtectRequest the request may have been acted upon.
func Secure(x Exchanger, c *oscore.Context) Exchanger { return &secured{next: x, context: c} }

// Exchange implements Exchanger.
func (s *secured) Exchange(ctx context.Context, request message.Message) (message.Message, error) {
	for repeats := 0; ; repeats++ {
		response, err := s.once(ctx, request)
		if err != nil {
			return message.Message{}, err
		}
		echo := echoOf(response)
		if response.Code != codes.Unauthorized || echo == nil || repeats == MaxEchoRepeats || ctx.Err() != nil {
			return response, nil
		}
		request.Options = withEcho(request.Options, echo)
	}
}

func (s *secured) once(ctx context.Context, request message.Message) (message.Message, error) {
	outer, x, err := s.context.ProtectRequest(request)
	if err != nil {
		return message.Message{}, err
	}
	answer, err := s.next.Exchange(ctx, outer)
	if err != nil {
		return message.Message{}, err
	}
	response, err := s.context.UnprotectResponse(x, answer)
	if errors.Is(err, oscore.ErrNotProtected) {
		return message.Message{}, unprotected(answer)
	}
	if err != nil {
		return message.Message{}, fmt.Errorf("response: %w", err)
	}
	if s.verified != nil {
		s.verified()
	}
	return response, nil
}

func unprotected(answer message.Message) *UnprotectedError {
	text := answer.Payload
	return &UnprotectedError{Code: answer.Code, Diagnostic: string(text[:min(len(text), maxDiagnostic)])}
}
