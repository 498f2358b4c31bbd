package coapsec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// scripted is a server that a test plays itself.
type scripted struct {
	t    *testing.T
	conn socket
	peer netip.AddrPort
}

func (s *scripted) addr() netip.AddrPort { return s.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

func (s *scripted) receive() message.Message {
	s.t.Helper()
	m, ok := s.receiveWithin(2 * time.Second)
	if !ok {
		s.t.Fatal("got no datagram")
	}
	return m
}

func (s *scripted) receiveWithin(d time.Duration) (message.Message, bool) {
	s.t.Helper()
	_ = s.conn.SetReadDeadline(time.Now().Add(d))
	buf := make([]byte, maxReceived)
	n, from, err := s.conn.ReadFromUDPAddrPort(buf)
	if isTimeout(err) {
		return message.Message{}, false
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.peer = from
	return mustDecode(s.t, buf[:n]), true
}

func (s *scripted) send(data []byte) {
	s.t.Helper()
	if _, err := s.conn.WriteToUDPAddrPort(data, s.peer); err != nil {
		s.t.Fatal(err)
	}
}

type outcome struct {
	message message.Message
	err     error
}

// ask starts an exchange with a scripted server.
func ask(t *testing.T, o ExchangeOptions) (*scripted, chan outcome) {
	t.Helper()
	s := &scripted{t: t, conn: loopback(t)}
	x := serve(t, loopback(t), nil, quick).ToWith(s.addr(), o)
	done := make(chan outcome, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
		defer cancel()
		m, err := x.Exchange(ctx, request(codes.GET, "/state", nil))
		done <- outcome{m, err}
	}()
	return s, done
}

func answerTo(m message.Message, kind message.Type, id int32) message.Message {
	return message.Message{Code: codes.Content, Token: m.Token, Type: kind, MessageID: id, Payload: []byte("closed")}
}

func TestRequestIsSentAsOftenAsAllowedWithDoublingPauses(t *testing.T) {
	for _, test := range []struct{ allowed, want int }{{0, 5}, {1, 1}, {2, 2}, {9, 5}} {
		t.Run(fmt.Sprintf("MaxTransmissions %d", test.allowed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, done := ask(t, ExchangeOptions{MaxTransmissions: test.allowed})
				first := s.receive()
				at := []time.Time{time.Now()}
				for again, ok := s.receiveWithin(time.Second); ok; again, ok = s.receiveWithin(time.Second) {
					at = append(at, time.Now())
					if again.MessageID != first.MessageID || !bytes.Equal(again.Token, first.Token) {
						t.Errorf("repetition: got %v, want %v", &again, &first)
					}
				}
				if len(at) != test.want {
					t.Errorf("got %d transmissions, want %d", len(at), test.want)
				}
				for i := 1; i < len(at); i++ { // a quarter off, because the clock runs from reception
					if got, want := at[i].Sub(at[i-1]), quick.AckTimeout<<(i-1)*3/4; got < want {
						t.Errorf("pause %d: got %v, want at least %v", i, got, want)
					}
				}
				if got := <-done; !errors.Is(got.err, ErrNoAnswer) {
					t.Errorf("got %v, want ErrNoAnswer", got.err)
				}
			})
		})
	}
}

func TestAcknowledgementStopsRepetitionAndTheSeparateAnswerComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, done := ask(t, ExchangeOptions{})
		m := s.receive()
		s.send(encodeEmpty(message.Acknowledgement, uint16(m.MessageID)))
		if again, ok := s.receiveWithin(300 * time.Millisecond); ok {
			t.Errorf("after the acknowledgement: got %v, want nothing", again)
		}
		response := mustEncode(t, answerTo(m, message.Confirmable, 77))
		s.send(response)
		if got := <-done; got.err != nil || string(got.message.Payload) != "closed" {
			t.Errorf("got %q, %v, want the answer", got.message.Payload, got.err)
		}
		for range 2 {
			if ack := s.receive(); ack.Type != message.Acknowledgement || ack.MessageID != 77 || ack.Code != codes.Empty {
				t.Errorf("got %v, want an empty acknowledgement of 77", ack)
			}
			s.send(response) // as if the acknowledgement was lost
		}
	})
}

func TestResponseBeforeTheAcknowledgementIsTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, done := ask(t, ExchangeOptions{})
		m := s.receive()
		s.send(mustEncode(t, answerTo(m, message.NonConfirmable, 78)))
		if got := <-done; got.err != nil || string(got.message.Payload) != "closed" {
			t.Errorf("got %q, %v, want the answer", got.message.Payload, got.err)
		}
		if again, ok := s.receiveWithin(200 * time.Millisecond); ok {
			t.Errorf("after the answer: got %v, want nothing", again)
		}
	})
}

func TestResetEndsTheExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, done := ask(t, ExchangeOptions{})
		m := s.receive()
		s.send(encodeEmpty(message.Reset, uint16(m.MessageID)))
		if got := <-done; !errors.Is(got.err, ErrReset) {
			t.Errorf("got %v, want ErrReset", got.err)
		}
	})
}

