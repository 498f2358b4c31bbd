package coapsec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// quick makes retransmissions fast enough for tests.
var quick = EndpointOptions{AckTimeout: 40 * time.Millisecond, AckDelay: 20 * time.Millisecond}

// serve runs an endpoint until the test ends.
func serve(t testing.TB, conn net.PacketConn, h Handler, o EndpointOptions) *Endpoint {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	e := NewEndpoint(conn, h, o)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- e.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: got %v, want nil", err)
		}
	})
	return e
}

func request(code codes.Code, path string, payload []byte) message.Message {
	return NewRequest(code, path, NoFormat, payload)
}

// parrot answers with what it got.
func parrot(_ context.Context, r *Request) message.Message {
	path, _ := r.Path()
	return message.Message{Code: codes.Changed, Payload: append([]byte(path+" "), r.Payload...)}
}

// client is a peer that sends exactly what it is told.
type client struct {
	t      testing.TB
	conn   socket
	server netip.AddrPort
}

func dial(t testing.TB, e *Endpoint) client {
	t.Helper()
	return client{t, loopback(t), e.LocalAddr()}
}

func (c client) send(data []byte) {
	c.t.Helper()
	if _, err := c.conn.WriteToUDPAddrPort(data, c.server); err != nil {
		c.t.Fatal(err)
	}
}

func (c client) sendMessage(m message.Message) []byte {
	c.t.Helper()
	data := mustEncode(c.t, m)
	c.send(data)
	return data
}

// receive waits for one datagram.
func (c client) receive() []byte {
	c.t.Helper()
	data := c.receiveWithin(2 * time.Second)
	if data == nil {
		c.t.Fatal("got no datagram")
	}
	return data
}

// receiveWithin returns nil when nothing came.
func (c client) receiveWithin(d time.Duration) []byte {
	c.t.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(d)); err != nil {
		c.t.Fatal(err)
	}
	buf := make([]byte, maxReceived)
	n, _, err := c.conn.ReadFromUDPAddrPort(buf)
	if errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		return nil
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return buf[:n]
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

func (c client) receiveMessage() message.Message {
	c.t.Helper()
	return mustDecode(c.t, c.receive())
}

// nothing fails if anything comes within a short while.
func (c client) nothing() {
	c.t.Helper()
	if data := c.receiveWithin(80 * time.Millisecond); data != nil {
		c.t.Errorf("got datagram %x, want none", data)
	}
}

// settled makes sure that everything sent before was taken: the endpoint answers pings in order of arrival.
func (c client) settled(id uint16) {
	c.t.Helper()
	c.send(encodeEmpty(message.Confirmable, id))
	want := encodeEmpty(message.Reset, id)
	if got := c.receive(); !bytes.Equal(got, want) {
		c.t.Errorf("answer to ping: got %x, want %x", got, want)
	}
}

