package coapsec

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

var errSawEnough = errors.New("enough")

// watching is an Observe under way against a scripted server.
type watching struct {
	*scripted
	first  message.Message // the registration
	cancel context.CancelFunc
	told   chan string
	done   chan error
}

// observeScripted starts an observation and takes its request. What each gets is told; "stop" makes it stop.
func observeScripted(t *testing.T, request message.Message) *watching {
	t.Helper()
	w := &watching{scripted: &scripted{t: t, conn: loopback(t)}, told: make(chan string, 100), done: make(chan error, 1)}
	x := serve(t, loopback(t), nil, quick).To(w.addr()).(Observer)
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	t.Cleanup(cancel)
	go func() {
		w.done <- x.Observe(ctx, request, func(m message.Message) error {
			w.told <- string(m.Payload)
			if string(m.Payload) == "stop" {
				return errSawEnough
			}
			return nil
		})
	}()
	w.first = w.receive()
	if value, ok := observeOf(w.first.Options); !ok || value != register || w.first.Type != message.Confirmable {
		t.Fatalf("got %v, want a confirmable registration", &w.first)
	}
	return w
}

// notification is one with the token of the registration.
func (w *watching) notification(kind message.Type, id int32, value uint32, text string) message.Message {
	m := answerTo(w.first, kind, id)
	m.Options, m.Payload = withObserve(m.Options, value), []byte(text)
	return m
}

func (w *watching) sendMessage(m message.Message) {
	w.t.Helper()
	w.send(mustEncode(w.t, m))
}

// accept answers the registration.
func (w *watching) accept(value uint32) {
	w.t.Helper()
	w.sendMessage(w.notification(message.Acknowledgement, w.first.MessageID, value, "first"))
	w.hears("first")
}

func (w *watching) hears(want string) {
	w.t.Helper()
	select {
	case got := <-w.told:
		if got != want {
			w.t.Errorf("got %q, want %q", got, want)
		}
	case <-time.After(2 * time.Second):
		w.t.Fatalf("got nothing, want %q", want)
	}
}

func (w *watching) acknowledged(id int32) {
	w.t.Helper()
	if got := w.receive(); got.Type != message.Acknowledgement || got.Code != codes.Empty || got.MessageID != id {
		w.t.Errorf("got %v, want an empty acknowledgement of %d", &got, id)
	}
}

func (w *watching) isOver(want error) {
	w.t.Helper()
	select {
	case err := <-w.done:
		if !errors.Is(err, want) {
			w.t.Errorf("Observe: got %v, want %v", err, want)
		}
	case <-time.After(2 * time.Second):
		w.t.Fatal("Observe goes on")
	}
	if n := len(w.told); n > 0 {
		w.t.Errorf("%d more were told: %q", n, <-w.told)
	}
}

func TestNotificationsAreToldOnceAndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := observeScripted(t, request(codes.GET, "/state", nil))
		w.accept(10)
		w.sendMessage(w.notification(message.NonConfirmable, 1, 12, "twelve"))
		w.hears("twelve")
		w.sendMessage(w.notification(message.NonConfirmable, 2, 11, "eleven, late"))
		w.sendMessage(w.notification(message.NonConfirmable, 3, 12, "twelve again"))
		w.sendMessage(w.notification(message.Confirmable, 4, 11, "eleven, late and confirmable"))
		w.acknowledged(4)
		w.sendMessage(w.notification(message.Confirmable, 5, 13, "thirteen"))
		w.acknowledged(5)
		w.sendMessage(w.notification(message.Confirmable, 5, 13, "thirteen"))
		w.acknowledged(5)
		w.sendMessage(w.notification(message.NonConfirmable, 6, 1<<23+12, "far ahead"))
		w.sendMessage(w.notification(message.NonConfirmable, 7, 1<<23+13, "further than that: from the past"))
		w.sendMessage(w.notification(message.NonConfirmable, 8, 14, "from the past as well"))
		w.sendMessage(w.notification(message.NonConfirmable, 9, 5, "round the corner"))
		for _, want := range []string{"thirteen", "far ahead", "further than that: from the past", "round the corner"} {
			w.hears(want)
		}
		w.cancel()
		w.isOver(context.Canceled)
	})
}

func TestProtectedNotificationsAreNotOrderedByTheTransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := observeScripted(t, request(codes.GET, "/state", nil))
		w.accept(10)
		protected := func(id int32, value uint32, text string) message.Message {
			m := w.notification(message.NonConfirmable, id, value, text)
			m.Options = m.Options.Add(message.Option{ID: optionOSCORE})
			return m
		}
		w.sendMessage(protected(1, 9, "outer value too small"))
		w.sendMessage(protected(2, 1<<23+100, "forged outer value"))
		w.sendMessage(protected(3, 11, "after that"))
		for _, want := range []string{"outer value too small", "forged outer value", "after that"} {
			w.hears(want)
		}
	})
}

