package oscore

import (
	"bytes"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/internal/ccm"
	"github.com/latchkey-ace/latchkey/pop/internal/coapwire"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// ProtectRequest is RFC 8613 §8.1. The request gets a new Partial IV, kid and, if the context has an ID Context, kid
// context; the outer code is POST. The errors are ErrUnprotectable, ErrExhausted and those of Sequence.
func (c *Context) ProtectRequest(m message.Message) (message.Message, *Exchange, error) {
	if !isRequest(m.Code) {
		return message.Message{}, nil, fmt.Errorf("%w: code %d is no request", ErrUnprotectable, m.Code)
	}
	inner, outer, err := split(m.Options)
	if err != nil {
		return message.Message{}, nil, err
	}
	number, err := c.nextNumber()
	if err != nil {
		return message.Message{}, nil, err
	}
	var buffer [8]byte
	x := c.newExchange(c.senderID, encodePIV(&buffer, number))
	m.Options = inner
	s := sealing{
		option: Option{
			PartialIV: x.partialIV(), KID: c.senderID, HasKID: true,
			KIDContext: c.kidContext, HasKIDContext: c.kidContext != nil,
		},
		nonce: &x.nonce, code: codes.POST, outer: outer,
	}
	sealed, err := c.seal(x, m, &s)
	return sealed, x, err
}

// ProtectResponse is RFC 8613 §8.3, for the x that UnprotectRequest returned. Without ownPIV the request's nonce is used,
// at most once per request; a second response, one under another context and one to a request received without a replay
// window get a Partial IV of their own whatever ownPIV says.
func (c *Context) ProtectResponse(x *Exchange, m message.Message, ownPIV bool) (message.Message, error) {
	return c.protectResponse(x, m, ownPIV, nil)
}

func (c *Context) protectResponse(x *Exchange, m message.Message, ownPIV bool, kidContext []byte) (message.Message, error) {
	if !isResponse(m.Code) {
		return message.Message{}, fmt.Errorf("%w: code %d is no response", ErrUnprotectable, m.Code)
	}
	// The nonce of an own request has been used with the very key that would protect this.
	if !x.served {
		return message.Message{}, fmt.Errorf("%w: response to an own request", ErrUnprotectable)
	}
	inner, outer, err := split(m.Options)
	if err != nil {
		return message.Message{}, err
	}
	m.Options = inner
	s := sealing{
		option: Option{KIDContext: kidContext, HasKIDContext: kidContext != nil},
		nonce:  &x.nonce, code: codes.Changed, outer: outer,
	}
	if ownPIV || x.windowLost || x.owner != c || !x.answered.CompareAndSwap(false, true) {
		number, err := c.nextNumber()
		if err != nil {
			return message.Message{}, err
		}
		var buffer [8]byte
		s.option.PartialIV = encodePIV(&buffer, number)
		s.nonce = new([ccm.NonceSize]byte)
		c.makeNonce(s.nonce, c.senderID, s.option.PartialIV)
	}
	return c.seal(x, m, &s)
}

// sealing is what requests and responses differ in.
type sealing struct {
	option Option
	nonce  *[ccm.NonceSize]byte
	code   codes.Code // outer
	outer  message.Options
}

// seal encrypts m, whose options are already the inner ones, in one buffer behind the option's value.
func (c *Context) seal(x *Exchange, m message.Message, s *sealing) (message.Message, error) {
	size := s.option.size() + 2 + len(m.Payload) + c.send.Overhead()
	for i := range m.Options {
		size += 5 + len(m.Options[i].Value)
	}
	buffer := s.option.append(make([]byte, 0, size))
	start := len(buffer)
	buffer, err := coapwire.Append(append(buffer, byte(m.Code)), m.Options, m.Payload)
	if err != nil {
		return message.Message{}, fmt.Errorf("%w: %w", ErrUnprotectable, err)
	}
	if len(buffer)-start > ccm.MaxPlaintext {
		return message.Message{}, fmt.Errorf("%w: longer than %d bytes", ErrUnprotectable, ccm.MaxPlaintext)
	}
	buffer = c.send.Seal(buffer[:start], s.nonce[:], buffer[start:], x.aad[:x.aadSize])
	m.Code = s.code
	m.Options = mark(s.outer, buffer[:start:start])
	m.Payload = buffer[start:]
	return m, nil
}

// UnprotectRequest is RFC 8613 §8.2. The errors are ErrNoContext, ErrDecode, ErrReplay, ErrDecrypt and ErrInner; only the
// last one comes after the window has moved. When the window is lost every request that verifies is returned, and
// Exchange.WindowLost says so.
func (c *Context) UnprotectRequest(outer message.Message) (message.Message, *Exchange, error) {
	option, found, err := FindOption(outer)
	if err != nil {
		return message.Message{}, nil, err
	}
	if !found || !option.HasKID || option.PartialIV == nil {
		return message.Message{}, nil, fmt.Errorf("%w: no kid or no partial iv", ErrDecode)
	}
	if !c.Matches(option) {
		return message.Message{}, nil, ErrNoContext
	}
	x := c.newExchange(c.recipientID, option.PartialIV)
	x.served = true
	// RFC 8613 §8.2 steps 3 and 6: the window is checked before, and moved only after, decryption.
	if !c.admissible(x.number()) {
		return message.Message{}, nil, ErrReplay
	}
	plaintext, err := c.receive.Open(nil, x.nonce[:], outer.Payload, x.aad[:x.aadSize])
	if err != nil {
		return message.Message{}, nil, ErrDecrypt
	}
	if x.windowLost, err = c.admit(x.number()); err != nil {
		return message.Message{}, nil, err
	}
	inner, err := open(plaintext, outer)
	if err != nil {
		return message.Message{}, nil, err
	}
	if !isRequest(inner.Code) {
		return message.Message{}, nil, fmt.Errorf("%w: code %d is no request", ErrInner, inner.Code)
	}
	return inner, x, nil
}

// UnprotectResponse is RFC 8613 §8.4, for the x that ProtectRequest returned. Only one response is accepted per request.
// The errors are ErrNotProtected, ErrDecode, ErrReplay, ErrDecrypt and ErrInner; after each but ErrReplay the true response
// may still come.
func (c *Context) UnprotectResponse(x *Exchange, outer message.Message) (message.Message, error) {
	if x.owner != c {
		return message.Message{}, fmt.Errorf("%w: exchange of another context", ErrNoContext)
	}
	option, found, err := FindOption(outer)
	if err != nil {
		return message.Message{}, err
	}
	if !found {
		return message.Message{}, ErrNotProtected
	}
	// Neither is protected in a response, nor expected there; a false one must not pass for a note of the peer.
	if option.HasKID && !bytes.Equal(option.KID, c.recipientID) ||
		option.HasKIDContext && !bytes.Equal(option.KIDContext, c.kidContext) {
		return message.Message{}, fmt.Errorf("%w: kid of another context", ErrDecode)
	}
	return c.openResponse(x, outer, option)
}

func (c *Context) openResponse(x *Exchange, outer message.Message, option Option) (message.Message, error) {
	if x.served {
		return message.Message{}, fmt.Errorf("%w: response to a request of the peer", ErrDecode)
	}
	nonce := &x.nonce
	if option.PartialIV != nil {
		nonce = new([ccm.NonceSize]byte)
		c.makeNonce(nonce, c.recipientID, option.PartialIV)
	}
	plaintext, err := c.receive.Open(nil, nonce[:], outer.Payload, x.aad[:x.aadSize])
	if err != nil {
		return message.Message{}, ErrDecrypt
	}
	inner, err := open(plaintext, outer)
	if err != nil {
		return message.Message{}, err
	}
	if !isResponse(inner.Code) {
		return message.Message{}, fmt.Errorf("%w: code %d is no response", ErrInner, inner.Code)
	}
	if !x.answered.CompareAndSwap(false, true) {
		return message.Message{}, ErrReplay
	}
	return inner, nil
}

// open reads the plaintext of RFC 8613 §5.3 and adds what was left outside.
func open(plaintext []byte, outer message.Message) (message.Message, error) {
	if len(plaintext) == 0 {
		return message.Message{}, fmt.Errorf("%w: empty", ErrInner)
	}
	options, payload, err := coapwire.Decode(plaintext[1:])
	if err != nil {
		return message.Message{}, fmt.Errorf("%w: %w", ErrInner, err)
	}
	if options, err = merge(options, outer.Options); err != nil {
		return message.Message{}, err
	}
	outer.Code = codes.Code(plaintext[0])
	outer.Options = options
	outer.Payload = payload
	return outer, nil
}
