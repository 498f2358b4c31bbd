package oscore

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// This file is RFC 8613 appendix B.2: contexts made anew from a root secret and random values.
//
//	client                                          server
//	request #1     ID Context R1                →
//	               ID Context R2 ‖ R1           ←   response #1, 4.01
//	request #2     ID Context R2 ‖ R3           →   the new context
//
// Both ends draw their random values from the reader handed in, which must be good: a repeated value repeats keys. The kid
// context on the wire is R1, R2 or R2 ‖ R3 wrapped in a CBOR byte string, in request #2 and in every later request.

// derived makes the context whose ID Context is the nonces joined.
func (p Params) derived(nonces ...[]byte) (*Context, error) {
	p.IDContext = slices.Concat(nonces...)
	c, err := New(p, Options{})
	if err != nil {
		return nil, err
	}
	c.kidContext, err = wire.Marshal(p.IDContext)
	if err != nil {
		return nil, fmt.Errorf("oscore: kid context: %w", err)
	}
	return c, nil
}

// unwrap takes a byte string of exactly size bytes out of a kid context.
func unwrap(o Option, size int) ([]byte, bool) {
	var item any // a []byte would take an array of numbers too
	if !o.HasKIDContext || wire.UnmarshalDeterministic(o.KIDContext, &item) != nil {
		return nil, false
	}
	nonces, ok := item.([]byte)
	return nonces, ok && len(nonces) == size
}

func draw(random io.Reader) ([]byte, error) {
	nonce := make([]byte, RenewalNonce)
	if _, err := io.ReadFull(random, nonce); err != nil {
		return nil, fmt.Errorf("oscore: random nonce: %w", err)
	}
	return nonce, nil
}

func (p Params) checkRoot() error {
	if p.IDContext != nil {
		return fmt.Errorf("oscore: root parameters with an id context")
	}
	return nil
}

// WaitResponse1 is the client that has sent request #1. It answers one run and is not safe for concurrent use.
type WaitResponse1 struct {
	root     Params
	random   io.Reader
	r1       []byte
	exchange *Exchange
}

// Initiate starts a run in the client role: it draws R1 and returns request #1, which is a GET without options, since the
// server never acts upon it. root has no ID Context.
func Initiate(root Params, random io.Reader) (message.Message, *WaitResponse1, error) {
	if err := root.checkRoot(); err != nil {
		return message.Message{}, nil, err
	}
	r1, err := draw(random)
	if err != nil {
		return message.Message{}, nil, err
	}
	first, err := root.derived(r1)
	if err != nil {
		return message.Message{}, nil, err
	}
	request1, x, err := first.ProtectRequest(message.Message{Code: codes.GET})
	if err != nil {
		return message.Message{}, nil, err
	}
	return request1, &WaitResponse1{root: root, random: random, r1: r1, exchange: x}, nil
}

// Accept verifies response #1 under R2 ‖ R1, draws R3 and returns the new context. Its first request is request #2; when a
// response under it has verified, the run is complete and the context replaces any older one. An error leaves the run
// open: the true response #1 may still come.
func (w *WaitResponse1) Accept(response1 message.Message) (*Context, error) {
	option, found, err := FindOption(response1)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, ErrNotProtected
	}
	r2, ok := unwrap(option, RenewalNonce)
	if !ok || option.HasKID && !bytes.Equal(option.KID, w.root.RecipientID) {
		return nil, fmt.Errorf("%w: no R2, or kid of another context", ErrDecode)
	}
	second, err := w.root.derived(r2, w.r1)
	if err != nil {
		return nil, err
	}
	r3, err := draw(w.random) // first, for want of it must not end the run
	if err != nil {
		return nil, err
	}
	inner, err := second.openResponse(new(Buffer), w.exchange, response1, option)
	if err != nil {
		return nil, err
	}
	if inner.Code != codes.Unauthorized {
		return nil, fmt.Errorf("%w: response #1 is not 4.01", ErrInner)
	}
	return w.root.derived(r2, r3)
}

// Responder is the server role: it remembers which R2 it has sent. It is not safe for concurrent use.
type Responder struct {
	root   Params
	random io.Reader
	runs   []run // oldest first
}

