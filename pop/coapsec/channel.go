package coapsec

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// ChannelOptions says how a Channel behaves. Zero fields stand for the system's time and randomness and for the
// authorization server's side.
type ChannelOptions struct {
	Rand   io.Reader // must be good: repeated values repeat keys
	Now    func() time.Time
	Device bool // this is the device's side, whose run wins when both ends start one at once
}

// Channel is the association between a device and its authorization server (D1): its contexts come only from RFC 8613
// appendix B.2, live in memory and are never restored. It is an Association in the server role and has Exchange for the
// client role, both at once and safe for concurrent use.
//
// A replayed request finds its number used, its context gone or its R2 forgotten, so no Echo is needed after a restart.
type Channel struct {
	root   oscore.Params
	random io.Reader
	now    func() time.Time
	device bool
	turn   chan struct{} // held by the one run in the client role
	broken error         // root cannot make contexts

	mu        sync.Mutex
	responder *oscore.Responder
	current   *oscore.Context
	previous  *oscore.Context // accepts requests until current has verified one
	pending   *birth          // the own run that awaits response #2
	lost      int             // exchanges in a row without a verified answer
}

// birth is a context for which request #2 has been sent, and the context that was current when its run began.
type birth struct {
	context *oscore.Context
	before  *oscore.Context
}

// NewChannel returns a channel without a context. root has no ID Context; its ids are this side's. A root that cannot make
// contexts shows as an error of every use.
func NewChannel(root oscore.Params, o ChannelOptions) *Channel {
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	ch := &Channel{root: root, random: o.Rand, now: o.Now, device: o.Device, turn: make(chan struct{}, 1)}
	if ch.responder, ch.broken = oscore.NewResponder(root, o.Rand); ch.broken != nil {
		ch.broken = fmt.Errorf("channel: %w", ch.broken)
	}
	return ch
}

// Accept implements Association: requests under a context of the channel, and requests #1 and #2 of appendix B.2.
func (ch *Channel) Accept(_ context.Context, outer message.Message, option oscore.Option) (Accepted, error) {
	refused := ch.broken
	for _, c := range ch.matching(option) {
		inner, x, err := c.UnprotectRequest(outer)
		if err == nil {
			ch.verifiedRequest(c)
			return Accepted{Inner: inner, Exchange: x, Context: c, Holds: func() bool { return ch.holds(c) }}, nil
		}
		if refused == nil {
			refused = err
		}
	}
	if refused != nil {
		return Accepted{}, refused
	}
	return ch.renewed(outer)
}

// matching lists the contexts a request may belong to; without a kid context that is all. The pending one is among them:
// the peer may use it before response #2 is here, and a request under it proves as much.
func (ch *Channel) matching(option oscore.Option) (matching []*oscore.Context) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	known := []*oscore.Context{ch.current, ch.previous, nil}
	if ch.pending != nil {
		known[2] = ch.pending.context
	}
	for _, c := range known {
		if c != nil && c.Matches(option) {
			matching = append(matching, c)
		}
	}
	return matching
}

func (ch *Channel) verifiedRequest(c *oscore.Context) {
	ch.verified(c)
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if c == ch.current {
		ch.previous = nil
	}
}

// verified takes note of a request or response under c. A pending context becomes current by it. When both ends started a
// run at once the device's wins (D1): the server drops its own, and the device forgets what it has sent for the server's,
// so that a request #2 coming later is refused.
func (ch *Channel) verified(c *oscore.Context) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if born := ch.pending; born != nil && born.context == c {
		ch.pending = nil
		if ch.device || ch.current == born.before {
			ch.current, ch.previous = c, ch.current
		}
		if ch.device {
			ch.responder.Forget()
		}
	}
	if c == ch.current {
		ch.lost = 0
	}
}

// renewed is the server role of appendix B.2. The new context has verified request #2, so the old one goes at once.
func (ch *Channel) renewed(outer message.Message) (Accepted, error) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	r, err := ch.responder.Serve(outer, ch.now())
	if err != nil {
		return Accepted{}, err
	}
	if r.Reply != nil {
		return Accepted{Reply: r.Reply}, nil
	}
	ch.current, ch.previous, ch.lost = r.Context, nil, 0
	return Accepted{
		Inner: r.Inner, Exchange: r.Exchange, Context: r.Context, Holds: func() bool { return ch.holds(r.Context) },
	}, nil
}