func mustEncode(t testing.TB, m message.Message) []byte {
	t.Helper()
	data, err := encodeDatagram(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func mustDecode(t testing.TB, data []byte) message.Message {
	t.Helper()
	m, err := decodeDatagram(data)
	if err != nil {
		t.Fatalf("decode %x: %v", data, err)
	}
	return m
}

func confirmable(id int32, m message.Message) message.Message {
	m.Type, m.MessageID, m.Token = message.Confirmable, id, message.Token{byte(id), 7}
	return m
}

func nonConfirmable(id int32, m message.Message) message.Message {
	m = confirmable(id, m)
	m.Type = message.NonConfirmable
	return m
}

func TestExchangeIsAnsweredInTheAcknowledgement(t *testing.T) {
	var datagrams atomic.Int32
	o := EndpointOptions{Tap: func(string, netip.AddrPort, []byte) { datagrams.Add(1) }}
	server := serve(t, udp(t), HandlerFunc(parrot), EndpointOptions{})
	x := serve(t, udp(t), nil, o).To(server.LocalAddr())
	got, err := x.Exchange(t.Context(), request(codes.POST, "/door/unlock", []byte("now")))
	if err != nil {
		t.Fatal(err)
	}
	if got.Code != codes.Changed || string(got.Payload) != "/door/unlock now" {
		t.Errorf("got %v %q, want 2.04 %q", got.Code, got.Payload, "/door/unlock now")
	}
	if n := datagrams.Load(); n != 2 {
		t.Errorf("got %d datagrams, want 2", n)
	}
}

func TestBothRolesShareOneSocket(t *testing.T) {
	lock := serve(t, udp(t), HandlerFunc(parrot), quick)
	var asker atomic.Value
	server := serve(t, udp(t), HandlerFunc(func(ctx context.Context, r *Request) message.Message {
		asker.Store(r.Peer.Address)
		return parrot(ctx, r)
	}), quick)
	if _, err := lock.To(server.LocalAddr()).Exchange(t.Context(), request(codes.POST, "/register", nil)); err != nil {
		t.Fatal(err)
	}
	if got, want := asker.Load(), lock.LocalAddr().String(); got != want {
		t.Errorf("peer address: got %v, want %v", got, want)
	}
	back := netip.MustParseAddrPort(asker.Load().(string))
	if _, err := server.To(back).Exchange(t.Context(), request(codes.POST, "/authz-info", nil)); err != nil {
		t.Errorf("request through the address the peer asked from: %v", err)
	}
}

func slowly(d time.Duration) HandlerFunc {
	return func(ctx context.Context, r *Request) message.Message {
		time.Sleep(d)
		return parrot(ctx, r)
	}
}

func TestSlowHandlerAnswersSeparately(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := serve(t, loopback(t), slowly(150*time.Millisecond), quick)
		x := serve(t, loopback(t), nil, quick).To(server.LocalAddr())
		got, err := x.Exchange(t.Context(), request(codes.POST, "/slow", []byte("x")))
		if err != nil || string(got.Payload) != "/slow x" {
			t.Errorf("got %q, %v, want %q", got.Payload, err, "/slow x")
		}
	})
}

func TestSeparateResponseIsRepeatedUntilAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := serve(t, loopback(t), slowly(60*time.Millisecond), quick)
		c := dial(t, server)
		sent := c.sendMessage(confirmable(1, request(codes.POST, "/slow", bytes.Repeat([]byte("x"), 40))))
		empty := encodeEmpty(message.Acknowledgement, 1)
		if got := c.receive(); !bytes.Equal(got, empty) {
			t.Fatalf("first datagram: got %x, want empty acknowledgement %x", got, empty)
		}
		first := c.receive()
		m := mustDecode(t, first)
		if m.Type != message.Confirmable || m.Code != codes.Changed || !bytes.Equal(m.Token, []byte{1, 7}) {
			t.Fatalf("separate response: got %v", m)
		}
		if again := c.receive(); !bytes.Equal(again, first) {
			t.Errorf("repetition: got %x, want %x", again, first)
		}
		c.send(encodeEmpty(message.Acknowledgement, uint16(m.MessageID)))
		c.settled(9)
		if got := c.receiveWithin(500 * time.Millisecond); got != nil {
			t.Errorf("after the acknowledgement: got %x, want nothing", got)
		}
		c.send(sent)
		if got := c.receive(); !bytes.Equal(got, empty) {
			t.Errorf("duplicate request: got %x, want empty acknowledgement", got)
		}
	})
}

func TestSeparateResponsesToAnUnknownAddressDoNotAmplify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out atomic.Int64
		o := quick
		o.AckTimeout = 5 * time.Millisecond
		o.Tap = func(direction string, _ netip.AddrPort, data []byte) {
			if direction == "out" {
				out.Add(int64(len(data)))
			}
		}
		server := serve(t, loopback(t), slowly(60*time.Millisecond), o)
		c := dial(t, server)
		sent := c.sendMessage(confirmable(1, request(codes.POST, "/slow", bytes.Repeat([]byte("x"), 40))))
		time.Sleep(600 * time.Millisecond) // five transmissions would take 165 to 233 ms
		if got, limit := out.Load(), int64(3*len(sent)); got > limit || got == 0 {
			t.Errorf("got %d bytes sent to an address that may be another's, want 1 to %d", got, limit)
		}
	})
}

