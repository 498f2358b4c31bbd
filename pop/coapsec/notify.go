package coapsec

import (
	"context"
	"errors"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// end is for the handler: no more notifications.
func (g *registration) end() {
	if !g.over {
		g.over = true
		close(g.done)
	}
}

// Done implements Observation.
func (g *registration) Done() <-chan struct{} { return g.done }

// Notify implements Observation. It does not wait for the client: a notification that the next one overtakes is not sent. m
// belongs to the endpoint from then on. The error is ErrNotObserved.
func (g *registration) Notify(_ context.Context, m message.Message) error {
	e := g.endpoint
	e.mu.Lock()
	defer e.mu.Unlock()
	if g.over || e.isClosed() {
		return ErrNotObserved
	}
	g.next = &m
	if !observing(m) {
		g.end()
	}
	g.begin()
	return nil
}

// begin sends what there is to send. Endpoint.mu is held.
func (g *registration) begin() {
	if !g.opened || g.sending || g.next == nil || g.dropped {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	g.sending, g.stop = true, cancel
	go g.deliver(ctx)
}

// open takes note of how the first answer left: acked if it has been acknowledged, which only a separate one can be.
func (g *registration) open(a answer, acked bool, err error) {
	e := g.endpoint
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.observed.all[g.key] != g || a.other || err != nil && !errors.Is(err, errOnce) {
		e.observed.drop(g)
		return
	}
	g.opened = true
	g.budget -= len(a.data)
	if a.free || acked {
		e.observed.meet(g)
	}
	g.begin()
}

// deliver sends notifications until there are no more.
func (g *registration) deliver(ctx context.Context) {
	defer g.stop()
	e := g.endpoint
	for {
		m, ok := g.newest()
		if !ok {
			return
		}
		if err := g.tell(ctx, m); err != nil {
			e.o.Log.Debug("observation ended", "peer", g.key.peer, "error", err)
			e.mu.Lock()
			e.observed.drop(g)
			e.mu.Unlock()
			return
		}
	}
}

// newest takes what is to be told. If there is nothing the sending is over.
func (g *registration) newest() (m message.Message, ok bool) {
	e := g.endpoint
	e.mu.Lock()
	defer e.mu.Unlock()
	if g.next == nil {
		g.sending = false
		if g.over {
			e.observed.drop(g)
		}
		return m, false
	}
	m, g.next = *g.next, nil
	return m, true
}

// tell sends one notification until it is acknowledged. One that is newer takes its place with the next repetition (RFC
// 7641 §4.5.2).
func (g *registration) tell(ctx context.Context, m message.Message) error {
	e, peer := g.endpoint, g.key.peer
	if err := e.takeTurn(ctx, peer); err != nil {
		return err
	}
	defer e.giveTurn(peer)
	f, data, err := g.takeOff(m)
	if err != nil {
		return err
	}
	defer func() { e.forgetFlight(f) }()
	s, err := g.schedule(ctx, len(data))
	if err != nil {
		return err
	}
	timer := time.NewTimer(s.timeout)
	defer timer.Stop()
	for sent := 1; ; sent++ {
		e.send(peer, data)
		select {
		case <-f.settled:
			return g.heard(f)
		case <-ctx.Done():
			return ctx.Err()
		case <-e.done:
			return ErrClosed
		case <-timer.C:
		}
		if sent == s.transmissions {
			return ErrNoAnswer
		}
		if newer, ok := g.overtaken(); ok {
			e.forgetFlight(f)
			if f, data, err = g.takeOff(newer); err != nil {
				return err
			}
		}
		s.timeout *= 2
		timer.Reset(s.timeout)
	}
}

// takeOff makes the datagram of a notification. One that cannot be sent becomes 5.00, which is the last.
func (g *registration) takeOff(m message.Message) (*flight, []byte, error) {
	e := g.endpoint
	e.mu.Lock()
	f := e.takeOff(g.key.peer)
	if observing(m) {
		g.advance()
		m.Options = withObserve(m.Options, g.sequence)
	} else {
		m.Options = without(m.Options, message.Observe)
	}
	e.mu.Unlock()
	m.Type, m.MessageID, m.Token = message.Confirmable, int32(f.key.id), message.Token(g.key.token)
	data, err := encodeDatagram(m)
	if err == nil && isResponse(m.Code) {
		return f, data, nil
	}
	e.o.Log.Error("notification not sent", "peer", g.key.peer, "code", m.Code, "error", err)
	e.mu.Lock()
	g.end()
	e.mu.Unlock()
	m.Code, m.Options, m.Payload = codes.InternalServerError, nil, nil
	data, err = encodeDatagram(m)
	return f, data, err
}

// overtaken is what is newer than the notification under way. What a stranger may be sent is counted, so that it is not
// changed.
func (g *registration) overtaken() (m message.Message, ok bool) {
	g.endpoint.mu.Lock()
	defer g.endpoint.mu.Unlock()
	if g.next == nil || !g.reached {
		return m, false
	}
	m, g.next = *g.next, nil
	return m, true
}

// heard takes note of the client's acknowledgement or rejection.
func (g *registration) heard(f *flight) error {
	if f.reset {
		return ErrReset
	}
	g.endpoint.mu.Lock()
	defer g.endpoint.mu.Unlock()
	g.endpoint.observed.meet(g)
	return nil
}

// schedule says how often a notification of the given size may be sent. Whoever registers in another's name can have him
// sent three times the bytes that this took (maxAmplification), so that of a larger one he is asked first whether he is there.
func (g *registration) schedule(ctx context.Context, size int) (schedule, error) {
	e := g.endpoint
	e.mu.Lock()
	timeout, err := e.firstTimeout()
	s, stranger, budget := schedule{timeout, maxTransmissions}, !g.reached, g.budget
	e.mu.Unlock()
	switch {
	case err != nil:
		return s, err
	case stranger && size > budget:
		return s, g.knock(ctx, schedule{timeout, affordable(budget, headerLength)})
	case stranger:
		s.transmissions = affordable(budget, size)
	}
	return s, nil
}

// knock waits for the answer to a ping (RFC 7252 §4.3), of which either kind will do.
func (g *registration) knock(ctx context.Context, s schedule) error {
	e := g.endpoint
	e.mu.Lock()
	f := e.takeOff(g.key.peer)
	e.mu.Unlock()
	defer e.forgetFlight(f)
	return e.transmit(ctx, f, encodeEmpty(message.Confirmable, f.key.id), s)
}

func (e *Endpoint) forgetFlight(f *flight) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.land(f)
}
