package coapsec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// news is a handler that accepts observations and hands them to the test.
type news struct {
	mu       sync.Mutex
	answer   message.Message
	observed chan Observation
}

func newNews() *news {
	return &news{answer: told("0"), observed: make(chan Observation, 64)}
}

func (n *news) ServeCoAP(_ context.Context, r *Request) message.Message {
	if r.Observation != nil {
		n.observed <- r.Observation
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.answer
}

// told is a notification as a handler makes it: whatever it says in Observe.
func told(text string) message.Message {
	return message.Message{Code: codes.Content, Options: message.Options{{ID: message.Observe}}, Payload: []byte(text)}
}

// asking is a GET with an Observe of the given value.
func asking(value uint32) message.Message {
	return message.Message{Code: codes.GET, Options: withObserve(Options("/door/state", NoFormat), value), Payload: nil}
}

// observe registers c, which sends id 1 and the token {1, 7}.
func (c client) observe(n *news) Observation {
	c.t.Helper()
	c.sendMessage(confirmable(1, asking(register)))
	if got := c.receiveMessage(); got.Code != codes.Content || c.value(got) == 0 {
		c.t.Fatalf("answer to the registration: got %v", &got)
	}
	return <-n.observed
}

// value is the Observe of a message; there must be one.
func (c client) value(m message.Message) uint32 {
	c.t.Helper()
	value, ok := observeOf(m.Options)
	if !ok {
		c.t.Fatalf("got %v without Observe", &m)
	}
	return value
}

// notified takes a notification and acknowledges it.
func (c client) notified() message.Message {
	c.t.Helper()
	m := c.receiveMessage()
	if m.Type != message.Confirmable || !bytes.Equal(m.Token, []byte{1, 7}) {
		c.t.Fatalf("got %v, want a confirmable message with the token of the registration", &m)
	}
	c.send(encodeEmpty(message.Acknowledgement, uint16(m.MessageID)))
	return m
}

func notify(t *testing.T, o Observation, text string) {
	t.Helper()
	if err := o.Notify(t.Context(), told(text)); err != nil {
		t.Fatalf("notify %q: %v", text, err)
	}
}

// ended waits for an observation to be over.
func ended(t *testing.T, o Observation) {
	t.Helper()
	select {
	case <-o.Done():
	case <-time.After(3 * time.Second):
		t.Fatal("the observation goes on")
	}
	if err := o.Notify(t.Context(), told("late")); !errors.Is(err, ErrNotObserved) {
		t.Errorf("notify after the end: got %v, want ErrNotObserved", err)
	}
}

func goesOn(t *testing.T, o Observation) {
	t.Helper()
	select {
	case <-o.Done():
		t.Fatal("the observation is over")
	case <-time.After(50 * time.Millisecond):
	}
}

func TestObserverIsToldInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNews()
		c := dial(t, serve(t, loopback(t), n, quick))
		o := c.observe(n)
		last := uint32(1)
		for i := range 5 {
			text := fmt.Sprint("state ", i)
			notify(t, o, text)
			m := c.notified()
			if value := c.value(m); string(m.Payload) != text || value <= last {
				t.Errorf("got %q with Observe %d, want %q with more than %d", m.Payload, value, text, last)
			}
			last = c.value(m)
		}
		c.nothing()
	})
}

func TestObserveOfAnAnswerIsTheTransports(t *testing.T) {
	for _, test := range []struct {
		name   string
		ask    message.Message
		answer message.Message
		begins bool
	}{
		{"accepted", asking(register), told("0"), true},
		{"not asked", request(codes.GET, "/door/state", nil), told("0"), false},
		{"cancelling", asking(deregister), told("0"), false},
		{"a value of a later time", asking(5), told("0"), false},
		{"not accepted", asking(register), message.Message{Code: codes.Content}, false},
		{"an error", asking(register), message.Message{Code: codes.NotFound, Options: message.Options{{ID: message.Observe}}}, false},
		{"of a POST", message.Message{Code: codes.POST, Options: asking(register).Options}, told("0"), false},
		{"of a FETCH", message.Message{Code: fetch, Options: asking(register).Options, Payload: []byte("which")}, told("0"), true},
		{"too long to be sent", asking(register), message.Message{Code: codes.Content, Options: told("").Options, Payload: make([]byte, 1000)}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNews()
				n.answer = test.answer
				e := serve(t, loopback(t), n, quick)
				c := dial(t, e)
				c.sendMessage(confirmable(1, test.ask))
				got := c.receiveMessage()
				if got.Options.HasOption(message.Observe) != test.begins {
					t.Errorf("got %v, want Observe: %v", &got, test.begins)
				}
				select {
				case o := <-n.observed:
					if !test.begins {
						ended(t, o)
					} else {
						goesOn(t, o)
					}
				default:
					if test.begins {
						t.Error("the handler was offered no observation")
					}
				}
				e.mu.Lock()
				defer e.mu.Unlock()
				if got := len(e.observed.all) == 1; got != test.begins {
					t.Errorf("on the list: %v, want %v", got, test.begins)
				}
			})
		})
	}
}

