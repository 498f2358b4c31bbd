package coapsec

import (
	"context"
	"crypto/rand"
	"errors"
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
	Holds    func() bool // whether Context has not been replaced; nil: it holds as long as Contexts finds the Association
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

	// Critical declares critical options that the protected handler evaluates beside Uri-*, Accept and Block1/2.
	Critical []message.OptionID

	// MaxUnfragmented is MAX_UNFRAGMENTED_SIZE of RFC 8613 §4.1.3.4.2, the bytes of a protected payload that a proxy sends
	// or fetches in pieces; 0: 4096.
	MaxUnfragmented int

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
	pieces    *blockwise // of protected messages
	critical  []message.OptionID
	refused   func(address string, why error)
	now       func() time.Time
	echoes    echoes
}

// NewSecurity puts OSCORE under two handlers: protected gets the inner requests of those with an OSCORE option, and those
// whose Peer has a Session, because a key protects their transport; plain gets the others.
//
// Both see messages as they were sent, so block-wise transfer between the ends (RFC 8613 §4.1.3.4.1) is Blockwise around
// them. What a proxy has cut in outer blocks (§4.1.3.4.2) is put together before it is unprotected, and answers to it are
// cut as it asks.
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
	if o.MaxUnfragmented <= 0 {
		o.MaxUnfragmented = defaultMaxUnfragmented
	}
	s := &Security{
		contexts: contexts, plain: plain, protected: protected, critical: o.Critical, refused: o.Refused, now: o.Now,
		echoes: newEchoes(o.Now, o.Rand),
	}
	s.pieces = newBlockwise(HandlerFunc(s.whole), BlockwiseOptions{
		Now: o.Now, MaxBody: o.MaxUnfragmented, MaxAnswer: o.MaxUnfragmented,
		Total: max(outerTotal, 8*o.MaxUnfragmented), PerPeer: max(outerTotal, 8*o.MaxUnfragmented) / 4,
	})
	s.pieces.askedOnly = true
	return s
}

// ServeCoAP answers an outer request. What cannot be unprotected is answered unprotected, by oscore.ErrorResponse, and
// reaches no handler.
func (s *Security) ServeCoAP(ctx context.Context, r *Request) message.Message {
	protected, cut := false, false
	for i := range r.Options {
		switch r.Options[i].ID {
		case optionOSCORE:
			protected = true
		case message.Block1, message.Block2:
			cut = true
		}
	}
	switch {
	case !protected:
		return s.unprotected(ctx, r)
	case cut:
		return s.piece(ctx, r)
	}
	return s.whole(ctx, r)
}

// unprotected answers a request that only its transport protects, if anything.
func (s *Security) unprotected(ctx context.Context, r *Request) message.Message {
	peer := Peer{Address: r.Peer.Address}
	if r.Peer.Session == nil {
		return s.plain.ServeCoAP(ctx, &Request{Message: r.Message, Peer: peer, Observation: r.Observation})
	}
	peer.Session, peer.Since, peer.Security = r.Peer.Session, r.Peer.Since, s
	s.echoed(&peer, r.Message)
	if age := s.now().Sub(peer.Since); age >= 0 && age <= EchoLifetime {
		peer.Fresh = true
	}
	options, refusal := heed(r.Options, s.critical)
	if refusal != codes.Empty {
		return message.Message{Code: refusal}
	}
	inner := &Request{Message: r.Message, Peer: peer, Observation: r.Observation}
	inner.Options = options
	return s.protected.ServeCoAP(ctx, inner)
}

// piece takes an outer block, if it may belong to a message for somebody here.
func (s *Security) piece(ctx context.Context, r *Request) message.Message {
	value, err := r.Options.GetBytes(optionOSCORE)
	if err != nil {
		return oscore.ErrorResponse(oscore.ErrDecode)
	}
	option, err := oscore.ParseOption(value)
	if err == nil {
		_, err = s.find(option)
	}
	if err != nil {
		s.refused(r.Peer.Address, err)
		return oscore.ErrorResponse(err)
	}
	return s.pieces.ServeCoAP(ctx, r)
}

