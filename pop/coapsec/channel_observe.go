package coapsec

import (
	"context"

	"github.com/plgd-dev/go-coap/v3/message"
)

// Observe observes through x like Observer.Observe, under the channel's context. Without one, or when the peer seems not to
// know it any more, the request is first sent once without Observe, by which Exchange makes one. An observation does not
// outlive its context: when the peer has restarted no notification comes, and the caller has to ask again.
func (ch *Channel) Observe(ctx context.Context, x Observer, request message.Message, each func(message.Message) error) error {
	began := false
	first := func(m message.Message) error {
		began = true
		return each(m)
	}
	err := error(&UnprotectedError{})
	if ch.Established() {
		err = ch.observe(ctx, x, request, first)
	}
	if began || ch.Established() && !contextGone(err) {
		return err
	}
	if _, err := ch.Exchange(ctx, x, request); err != nil {
		return err
	}
	return ch.observe(ctx, x, request, first)
}

func (ch *Channel) observe(ctx context.Context, x Observer, request message.Message, each func(message.Message) error) error {
	c, _ := ch.present()
	s := newSecured(x, c)
	return (&observingSecured{s, s.next.(Observer)}).Observe(ctx, request, each) // Reachable is an Observer over one
}