func TestObservationEnds(t *testing.T) {
	again := asking(register)
	for _, test := range []struct {
		name string
		end  func(client, *news, Observation)
	}{
		{"rejected", func(c client, _ *news, o Observation) {
			notify(c.t.(*testing.T), o, "1")
			c.send(encodeEmpty(message.Reset, uint16(c.receiveMessage().MessageID)))
		}},
		{"unanswered", func(c client, _ *news, o Observation) { notify(c.t.(*testing.T), o, "1") }},
		{"cancelled", func(c client, _ *news, _ Observation) {
			m := confirmable(2, asking(deregister))
			m.Token = message.Token{1, 7}
			c.sendMessage(m)
			if got := c.receiveMessage(); got.Code != codes.Content || got.Options.HasOption(message.Observe) {
				c.t.Errorf("got %v, want an ordinary answer", &got)
			}
		}},
		{"registered again", func(c client, n *news, _ Observation) {
			m := confirmable(2, again)
			m.Token = message.Token{1, 7}
			c.sendMessage(m)
			if got := c.value(c.receiveMessage()); got < 2 {
				c.t.Errorf("got Observe %d, want more than before", got)
			}
			o := <-n.observed
			notify(c.t.(*testing.T), o, "to the new one")
			if got := c.notified(); string(got.Payload) != "to the new one" {
				c.t.Errorf("got %v", &got)
			}
		}},
		{"refused when registered again", func(c client, n *news, _ Observation) {
			n.mu.Lock()
			n.answer = message.Message{Code: codes.Forbidden}
			n.mu.Unlock()
			m := confirmable(2, again)
			m.Token = message.Token{1, 7}
			c.sendMessage(m)
			c.receive()
		}},
		{"by an error", func(c client, _ *news, o Observation) {
			if err := o.Notify(c.t.Context(), message.Message{Code: codes.NotFound}); err != nil {
				c.t.Error(err)
			}
			if got := c.notified(); got.Code != codes.NotFound || got.Options.HasOption(message.Observe) {
				c.t.Errorf("got %v, want 4.04 without Observe", &got)
			}
		}},
		{"by a notification without Observe", func(c client, _ *news, o Observation) {
			if err := o.Notify(c.t.Context(), message.Message{Code: codes.Content}); err != nil {
				c.t.Error(err)
			}
			if got := c.notified(); got.Code != codes.Content || got.Options.HasOption(message.Observe) {
				c.t.Errorf("got %v, want 2.05 without Observe", &got)
			}
		}},
		{"by one that fits no datagram", func(c client, _ *news, o Observation) {
			if err := o.Notify(c.t.Context(), told(string(make([]byte, maxDatagram)))); err != nil {
				c.t.Error(err)
			}
			if got := c.notified(); got.Code != codes.InternalServerError {
				c.t.Errorf("got %v, want 5.00", &got)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNews()
				e := serve(t, loopback(t), n, quick)
				c := dial(t, e)
				o := c.observe(n)
				test.end(c, n, o)
				ended(t, o)
			})
		})
	}
}

func TestAnotherPeersTokenEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNews()
		e := serve(t, loopback(t), n, quick)
		c, other := dial(t, e), dial(t, e)
		o := c.observe(n)
		other.sendMessage(confirmable(1, asking(deregister)))
		other.receive()
		m := confirmable(3, asking(deregister)) // token {3, 7}
		c.sendMessage(m)
		c.receive()
		goesOn(t, o)
	})
}

func TestProtectedObservationGivesWayToOSCOREOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNews()
		protected := message.Option{ID: optionOSCORE, Value: []byte{1}}
		n.answer.Options = n.answer.Options.Add(protected)
		e := serve(t, loopback(t), n, quick)
		c := dial(t, e)
		o := c.observe(n)
		n.mu.Lock()
		n.answer.Options = told("").Options
		n.mu.Unlock()
		for id, value := range []uint32{register, deregister} {
			m := confirmable(int32(10+id), asking(value))
			m.Token = message.Token{1, 7}
			c.sendMessage(m)
			if got := c.receiveMessage(); got.Options.HasOption(message.Observe) {
				t.Errorf("unprotected request with Observe %d: got %v", value, &got)
			}
			goesOn(t, o)
		}
		n.mu.Lock()
		n.answer.Options = n.answer.Options.Add(protected)
		n.mu.Unlock()
		m := confirmable(20, asking(deregister))
		m.Token = message.Token{1, 7}
		c.sendMessage(m)
		c.receive()
		ended(t, o)
	})
}