// lossyConn loses datagrams in both directions.
type lossyConn struct {
	net.PacketConn
	mu   sync.Mutex
	loss float64
	rand *rand.Rand
	lost atomic.Int32
}

func (c *lossyConn) loses() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	lost := c.rand.Float64() < c.loss
	if lost {
		c.lost.Add(1)
	}
	return lost
}

func (c *lossyConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.PacketConn.ReadFrom(b)
		if err != nil || !c.loses() {
			return n, from, err
		}
	}
}

func (c *lossyConn) WriteTo(b []byte, to net.Addr) (int, error) {
	if c.loses() {
		return len(b), nil
	}
	return c.PacketConn.WriteTo(b, to)
}

func TestLossIsMendedAndNothingRunsTwice(t *testing.T) {
	for _, test := range []struct {
		name    string
		handler func(context.Context, *Request) message.Message
	}{{"answered at once", parrot}, {"answered late", slowly(50 * time.Millisecond)}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				runs := map[string]int{}
				var mu sync.Mutex
				server := serve(t, loopback(t), HandlerFunc(func(ctx context.Context, r *Request) message.Message {
					mu.Lock()
					runs[string(r.Payload)]++
					mu.Unlock()
					return test.handler(ctx, r)
				}), quick)
				lossy := &lossyConn{PacketConn: loopback(t), loss: 0.3, rand: rand.New(rand.NewPCG(1, 2))}
				x := serve(t, lossy, nil, quick).To(server.LocalAddr())
				answered := 0
				for i := range 20 {
					payload := fmt.Sprintf("request %02d, long enough for repetitions", i)
					ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
					got, err := x.Exchange(ctx, request(codes.POST, "/door", []byte(payload)))
					cancel()
					switch {
					case err == nil && string(got.Payload) != "/door "+payload:
						t.Errorf("answer: got %q, want that to %q", got.Payload, payload)
					case err == nil:
						answered++
					case !errors.Is(err, ErrNoAnswer) && !errors.Is(err, context.DeadlineExceeded):
						t.Error(err)
					}
				}
				mu.Lock()
				defer mu.Unlock()
				for payload, n := range runs {
					if n != 1 {
						t.Errorf("%q ran %d times, want once", payload, n)
					}
				}
				if answered < 17 || lossy.lost.Load() == 0 {
					t.Errorf("got %d of 20 answered with %d datagrams lost", answered, lossy.lost.Load())
				}
			})
		})
	}
}

func TestDuplicateGetsTheSameBytesAndDoesNotRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int32
		started := make(chan struct{}, 8)
		release := make(chan struct{})
		o := quick
		o.AckDelay = time.Hour
		server := serve(t, loopback(t), HandlerFunc(func(_ context.Context, r *Request) message.Message {
			n := runs.Add(1)
			started <- struct{}{}
			<-release
			return message.Message{Code: codes.Changed, Payload: fmt.Append(nil, n)}
		}), o)
		c := dial(t, server)
		sent := c.sendMessage(confirmable(5, request(codes.POST, "/door", nil)))
		<-started
		c.send(sent)
		c.settled(1000)
		close(release)
		first := c.receive()
		c.nothing()
		for range 3 {
			c.send(sent)
			if got := c.receive(); !bytes.Equal(got, first) {
				t.Errorf("answer to duplicate: got %x, want %x", got, first)
			}
		}
		other := dial(t, server)
		other.send(sent)
		if got := other.receiveMessage(); string(got.Payload) != "2" {
			t.Errorf("the same Message-ID from another address: got run %q, want 2", got.Payload)
		}
		if got := runs.Load(); got != 2 {
			t.Errorf("got %d runs, want 2", got)
		}
	})
}

