package oscore

import (
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/internal/ccm"
	"github.com/latchkey-ace/latchkey/pop/internal/coapwire"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// ProtectRequest is RFC 8613 §8.1. The request gets a new Partial IV, kid and, if the context has an ID Context, kid
// context. The outer code is POST; with Observe it is FETCH, and the option stands outside too (§4.1.3.5). The errors are
// ErrUnprotectable, ErrExhausted and those of Sequence.
func (c *Context) ProtectRequest(m message.Message) (message.Message, *Exchange, error) {
	x := new(Exchange)
	sealed, err := c.ProtectRequestIn(new(Buffer), x, m)
	if err != nil {
		return message.Message{}, nil, err
	}
	return sealed, x, nil
}

// ProtectRequestIn is ProtectRequest into b, and into x, which may be an Exchange that nobody needs any more. On error x
// belongs to no request.
func (c *Context) ProtectRequestIn(b *Buffer, x *Exchange, m message.Message) (message.Message, error) {
	x.owner = nil
	if !isRequest(m.Code) {
		return message.Message{}, fmt.Errorf("%w: code %d is no request", ErrUnprotectable, m.Code)
	}
	observe, err := b.split(m.Options, observeAsked)
	if err != nil {
		return message.Message{}, err
	}
	if c.attacked() {
		return message.Message{}, ErrExhausted
	}
	number, err := c.nextNumber()
	if err != nil {
		return message.Message{}, err
	}
	x.begin(c, c.sender.slice(), encodePIV(&b.encoded, number))
	x.observes = registers(observe)
	s := sealing{
		option: Option{
			PartialIV: x.partialIV(), KID: c.sender.slice(), HasKID: true,
			KIDContext: c.kidContext, HasKIDContext: c.kidContext != nil,
		},
		nonce: &x.nonce, code: codes.POST,
	}
	if observe != nil {
		s.code = codeFETCH
	}
	sealed, err := c.seal(b, x, m, &s)
	if err != nil {
		x.owner = nil
	}
	return sealed, err
}

// ProtectResponse is RFC 8613 §8.3, for the x that UnprotectRequest returned. Without ownPIV the first response uses
// the request's nonce; a later one, one under another context and one to a request received without a replay window get a
// Partial IV of their own whatever ownPIV says.
//
// A success with Observe, to a request that registers an observation, is a notification: the outer code is 2.05, Observe is
// empty inside and stands outside as it was given (§4.1.3.5.2). In any other response Observe is left out. The errors are
// those of ProtectRequest.
func (c *Context) ProtectResponse(x *Exchange, m message.Message, ownPIV bool) (message.Message, error) {
	return c.protectResponse(new(Buffer), x, &answer{m: m, ownPIV: ownPIV})
}

// ProtectResponseIn is ProtectResponse into b.
func (c *Context) ProtectResponseIn(b *Buffer, x *Exchange, m message.Message, ownPIV bool) (message.Message, error) {
	return c.protectResponse(b, x, &answer{m: m, ownPIV: ownPIV})
}

// answer is a response to be protected. Only appendix B.2 has a kid context in it.
type answer struct {
	m          message.Message
	ownPIV     bool
	kidContext []byte
}

func (c *Context) protectResponse(b *Buffer, x *Exchange, a *answer) (message.Message, error) {
	if !isResponse(a.m.Code) {
		return message.Message{}, fmt.Errorf("%w: code %d is no response", ErrUnprotectable, a.m.Code)
	}
	// The nonce of an own request has been used with the very key that would protect this; a request that failed may be
	// anyone's.
	if !x.served || x.owner == nil {
		return message.Message{}, fmt.Errorf("%w: response to an own request, or to none", ErrUnprotectable)
	}
	rule := observeDropped
	if x.observes && a.m.Code>>5 == 2 {
		rule = observeNotified
	}
	observe, err := b.split(a.m.Options, rule)
	if err != nil {
		return message.Message{}, err
	}
	if c.attacked() {
		return message.Message{}, ErrExhausted
	}
	s := sealing{
		option: Option{KIDContext: a.kidContext, HasKIDContext: a.kidContext != nil},
		nonce:  &x.nonce, code: codes.Changed,
	}
	if observe != nil {
		s.code = codes.Content
	}
	if !c.mayReuse(x) || a.ownPIV {
		number, err := c.nextNumber()
		if err != nil {
			return message.Message{}, err
		}
		s.option.PartialIV = encodePIV(&b.encoded, number)
		c.makeNonce(&b.nonce, c.sender.slice(), s.option.PartialIV)
		s.nonce = &b.nonce
	}
	return c.seal(b, x, a.m, &s)
}

// mayReuse says whether the request's nonce may protect this response: only the first, since a client takes a notification
// without a Partial IV for the oldest (RFC 8613 §7.4.1).
func (c *Context) mayReuse(x *Exchange) bool {
	return x.done.CompareAndSwap(none, withoutIV) && x.owner == c && !x.windowLost && x.number() < MaxEncryptions
}

// sealing is what requests and responses differ in.
type sealing struct {
	option Option
	nonce  *[maxNonce]byte
	code   codes.Code // outer
}

// seal encrypts m with the options that b.split has set apart, in one buffer behind the option's value.
func (c *Context) seal(b *Buffer, x *Exchange, m message.Message, s *sealing) (message.Message, error) {
	size := s.option.size() + 2 + len(m.Payload) + c.algorithm.tag
	for i := range b.sealed {
		size += 5 + len(b.sealed[i].Value)
	}
	buffer := s.option.append(b.room(size))
	start := len(buffer)
	buffer, err := coapwire.Append(append(buffer, byte(m.Code)), b.sealed, m.Payload)
	b.sealed = nil // the caller's
	if err != nil {
		return message.Message{}, fmt.Errorf("%w: %w", ErrUnprotectable, err)
	}
	if len(buffer)-start > ccm.MaxPlaintext {
		return message.Message{}, fmt.Errorf("%w: longer than %d bytes", ErrUnprotectable, ccm.MaxPlaintext)
	}
	nonce := s.nonce[:c.algorithm.nonce]
	buffer = c.keys().send.Seal(buffer[:start], nonce, buffer[start:], x.aad[:x.aadSize])
	b.bytes = buffer
	b.result = insert(b.result, message.Option{ID: OptionOSCORE, Value: buffer[:start:start]})
	m.Code = s.code
	m.Options = b.result
	m.Payload = buffer[start:]
	return m, nil
}