func TestOnlyTheAnswerIsTheAnswer(t *testing.T) {
	otherToken := func(m message.Message) message.Message {
		m.Token = append(message.Token{m.Token[0] ^ 1}, m.Token[1:]...)
		return m
	}
	for _, test := range []struct {
		name      string
		forge     func(message.Message) message.Message
		elsewhere bool // sent from another address
		reset     bool // rejected aloud
	}{
		{name: "from another address", elsewhere: true, forge: func(m message.Message) message.Message {
			return answerTo(m, message.Acknowledgement, m.MessageID)
		}},
		{name: "confirmable from another address", elsewhere: true, reset: true, forge: func(m message.Message) message.Message {
			return answerTo(m, message.Confirmable, 5)
		}},
		{name: "acknowledging another message", forge: func(m message.Message) message.Message {
			return answerTo(m, message.Acknowledgement, m.MessageID^1)
		}},
		{name: "acknowledgement with another token", forge: func(m message.Message) message.Message {
			return otherToken(answerTo(m, message.Acknowledgement, m.MessageID))
		}},
		{name: "non-confirmable with another token", forge: func(m message.Message) message.Message {
			return otherToken(answerTo(m, message.NonConfirmable, 5))
		}},
		{name: "confirmable with another token", reset: true, forge: func(m message.Message) message.Message {
			return otherToken(answerTo(m, message.Confirmable, 5))
		}},
		{name: "confirmable with a shorter token", reset: true, forge: func(m message.Message) message.Message {
			m = answerTo(m, message.Confirmable, 5)
			m.Token = m.Token[:7]
			return m
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, done := ask(t, ExchangeOptions{MaxTransmissions: 1})
				m := s.receive()
				from := s
				if test.elsewhere {
					from = &scripted{t: t, conn: loopback(t), peer: s.peer}
				}
				forged := test.forge(m)
				forged.Payload = []byte("open")
				from.send(mustEncode(t, forged))
				if test.reset {
					if got := from.receive(); got.Type != message.Reset || got.MessageID != forged.MessageID {
						t.Errorf("got %v, want a reset", got)
					}
				}
				s.send(mustEncode(t, answerTo(m, message.Acknowledgement, m.MessageID)))
				if got := <-done; got.err != nil || string(got.message.Payload) != "closed" {
					t.Errorf("got %q, %v, want the true answer", got.message.Payload, got.err)
				}
			})
		})
	}
}

func TestResponseWithUnknownCriticalOptionIsRejected(t *testing.T) {
	for _, test := range []struct {
		name   string
		kind   message.Type
		option message.Option
		want   error
	}{
		{"unknown, in acknowledgement", message.Acknowledgement, message.Option{ID: 2049}, ErrUnknownOption},
		{"unknown, confirmable", message.Confirmable, message.Option{ID: 2049}, ErrUnknownOption},
		{"known but too long", message.NonConfirmable, message.Option{ID: message.Block2, Value: make([]byte, 4)}, ErrUnknownOption},
		{"meant for requests", message.NonConfirmable, message.Option{ID: message.URIPath}, ErrUnknownOption},
		{"elective", message.Confirmable, message.Option{ID: 2048}, nil},
		{"OSCORE", message.Confirmable, message.Option{ID: optionOSCORE}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, done := ask(t, ExchangeOptions{})
				m := s.receive()
				response := answerTo(m, test.kind, m.MessageID)
				response.Options = message.Options{test.option}
				s.send(mustEncode(t, response))
				if got := <-done; !errors.Is(got.err, test.want) {
					t.Errorf("got %v, want %v", got.err, test.want)
				}
				if test.kind == message.Confirmable {
					want := message.Acknowledgement
					if test.want != nil {
						want = message.Reset
					}
					if got := s.receive(); got.Type != want {
						t.Errorf("got %v, want %v", got, want)
					}
				}
			})
		})
	}
}

func TestContextAndCloseEndAnExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := loopback(t)
		e := serve(t, loopback(t), nil, EndpointOptions{})
		x := e.To(silent.LocalAddr().(*net.UDPAddr).AddrPort())
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		if _, err := x.Exchange(ctx, request(codes.GET, "/a", nil)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the context's error", err)
		}
		time.AfterFunc(30*time.Millisecond, func() { _ = e.Close() })
		if _, err := x.Exchange(t.Context(), request(codes.GET, "/a", nil)); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
		if len(e.pending) != 0 || len(e.flights) != 0 {
			t.Errorf("left behind: %d exchanges, %d flights", len(e.pending), len(e.flights))
		}
	})
}

func TestRequestThatFitsNoDatagramIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent atomic.Int32
		o := quick
		o.Tap = func(string, netip.AddrPort, []byte) { sent.Add(1) }
		x := serve(t, loopback(t), nil, o).To(netip.MustParseAddrPort("127.0.0.1:9"))
		if _, err := x.Exchange(t.Context(), request(codes.POST, "/a", make([]byte, maxDatagram))); !errors.Is(err, errTooLarge) {
			t.Errorf("got %v, want errTooLarge", err)
		}
		if sent.Load() != 0 {
			t.Error("a datagram was sent")
		}
	})
}

func TestMessageIDsOfOnePeerDoNotRepeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := NewEndpoint(loopback(t), nil, EndpointOptions{})
		a := netip.MustParseAddrPort("192.0.2.1:5683")
		seen := map[uint16]bool{}
		for range 1 << 16 {
			id := e.nextMessageID(a)
			if seen[id] {
				t.Fatalf("%d came twice", id)
			}
			seen[id] = true
		}
		f := e.takeOff(a)
		for range 1<<16 - 1 {
			e.nextMessageID(a)
		}
		if g := e.takeOff(a); g.key == f.key {
			t.Error("two messages under way have one Message-ID")
		}
	})
}

func TestTokenWithoutRandomnessIsNotMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := quick
		o.Rand = bytes.NewReader(nil)
		x := serve(t, loopback(t), nil, o).To(netip.MustParseAddrPort("127.0.0.1:9"))
		if _, err := x.Exchange(t.Context(), request(codes.GET, "/a", nil)); err == nil {
			t.Error("got no error, want one")
		}
	})
}