func TestStoredAnswerIsNotGivenForAShorterDatagram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := serve(t, loopback(t), HandlerFunc(parrot), quick)
		c := dial(t, server)
		c.sendMessage(confirmable(5, request(codes.POST, "/door", bytes.Repeat([]byte{1}, 400))))
		c.receive()
		for range 2 {
			sent := c.sendMessage(confirmable(5, message.Message{Code: codes.GET}))
			if got := c.receive(); len(got) > maxAmplification*len(sent) || mustDecode(t, got).Code != codes.Changed {
				t.Errorf("got %x, want an answer of its own", got)
			}
		}
	})
}

func TestNonConfirmableRequestIsAnsweredSoAndOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int32
		server := serve(t, loopback(t), HandlerFunc(func(ctx context.Context, r *Request) message.Message {
			runs.Add(1)
			return parrot(ctx, r)
		}), quick)
		c := dial(t, server)
		sent := c.sendMessage(nonConfirmable(6, request(codes.POST, "/a", nil)))
		got := c.receiveMessage()
		if got.Type != message.NonConfirmable || got.Code != codes.Changed || !bytes.Equal(got.Token, []byte{6, 7}) {
			t.Errorf("got %v, want a non-confirmable 2.04 with the request's token", got)
		}
		c.send(sent)
		c.nothing()
		if got := runs.Load(); got != 1 {
			t.Errorf("got %d runs, want 1", got)
		}
	})
}

func TestPanicConcernsOnlyItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		o := quick
		o.Log = slog.New(slog.NewTextHandler(&log, nil))
		server := NewEndpoint(loopback(t), HandlerFunc(func(ctx context.Context, r *Request) message.Message {
			if len(r.Payload) == 0 {
				panic("no payload")
			}
			return parrot(ctx, r)
		}), o)
		done := make(chan error)
		go func() { done <- server.Serve(t.Context()) }()
		x := serve(t, loopback(t), nil, quick).To(server.LocalAddr())
		if got, err := x.Exchange(t.Context(), request(codes.POST, "/a", nil)); err != nil || got.Code != codes.InternalServerError {
			t.Errorf("got %v, %v, want 5.00", got.Code, err)
		}
		if got, err := x.Exchange(t.Context(), request(codes.POST, "/a", []byte("x"))); err != nil || got.Code != codes.Changed {
			t.Errorf("next request: got %v, %v, want 2.04", got.Code, err)
		}
		_ = server.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if !strings.Contains(log.String(), "no payload") {
			t.Errorf("log: got %q, want the panic", log.String())
		}
	})
}

func TestExcessRequestsAreDroppedAndLaterServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var running, most atomic.Int32
		o := quick
		o.AckDelay = time.Hour
		server := serve(t, loopback(t), HandlerFunc(func(context.Context, *Request) message.Message {
			n := running.Add(1)
			defer running.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			<-release
			return message.Message{Code: codes.Changed}
		}), o)
		c := dial(t, server)
		for i := range int32(maxRunningPerPeer + 10) {
			c.sendMessage(confirmable(i, request(codes.POST, "/a", nil)))
		}
		c.settled(1000)
		other := dial(t, server)
		other.sendMessage(confirmable(1, request(codes.POST, "/a", nil)))
		other.settled(1000)
		close(release)
		for range maxRunningPerPeer {
			c.receive()
		}
		c.nothing()
		if got := other.receiveMessage().Code; got != codes.Changed {
			t.Errorf("another peer: got %v, want 2.04", got)
		}
		if got := most.Load(); got > maxRunningPerPeer+1 {
			t.Errorf("got %d handlers at once, want at most %d", got, maxRunningPerPeer+1)
		}
		c.sendMessage(confirmable(maxRunningPerPeer+5, request(codes.POST, "/a", nil)))
		if got := c.receiveMessage().Code; got != codes.Changed {
			t.Errorf("dropped request sent again: got %v, want 2.04", got)
		}
	})
}