func TestOldValueCountsAgainAfter128Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watch{more: make(chan struct{}, 1)}
		answer := result{message: message.Message{Code: codes.Content, Options: withObserve(nil, 100)}}
		old := result{message: message.Message{Code: codes.Content, Options: withObserve(nil, 3)}}
		w.take(answer, epoch)
		w.take(old, epoch.Add(maxReordering))
		if len(w.results) != 1 {
			t.Errorf("got %d, want the older one left out", len(w.results))
		}
		w.take(old, epoch.Add(maxReordering+time.Second))
		if len(w.results) != 2 {
			t.Errorf("got %d, want the one of a server that began anew", len(w.results))
		}
	})
}

func TestSlowReceiverGetsTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watch{more: make(chan struct{}, 1)}
		for i := range uint32(100) {
			w.take(result{message: message.Message{Code: codes.Content, Options: withObserve(nil, i), MessageID: int32(i)}}, epoch)
		}
		if len(w.results) != maxQueued || w.results[maxQueued-1].message.MessageID != 99 || w.results[0].message.MessageID != 100-maxQueued {
			t.Errorf("got %d from %d to %d", len(w.results), w.results[0].message.MessageID, w.results[len(w.results)-1].message.MessageID)
		}
	})
}

func TestServerEndsObserve(t *testing.T) {
	for _, test := range []struct {
		name string
		last message.Message
		told bool
		want error
	}{
		{"with an answer without Observe", message.Message{Code: codes.Content, Payload: []byte("x")}, true, nil},
		{"with an error", message.Message{Code: codes.NotFound, Payload: []byte("x")}, true, nil},
		{"with an error that says Observe", message.Message{Code: codes.NotFound, Options: withObserve(nil, 99), Payload: []byte("x")}, true, nil},
		{"with a critical option unknown here", message.Message{Code: codes.Content, Options: message.Options{{ID: 2049}}}, false, ErrUnknownOption},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := observeScripted(t, request(codes.GET, "/state", nil))
				w.accept(1)
				test.last.Type, test.last.MessageID, test.last.Token = message.Confirmable, 7, w.first.Token
				w.sendMessage(test.last)
				if test.told {
					w.hears("x")
					w.acknowledged(7)
				} else if got := w.receive(); got.Type != message.Reset {
					t.Errorf("got %v, want a reset", &got)
				}
				w.isOver(test.want)
				if got, ok := w.receiveWithin(100 * time.Millisecond); ok {
					t.Errorf("got %v, want nothing: there is nothing to cancel", &got)
				}
			})
		})
	}
}

func TestServerThatDoesNotObserveAnswersOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := observeScripted(t, request(codes.GET, "/state", nil))
		w.sendMessage(answerTo(w.first, message.Acknowledgement, w.first.MessageID))
		w.hears("closed")
		w.isOver(nil)
	})
}

func TestRegistrationThatFails(t *testing.T) {
	t.Run("rejected", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := observeScripted(t, request(codes.GET, "/state", nil))
			w.send(encodeEmpty(message.Reset, uint16(w.first.MessageID)))
			w.isOver(ErrReset)
		})
	})
	t.Run("unanswered", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { observeScripted(t, request(codes.GET, "/state", nil)).isOver(ErrNoAnswer) })
	})
}

func TestLeavingCancels(t *testing.T) {
	for _, test := range []struct {
		name  string
		leave func(*watching)
		want  error
	}{
		{"when the context ends", func(w *watching) { w.cancel() }, context.Canceled},
		{"when each has enough", func(w *watching) {
			w.sendMessage(w.notification(message.NonConfirmable, 1, 9, "stop"))
			w.hears("stop")
		}, errSawEnough},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ask := request(codes.GET, "/state", nil)
				ask.Options = ask.Options.Add(message.Option{ID: message.ETag, Value: []byte{1}})
				w := observeScripted(t, ask)
				w.accept(1)
				test.leave(w)
				w.isOver(test.want)
				m := w.receive()
				want := without(w.first.Options, message.ETag)
				value, _ := observeOf(m.Options)
				if value != deregister || !slices.EqualFunc(without(m.Options, message.Observe), without(want, message.Observe), sameOption) ||
					string(m.Token) != string(w.first.Token) || m.Code != codes.GET {
					t.Errorf("got %v, want the registration with Observe 1 and without ETag", &m)
				}
				w.sendMessage(answerTo(m, message.Acknowledgement, m.MessageID))
				w.sendMessage(w.notification(message.NonConfirmable, 50, 10, "late"))
				if got := w.receive(); got.Type != message.Reset || got.MessageID != 50 {
					t.Errorf("late notification: got %v, want a reset", &got)
				}
			})
		})
	}
}

func TestProtectedObservationIsLeftByReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ask := request(codes.GET, "/state", nil)
		ask.Options = ask.Options.Add(message.Option{ID: optionOSCORE, Value: []byte{1}})
		w := observeScripted(t, ask)
		w.accept(1)
		w.cancel()
		w.isOver(context.Canceled)
		if got, ok := w.receiveWithin(100 * time.Millisecond); ok {
			t.Errorf("got %v, want nothing: it could not be protected", &got)
		}
		for id, kind := range []message.Type{message.Confirmable, message.NonConfirmable} {
			w.sendMessage(w.notification(kind, int32(id), 5, "late"))
			if got := w.receive(); got.Type != message.Reset || got.MessageID != int32(id) {
				t.Errorf("got %v, want a reset of %d", &got, id)
			}
		}
	})
}

func TestEndpointsCloseEndsObserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{t: t, conn: loopback(t)}
		e := serve(t, loopback(t), nil, quick)
		done := make(chan error, 1)
		go func() {
			done <- e.To(s.addr()).(Observer).Observe(context.Background(), request(codes.GET, "/a", nil), func(message.Message) error { return nil })
		}()
		m := s.receive()
		s.send(mustEncode(t, answerTo(m, message.NonConfirmable, 1)))
		<-done
		go func() {
			done <- e.To(s.addr()).(Observer).Observe(context.Background(), request(codes.GET, "/a", nil), func(message.Message) error { return nil })
		}()
		m = s.receive()
		m.Options = withObserve(nil, 1)
		accepted := answerTo(m, message.Acknowledgement, m.MessageID)
		accepted.Options = m.Options
		s.send(mustEncode(t, accepted))
		time.Sleep(20 * time.Millisecond)
		_ = e.Close()
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		if len(e.pending) != 0 || len(e.flights) != 0 || len(e.turns) != 0 {
			t.Errorf("left behind: %d exchanges, %d flights, %d turns", len(e.pending), len(e.flights), len(e.turns))
		}
	})
}

// thirdLost loses every third datagram of both directions together, so that of two transmissions one succeeds.
type thirdLost struct {
	net.PacketConn
	seen atomic.Int32
}

func (c *thirdLost) loses() bool { return c.seen.Add(1)%3 == 0 }

func (c *thirdLost) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.PacketConn.ReadFrom(b)
		if err != nil || !c.loses() {
			return n, from, err
		}
	}
}

func (c *thirdLost) WriteTo(b []byte, to net.Addr) (int, error) {
	if c.loses() {
		return len(b), nil
	}
	return c.PacketConn.WriteTo(b, to)
}

// TestObserverArrivesAtTheLastState loses a third of all datagrams: what the client knows in the end is what is.
func TestObserverArrivesAtTheLastState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNews()
		o := quick
		o.AckTimeout = 15 * time.Millisecond
		server := serve(t, loopback(t), n, o)
		lossy := &thirdLost{PacketConn: loopback(t)}
		x := serve(t, lossy, nil, o).To(server.LocalAddr()).(Observer)
		var last atomic.Int64
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() {
			done <- x.Observe(ctx, request(codes.GET, "/door/state", nil), func(m message.Message) error {
				var value int64
				_, _ = fmt.Sscan(string(m.Payload), &value)
				if before := last.Swap(value); value < before {
					t.Errorf("told %d after %d", value, before)
				}
				return nil
			})
		}()
		seen := <-n.observed
		const states = 200
		for i := range states {
			if err := seen.Notify(ctx, told(fmt.Sprint(i+1))); err != nil {
				t.Fatalf("notification %d: %v", i, err)
			}
			time.Sleep(time.Millisecond)
		}
		for wait := time.Now(); last.Load() != states && time.Since(wait) < 5*time.Second; {
			time.Sleep(5 * time.Millisecond)
		}
		if last.Load() != states || lossy.seen.Load() < 6 {
			t.Errorf("the client knows state %d of %d after %d datagrams", last.Load(), states, lossy.seen.Load())
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		select {
		case <-seen.Done():
		case <-time.After(5 * time.Second):
			t.Error("the server goes on after the client has left")
		}
	})
}
