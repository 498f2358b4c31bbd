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
	defer func() { e.forgetFlight(f) }()
	if err != nil {
		return err
	}
	s, err := g.schedule(len(data))
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

// takeOff makes the datagram of a notification. In place of one that cannot be sent goes another, which is the last.
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
	room := maxDatagram
	if !g.reached {
		room = g.budget
	}
	e.mu.Unlock()
	m = g.addressed(m, f)
	data, err := encodeDatagram(m)
	var last message.Message
	switch {
	case err != nil || !isResponse(m.Code):
		e.o.Log.Error("notification not sent", "peer", g.key.peer, "code", m.Code, "error", err)
		last.Code = codes.InternalServerError
	case len(data) > room:
		last = g.challenge()
	default:
		return f, data, nil
	}
	e.mu.Lock()
	g.end()
	g.next = nil
	e.mu.Unlock()
	data, err = encodeDatagram(g.addressed(last, f))
	return f, data, err
}

func (g *registration) addressed(m message.Message, f *flight) message.Message {
	m.Type, m.MessageID, m.Token = message.Confirmable, int32(f.key.id), message.Token(g.key.token)
	return m
}

// challenge takes the place of a notification longer than the address may get. Who has registered in his own name can do so
// again with the Echo. Asking whether the address answers would not do: whoever speaks CoAP there would, though he never asked.
func (g *registration) challenge() message.Message {
	request := message.Message{Code: g.code, Token: message.Token(g.key.token)}
	if _, challenge := g.endpoint.verify(request, g.key.peer.String()); challenge.Code != codes.Empty {
		return challenge
	}
	return message.Message{Code: codes.InternalServerError}
}

// errStranger is for a client to whom not even the last word can be sent.
var errStranger = errors.New("not known to be at its address")

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
// sent three times the bytes that this took (maxAmplification), and no more.
func (g *registration) schedule(size int) (schedule, error) {
	e := g.endpoint
	e.mu.Lock()
	defer e.mu.Unlock()
	timeout, err := e.firstTimeout()
	s := schedule{timeout, maxTransmissions}
	if !g.reached {
		s.transmissions = affordable(g.budget, size)
	}
	if err == nil && s.transmissions <= 0 {
		err = errStranger
	}
	return s, err
}

func (e *Endpoint) forgetFlight(f *flight) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.land(f)
}