// whole answers an outer request with an OSCORE option.
func (s *Security) whole(ctx context.Context, r *Request) message.Message {
	option, _, err := oscore.FindOption(r.Message)
	if err != nil {
		return oscore.ErrorResponse(err)
	}
	response, err := s.secured(ctx, r, option)
	if err != nil {
		s.refused(r.Peer.Address, err)
		return oscore.ErrorResponse(err)
	}
	return response
}

func (s *Security) find(option oscore.Option) (Association, error) {
	if !option.HasKID || option.PartialIV == nil {
		return nil, oscore.ErrDecode
	}
	association, ok := s.contexts.Find(option.KID, option.KIDContext, option.HasKIDContext)
	if !ok {
		return nil, oscore.ErrNoContext
	}
	return association, nil
}

// secured returns the outer answer. An error stands for a request that reached no handler.
func (s *Security) secured(ctx context.Context, r *Request, option oscore.Option) (message.Message, error) {
	association, err := s.find(option)
	if err != nil {
		return message.Message{}, err
	}
	accepted, err := association.Accept(ctx, r.Message, option)
	if err != nil {
		return message.Message{}, err
	}
	if accepted.Reply != nil {
		return *accepted.Reply, nil
	}
	peer := Peer{Address: r.Peer.Address, Context: accepted.Context, Association: association, Security: s}
	inner := &Request{Message: accepted.Inner, Peer: peer, Observation: s.observation(r, option, association, accepted)}
	response, err := s.serve(ctx, accepted, inner)
	if err != nil {
		return message.Message{}, err
	}
	if inner.Observation == nil {
		response.Options = withoutObserve(response.Options)
	}
	return protectAnswer(accepted, response), nil
}

// echoed spends the Echo of a peer's message, if it has one that counts.
func (s *Security) echoed(peer *Peer, m message.Message) {
	if value := echoOf(m); value != nil && s.echoes.spend(peer.whom(), peer.Address, value) {
		peer.Fresh, peer.Echo = true, string(value)
	}
}

// serve returns the inner answer. An error stands for a request that turned out to be a replay.
func (s *Security) serve(ctx context.Context, a Accepted, inner *Request) (message.Message, error) {
	peer := &inner.Peer
	s.echoed(peer, a.Inner)
	// RFC 8613 appendix B.1.2: without a window the request may have been acted upon before the restart.
	if a.Exchange.WindowLost() {
		if checks.Echo && !peer.Fresh {
			s.refused(peer.Address, ErrNotFresh)
			return s.Challenge(*peer), nil
		}
		if err := a.Context.RecoverWindow(a.Exchange); err != nil {
			return message.Message{}, err
		}
	}
	options, refusal := heed(a.Inner.Options, s.critical)
	if refusal != codes.Empty {
		return message.Message{Code: refusal}, nil
	}
	inner.Options = options
	return s.protected.ServeCoAP(ctx, inner), nil
}

// protectAnswer protects the inner answer; one with an Echo gets its own Partial IV (RFC 8613 appendix B.1.2).
func protectAnswer(a Accepted, response message.Message) message.Message {
	outer, err := protectUnder(a, response, response.Options.HasOption(OptionEcho))
	if err != nil {
		return oscore.ErrorResponse(err)
	}
	return outer
}

// protectUnder protects an answer or notification. One that cannot be protected becomes a protected 5.00: the request has
// been acted upon, and no one else may say so.
func protectUnder(a Accepted, response message.Message, ownPIV bool) (message.Message, error) {
	outer, err := a.Context.ProtectResponse(a.Exchange, response, ownPIV)
	if errors.Is(err, oscore.ErrUnprotectable) {
		return a.Context.ProtectResponse(a.Exchange, message.Message{Code: codes.InternalServerError}, ownPIV)
	}
	return outer, err
}