// holds says whether c has not been replaced.
func (ch *Channel) holds(c *oscore.Context) bool {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return c == ch.current || c == ch.previous || ch.pending != nil && c == ch.pending.context
}

// Exchange sends inner to the peer through x, in the client role, and returns the verified response. Without a context, or
// when MaxLostExchanges went unanswered, it makes one first; after an unprotected 4.01 it does so and sends inner once
// more. That 4.01 may be false: inner must be a request that may be acted upon twice. Errors are those of Secure.
func (ch *Channel) Exchange(ctx context.Context, x Exchanger, inner message.Message) (message.Message, error) {
	if ch.broken != nil {
		return message.Message{}, ch.broken
	}
	c, trusted := ch.present()
	if c != nil && trusted {
		response, err := ch.under(ctx, x, c, inner)
		if !contextGone(err) {
			return response, err
		}
	}
	return ch.renew(ctx, x, inner, c)
}

// Established says whether there is a context.
func (ch *Channel) Established() bool {
	c, _ := ch.present()
	return c != nil
}

func (ch *Channel) present() (c *oscore.Context, trusted bool) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return ch.current, ch.lost < MaxLostExchanges
}

// contextGone: the peer seems not to know the context, or its numbers are used up.
func contextGone(err error) bool {
	var hint *UnprotectedError
	return errors.As(err, &hint) && hint.Code == codes.Unauthorized || errors.Is(err, oscore.ErrExhausted)
}

// under exchanges inner under c. An exchange lost under the current context counts, but giving up oneself is no sign that
// the peer has lost the context.
func (ch *Channel) under(ctx context.Context, x Exchanger, c *oscore.Context, inner message.Message) (message.Message, error) {
	s := newSecured(x, c)
	s.verified = func() { ch.verified(c) }
	response, err := s.Exchange(ctx, inner)
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, oscore.ErrUnprotectable) {
		return response, err
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if c == ch.current {
		ch.lost++
	}
	return response, err
}

// renew makes a context in place of stale, unless another call or the peer has done so meanwhile.
func (ch *Channel) renew(ctx context.Context, x Exchanger, inner message.Message, stale *oscore.Context) (message.Message, error) {
	select {
	case ch.turn <- struct{}{}:
		defer func() { <-ch.turn }()
	case <-ctx.Done():
		return message.Message{}, ctx.Err()
	}
	before, _ := ch.present()
	if before != stale {
		if response, err := ch.under(ctx, x, before, inner); !contextGone(err) {
			return response, err
		}
	}
	response, err := ch.run(ctx, x, inner, before)
	if !contextGone(err) {
		return response, err
	}
	// The device's run ends the server's: then its context is there to be used.
	if after, _ := ch.present(); after != before {
		return ch.under(ctx, x, after, inner)
	}
	return response, err
}

// run is the client role of appendix B.2, with inner as request #2.
func (ch *Channel) run(ctx context.Context, x Exchanger, inner message.Message, before *oscore.Context) (message.Message, error) {
	request1, wait, err := oscore.Initiate(ch.root, ch.random)
	if err != nil {
		return message.Message{}, err
	}
	response1, err := x.Exchange(ctx, request1)
	if err != nil {
		return message.Message{}, err
	}
	c, err := wait.Accept(response1)
	if errors.Is(err, oscore.ErrNotProtected) {
		return message.Message{}, unprotected(response1)
	}
	if err != nil {
		return message.Message{}, fmt.Errorf("response #1: %w", err)
	}
	return ch.under(ctx, x, ch.await(c, before), inner)
}

// await makes c pending and returns the context to go on with: c, or on the server's side the one that a run of the device
// has made since the own run began, because request #2 would then replace it at the device alone.
func (ch *Channel) await(c, before *oscore.Context) *oscore.Context {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if !ch.device && ch.current != before {
		return ch.current
	}
	ch.pending = &birth{context: c, before: before}
	return c
}
