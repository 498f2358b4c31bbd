package oscore

import (
	"bytes"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/internal/coapwire"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// UnprotectRequest is RFC 8613 §8.2. The errors are ErrNoContext, ErrDecode, ErrReplay, ErrDecrypt, ErrExhausted and
// ErrInner; only the last one comes after the window has moved. When the window is lost every request that verifies is
// returned, and Exchange.WindowLost says so.
func (c *Context) UnprotectRequest(outer message.Message) (message.Message, *Exchange, error) {
	x := new(Exchange)
	inner, err := c.UnprotectRequestIn(new(Buffer), x, outer)
	if err != nil {
		return message.Message{}, nil, err
	}
	return inner, x, nil
}

// UnprotectRequestIn is UnprotectRequest into b, and into x, which may be an Exchange that nobody needs any more. On error
// x belongs to no request.
func (c *Context) UnprotectRequestIn(b *Buffer, x *Exchange, outer message.Message) (message.Message, error) {
	x.owner = nil
	option, err := requestOption(outer)
	if err != nil {
		return message.Message{}, err
	}
	if !c.Matches(option) {
		return message.Message{}, ErrNoContext
	}
	inner, err := c.openRequest(b, x, outer, option)
	if err != nil {
		x.owner = nil
	}
	return inner, err
}

// requestOption is the OSCORE option of a request, which has kid and Partial IV (RFC 8613 §5).
func requestOption(outer message.Message) (Option, error) {
	option, found, err := FindOption(outer)
	if err != nil {
		return Option{}, err
	}
	if !found || !option.HasKID || option.PartialIV == nil {
		return Option{}, fmt.Errorf("%w: no kid or no partial iv", ErrDecode)
	}
	return option, nil
}

func (c *Context) openRequest(b *Buffer, x *Exchange, outer message.Message, option Option) (message.Message, error) {
	if c.attacked() {
		return message.Message{}, ErrExhausted
	}
	x.begin(c, c.recipient.slice(), option.PartialIV)
	x.served = true
	number := x.number()
	// RFC 8613 §8.2 steps 3 and 6: the window is checked before, and moved only after, decryption.
	if !c.admissible(number) {
		return message.Message{}, ErrReplay
	}
	receive, kept := c.opener()
	plaintext, err := c.open(receive, b.room(len(outer.Payload)), x.nonce[:c.algorithm.nonce], outer.Payload, x.aad[:x.aadSize])
	if err != nil {
		return message.Message{}, err
	}
	if x.windowLost, err = c.admit(number); err != nil {
		return message.Message{}, err
	}
	c.verified(receive, kept)
	inner, observe, err := b.read(plaintext, outer)
	if err != nil {
		return message.Message{}, err
	}
	if !isRequest(inner.Code) {
		return message.Message{}, fmt.Errorf("%w: code %d is no request", ErrInner, inner.Code)
	}
	x.observes = registers(observe)
	return inner, nil
}

// UnprotectResponse is RFC 8613 §8.4, for the x that ProtectRequest returned. Only one response is accepted per request; for
// an observation there is UnprotectNotification. The errors are ErrNotProtected, ErrDecode, ErrReplay, ErrDecrypt,
// ErrExhausted and ErrInner; after each but ErrReplay and ErrExhausted the true response may still come.
func (c *Context) UnprotectResponse(x *Exchange, outer message.Message) (message.Message, error) {
	return c.UnprotectResponseIn(new(Buffer), x, outer)
}

// UnprotectResponseIn is UnprotectResponse into b.
func (c *Context) UnprotectResponseIn(b *Buffer, x *Exchange, outer message.Message) (message.Message, error) {
	option, err := c.responseOption(x, outer)
	if err != nil {
		return message.Message{}, err
	}
	return c.openResponse(b, x, outer, option)
}

// UnprotectNotification is UnprotectResponse for a request that registers an observation, which may have many responses
// (RFC 8613 §8.4.2): one is accepted only if it is newer than all before, by its Partial IV and whatever the outer Observe
// says, so that what is accepted is in order. One that came before, came too late, or comes after the end is ErrReplay,
// and to be dropped silently. A response that is no success, or has no Observe, ends the observation; no other error does. The
// inner Observe is empty.
func (c *Context) UnprotectNotification(x *Exchange, outer message.Message) (message.Message, error) {
	return c.UnprotectNotificationIn(new(Buffer), x, outer)
}

// UnprotectNotificationIn is UnprotectNotification into b.
func (c *Context) UnprotectNotificationIn(b *Buffer, x *Exchange, outer message.Message) (message.Message, error) {
	option, err := c.responseOption(x, outer)
	if err != nil {
		return message.Message{}, err
	}
	if !x.observes {
		return c.openResponse(b, x, outer, option)
	}
	rank := rankOf(option)
	if rank <= x.done.Load() {
		return message.Message{}, ErrReplay
	}
	inner, observe, err := c.decryptResponse(b, x, outer, option)
	if err != nil {
		return message.Message{}, err
	}
	if !x.accept(rank, observe == nil || inner.Code>>5 != 2) {
		return message.Message{}, ErrReplay
	}
	return inner, nil
}

func rankOf(o Option) uint64 {
	if o.PartialIV == nil {
		return withoutIV
	}
	return firstRank + decodePIV(o.PartialIV)
}

func (c *Context) responseOption(x *Exchange, outer message.Message) (Option, error) {
	if x.owner != c {
		return Option{}, fmt.Errorf("%w: exchange of another context", ErrNoContext)
	}
	option, found, err := FindOption(outer)
	if err != nil {
		return Option{}, err
	}
	if !found {
		return Option{}, ErrNotProtected
	}
	// Neither is protected in a response, nor expected there; a false one must not pass for a note of the peer.
	if option.HasKID && !bytes.Equal(option.KID, c.recipient.slice()) ||
		option.HasKIDContext && !bytes.Equal(option.KIDContext, c.kidContext) {
		return Option{}, fmt.Errorf("%w: kid of another context", ErrDecode)
	}
	return option, nil
}

// openResponse takes the only response to a request.
func (c *Context) openResponse(b *Buffer, x *Exchange, outer message.Message, option Option) (message.Message, error) {
	inner, observe, err := c.decryptResponse(b, x, outer, option)
	if err != nil {
		return message.Message{}, err
	}
	// RFC 8613 §4.1.3.5.2: nobody asked for notifications.
	if observe != nil && !x.observes {
		return message.Message{}, fmt.Errorf("%w: notification of no observation", ErrInner)
	}
	if !x.done.CompareAndSwap(none, ended) {
		return message.Message{}, ErrReplay
	}
	return inner, nil
}

func (c *Context) decryptResponse(b *Buffer, x *Exchange, outer message.Message, option Option) (message.Message, *message.Option, error) {
	if x.served {
		return message.Message{}, nil, fmt.Errorf("%w: response to a request of the peer", ErrDecode)
	}
	if c.attacked() {
		return message.Message{}, nil, ErrExhausted
	}
	nonce := &x.nonce
	if option.PartialIV != nil {
		nonce = &b.nonce
		c.makeNonce(nonce, c.recipient.slice(), option.PartialIV)
	}
	receive, kept := c.opener()
	plaintext, err := c.open(receive, b.room(len(outer.Payload)), nonce[:c.algorithm.nonce], outer.Payload, x.aad[:x.aadSize])
	if err != nil {
		return message.Message{}, nil, err
	}
	c.verified(receive, kept)
	inner, observe, err := b.read(plaintext, outer)
	if err != nil {
		return message.Message{}, nil, err
	}
	if !isResponse(inner.Code) {
		return message.Message{}, nil, fmt.Errorf("%w: code %d is no response", ErrInner, inner.Code)
	}
	return inner, observe, nil
}

// read takes the plaintext of RFC 8613 §5.3 and adds what was left outside. It returns the inner Observe, if there is one.
func (b *Buffer) read(plaintext []byte, outer message.Message) (message.Message, *message.Option, error) {
	if len(plaintext) == 0 {
		return message.Message{}, nil, fmt.Errorf("%w: empty", ErrInner)
	}
	options, payload, err := coapwire.DecodeInto(b.options(), plaintext[1:])
	if err != nil {
		return message.Message{}, nil, fmt.Errorf("%w: %w", ErrInner, err)
	}
	b.result = options
	if err := b.merge(outer.Options); err != nil {
		return message.Message{}, nil, err
	}
	outer.Code = codes.Code(plaintext[0])
	outer.Options = b.result
	outer.Payload = payload
	return outer, observeOf(b.result), nil
}