// run is one response #1 sent.
type run struct {
	request []byte // OSCORE option of request #1: R1 and Partial IV
	r2      []byte
	made    time.Time
	reply   message.Message
}

// NewResponder returns the server role for root, which has no ID Context.
func NewResponder(root Params, random io.Reader) (*Responder, error) {
	if err := root.checkRoot(); err != nil {
		return nil, err
	}
	if _, err := New(root, Options{}); err != nil {
		return nil, err
	}
	return &Responder{root: root, random: random}, nil
}

// Renewed is what became of a request of appendix B.2: either Reply, which is response #1 to be sent at once, or the new
// Context with the request #2 unprotected under it, which is to be served like any other.
type Renewed struct {
	Reply    *message.Message
	Context  *Context
	Inner    message.Message
	Exchange *Exchange
}

// Serve takes request #1 or request #2; the kid context tells them apart. A request #1 seen before gets the same response
// #1 again. A request #2 is accepted once: then all outstanding R2 are forgotten. ErrNoContext means that the request
// belongs to no run; it and every other error change nothing. now must not go back.
func (r *Responder) Serve(outer message.Message, now time.Time) (Renewed, error) {
	option, found, err := FindOption(outer)
	if err != nil {
		return Renewed{}, err
	}
	if !found || !option.HasKID || !bytes.Equal(option.KID, r.root.RecipientID) {
		return Renewed{}, ErrNoContext
	}
	r.expire(now)
	if r1, ok := unwrap(option, RenewalNonce); ok {
		reply, err := r.respond(outer, option, r1, now)
		return Renewed{Reply: reply}, err
	}
	if id3, ok := unwrap(option, 2*RenewalNonce); ok {
		return r.finish(outer, id3)
	}
	return Renewed{}, ErrNoContext
}

// Forget drops all outstanding R2, so that no run begun before can end.
func (r *Responder) Forget() { r.runs = nil }

func (r *Responder) expire(now time.Time) {
	r.runs = slices.DeleteFunc(r.runs, func(x run) bool { return now.Sub(x.made) >= RenewalLifetime })
}

func (r *Responder) respond(request1 message.Message, option Option, r1 []byte, now time.Time) (*message.Message, error) {
	first, err := r.root.derived(r1)
	if err != nil {
		return nil, err
	}
	_, x, err := first.UnprotectRequest(request1)
	if err != nil {
		return nil, err
	}
	key := option.Encode()
	for i := range r.runs {
		if bytes.Equal(r.runs[i].request, key) {
			return new(r.runs[i].reply), nil
		}
	}
	r2, err := draw(r.random)
	if err != nil {
		return nil, err
	}
	second, err := r.root.derived(r2, r1)
	if err != nil {
		return nil, err
	}
	wrapped, err := wire.Marshal(r2)
	if err != nil {
		return nil, fmt.Errorf("oscore: kid context: %w", err)
	}
	reply, err := second.protectResponse(new(Buffer), x, &answer{m: message.Message{Code: codes.Unauthorized}, ownPIV: true, kidContext: wrapped})
	if err != nil {
		return nil, err
	}
	if len(r.runs) == MaxRenewals {
		r.runs = slices.Delete(r.runs, 0, 1)
	}
	r.runs = append(r.runs, run{request: key, r2: r2, made: now, reply: reply})
	return new(reply), nil
}

// finish verifies request #2. A replay finds its R2 gone (RFC 8613 appendix B.2 step 4).
func (r *Responder) finish(request2 message.Message, id3 []byte) (Renewed, error) {
	sent := slices.ContainsFunc(r.runs, func(x run) bool { return bytes.Equal(x.r2, id3[:RenewalNonce]) })
	if !sent {
		return Renewed{}, ErrNoContext
	}
	third, err := r.root.derived(id3)
	if err != nil {
		return Renewed{}, err
	}
	inner, x, err := third.UnprotectRequest(request2)
	if err != nil {
		return Renewed{}, err
	}
	r.Forget()
	return Renewed{Context: third, Inner: inner, Exchange: x}, nil
}