func TestOneNotificationIsUnderWayAndTheNewestFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNews()
		o := quick
		o.AckTimeout = 100 * time.Millisecond
		c := dial(t, serve(t, loopback(t), n, o))
		seen := c.observe(n)
		notify(t, seen, "first")
		c.notified() // no stranger any more
		notify(t, seen, "1")
		first := c.receiveMessage()
		for i := range 20 {
			notify(t, seen, fmt.Sprint("later ", i))
		}
		second := c.receiveMessage() // the repetition
		if string(first.Payload) != "1" || string(second.Payload) != "later 19" || second.MessageID == first.MessageID || c.value(second) <= c.value(first) {
			t.Errorf("got %v %q, then %v %q, want 1 and, as a new message, later 19", &first, first.Payload, &second, second.Payload)
		}
		c.send(encodeEmpty(message.Acknowledgement, uint16(second.MessageID)))
		c.nothing()
		goesOn(t, seen)
	})
}

func TestNotificationsOfOnePeerWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNews()
		o := quick
		o.AckTimeout = time.Second
		c := dial(t, serve(t, loopback(t), n, o))
		first := c.observe(n)
		c.sendMessage(confirmable(2, asking(register)))
		c.receive()
		second := <-n.observed
		notify(t, first, "1")
		m := c.receiveMessage()
		notify(t, second, "2")
		c.nothing()
		c.send(encodeEmpty(message.Acknowledgement, uint16(m.MessageID)))
		if got := c.receiveMessage(); string(got.Payload) != "2" {
			t.Errorf("got %v", &got)
		}
	})
}

func TestNotificationOfTheHandlerItselfFollowsTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := serve(t, loopback(t), HandlerFunc(func(ctx context.Context, r *Request) message.Message {
			if err := r.Observation.Notify(ctx, told("1")); err != nil {
				t.Error(err)
			}
			return told("0")
		}), quick)
		c := dial(t, server)
		c.sendMessage(confirmable(1, asking(register)))
		if got := c.receiveMessage(); string(got.Payload) != "0" {
			t.Errorf("got %v %q, want the answer first", &got, got.Payload)
		}
		if got := c.notified(); string(got.Payload) != "1" {
			t.Errorf("got %v %q, want the notification", &got, got.Payload)
		}
	})
}

func TestObserversAreBounded(t *testing.T) {
	l := newRegistrations()
	add := func(peer, token int, protected bool) *registration {
		g := &registration{key: registrationKey{peerNumber(peer), fmt.Sprint(token)}, done: make(chan struct{})}
		if !l.replace(g.key, g, true, protected) {
			return nil
		}
		if protected {
			l.meet(g)
		}
		return g
	}
	held := add(0, 0, true)
	for token := range 3 * maxObservationsPerPeer {
		if add(0, 1+token, false) == nil {
			t.Fatal("a peer's newest is refused although it has an older one that nobody protects")
		}
	}
	if got := len(l.peers[peerNumber(0)]); got != maxObservationsPerPeer || held.over {
		t.Errorf("got %d of one peer, want %d; protected one over: %v", got, maxObservationsPerPeer, held.over)
	}
	for peer := range 2 * maxObservations {
		add(1+peer, 0, false)
	}
	if got := len(l.all); got != maxObservations || held.over || l.strangers.Len() != maxObservations-1 {
		t.Errorf("got %d, %d of strangers, want %d; protected one over: %v", got, l.strangers.Len(), maxObservations, held.over)
	}
	for peer := range 2 * maxObservations {
		if g := add(1+peer, 1, true); g == nil && l.strangers.Len() > 0 {
			t.Fatal("refused although strangers are there")
		}
	}
	if len(l.all) != maxObservations || l.strangers.Len() != 0 {
		t.Errorf("got %d, %d of strangers, want %d and none", len(l.all), l.strangers.Len(), maxObservations)
	}
	if add(0, 99, false) != nil {
		t.Error("a stranger displaced someone who holds a key")
	}
	for _, g := range l.all {
		l.drop(g)
	}
	if len(l.all) != 0 || len(l.peers) != 0 {
		t.Errorf("left behind: %d observations of %d peers", len(l.all), len(l.peers))
	}
}

func TestCloseEndsObservations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNews()
		e := serve(t, loopback(t), n, quick)
		o := dial(t, e).observe(n)
		_ = e.Close()
		ended(t, o)
	})
}

func TestSequenceNumbersWrapAround(t *testing.T) {
	g := &registration{sequence: 1<<24 - 2}
	var got []uint32
	for range 3 {
		g.advance()
		got = append(got, g.sequence)
	}
	if !slices.Equal(got, []uint32{1<<24 - 1, 0, 1}) {
		t.Errorf("got %v", got)
	}
}

func TestFresher(t *testing.T) {
	const top = 1 << 24
	for _, test := range []struct {
		old, value uint32
		want       bool
	}{
		{1, 2, true}, {2, 1, false}, {5, 5, false},
		{0, top/2 - 1, true}, {0, top / 2, false}, {0, top - 1, false},
		{top - 1, 0, true}, {top - 1, 5, true}, {top / 2, 0, false}, {top/2 + 1, 0, true},
	} {
		if got := fresher(test.old, test.value); got != test.want {
			t.Errorf("%d after %d: got %v, want %v", test.value, test.old, got, test.want)
		}
	}
}
