package coapsec

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// TestCloseLeavesNothingRunning closes an endpoint with everything under way that it can do; a goroutine that stayed would
// keep the bubble from ending.
func TestCloseLeavesNothingRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNews()
		handler := HandlerFunc(func(ctx context.Context, r *Request) message.Message {
			switch path, _ := r.Path(); path {
			case "/waits":
				<-ctx.Done()
			case "/slow":
				time.Sleep(2 * defaultAckDelay)
			case "/door/state":
				return n.ServeCoAP(ctx, r)
			}
			return message.Message{Code: codes.Changed, Payload: []byte("ok")}
		})
		e := serve(t, loopback(t), handler, EndpointOptions{})
		c := dial(t, e)
		o := c.observe(n)
		c.sendMessage(confirmable(10, request(codes.POST, "/waits", nil)))
		c.sendMessage(confirmable(11, request(codes.POST, "/slow", body(40))))
		time.Sleep(3 * defaultAckDelay) // its answer is being repeated by now
		notify(t, o, "not acknowledged")
		dead, silent := loopback(t), &scripted{t: t, conn: loopback(t)}
		outcomes := make(chan error, 4)
		exchange := func(to *scripted) {
			_, err := e.To(to.addr()).Exchange(context.Background(), request(codes.GET, "/", nil))
			outcomes <- err
		}
		go exchange(&scripted{t: t, conn: dead})
		synctest.Wait()
		go exchange(&scripted{t: t, conn: dead}) // waits for its turn
		go exchange(silent)
		m := silent.receive()
		silent.send(encodeEmpty(message.Acknowledgement, uint16(m.MessageID)))
		synctest.Wait()
		ctx, leave := context.WithCancel(context.Background())
		go func() {
			outcomes <- e.To(silent.addr()).(Observer).Observe(ctx, request(codes.GET, "/", nil), func(message.Message) error { return nil })
		}()
		m = silent.receive()
		silent.send(encodeEmpty(message.Acknowledgement, uint16(m.MessageID)))
		synctest.Wait()
		leave() // and cancels in the background
		if err := <-outcomes; !errors.Is(err, context.Canceled) {
			t.Errorf("Observe: got %v", err)
		}
		synctest.Wait()
		_ = e.Close()
		synctest.Wait()
		for range 3 {
			if err := <-outcomes; !errors.Is(err, ErrClosed) {
				t.Errorf("got %v, want ErrClosed", err)
			}
		}
		ended(t, o)
		e.mu.Lock()
		defer e.mu.Unlock()
		if len(e.pending)+len(e.flights)+len(e.turns)+len(e.observed.all)+e.separate+e.duplicates.running != 0 {
			t.Errorf("left behind: %d exchanges, %d flights, %d turns, %d observations, %d separate answers, %d running",
				len(e.pending), len(e.flights), len(e.turns), len(e.observed.all), e.separate, e.duplicates.running)
		}
	})
}

func TestObservationOfAClosedEndpointIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNews()
		var e *Endpoint
		e = serve(t, loopback(t), HandlerFunc(func(ctx context.Context, r *Request) message.Message {
			_ = e.Close()
			return n.ServeCoAP(ctx, r)
		}), EndpointOptions{})
		dial(t, e).sendMessage(confirmable(1, asking(register)))
		ended(t, <-n.observed)
	})
}

func TestExchangesUnderWayAreBounded(t *testing.T) {
	e := NewEndpoint(&sink{}, nil, EndpointOptions{})
	defer func() { _ = e.Close() }()
	var all []*exchange
	for n := range maxPending {
		x, err := e.open(peerNumber(n), nil)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, x)
	}
	if _, err := e.To(peerNumber(0)).Exchange(t.Context(), get("/")); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v, want ErrBusy", err)
	}
	for _, x := range all {
		e.abandon(x)
	}
	if len(e.pending)+len(e.flights)+len(e.turns) != 0 {
		t.Errorf("left behind: %d exchanges, %d flights, %d turns", len(e.pending), len(e.flights), len(e.turns))
	}
}

// TestSeparateAnswersBeingRepeatedAreBounded: those beyond go out once.
func TestSeparateAnswersBeingRepeatedAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent atomic.Int32
		e := NewEndpoint(&sink{}, slowly(2*defaultAckDelay), EndpointOptions{})
		e.conn = &tapped{sent: func(data []byte) {
			if message.Type(data[0]>>4&3) == message.Confirmable {
				sent.Add(1)
			}
		}}
		const requests = maxSeparate + 50
		for n := range requests {
			e.receive(t.Context(), peerNumber(n), mustEncode(t, confirmable(1, request(codes.POST, "/slow", body(200)))))
		}
		time.Sleep(5 * time.Minute)
		const often = maxAmplification - 1 // may be sent of an answer that is as long as its request, beside the acknowledgement
		if got := int(sent.Load()); got != maxSeparate*often+requests-maxSeparate {
			t.Errorf("got %d messages", got)
		}
		_ = e.Close()
		e.work.Wait()
		if e.separate+len(e.flights) != 0 {
			t.Errorf("left behind: %d, %d flights", e.separate, len(e.flights))
		}
	})
}

func TestFewWorkersRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := NewEndpoint(&sink{}, slowly(time.Millisecond), EndpointOptions{})
		e.conn = drop{}
		for n := range 4 * maxResting {
			e.receive(t.Context(), peerNumber(n), mustEncode(t, confirmable(1, request(codes.POST, "/", nil))))
		}
		time.Sleep(time.Second)
		if got := e.resting.Load(); got != maxResting {
			t.Errorf("%d workers rest, want %d", got, maxResting)
		}
		_ = e.Close()
	})
}

// TestRequestsOfOnePeerLeaveAsMuchAsAFew: what a peer costs does not depend on what it sent before.
func TestRequestsOfOnePeerLeaveAsMuchAsAFew(t *testing.T) {
	e := NewEndpoint(&sink{}, HandlerFunc(parrot), EndpointOptions{})
	e.conn = drop{}
	defer func() { _ = e.Close() }()
	id := uint16(0)
	data := mustEncode(t, confirmable(0, request(codes.POST, "/door", body(20))))
	once := func() {
		id++
		data[2], data[3] = byte(id>>8), byte(id)
		e.receive(t.Context(), peerNumber(1), data)
		e.work.Wait()
	}
	for range 2 * maxRememberedPerPeer {
		once()
	}
	before := testing.AllocsPerRun(1000, once)
	for range 1 << 16 {
		once()
	}
	if after := testing.AllocsPerRun(1000, once); after > before {
		t.Errorf("a request made %v allocations, and %v after 65,536 others", before, after)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if got := len(e.duplicates.entries); got != maxRememberedPerPeer || len(e.duplicates.peers) != 1 || len(e.flights)+len(e.turns)+len(e.pending) != 0 {
		t.Errorf("got %d entries of %d peers, %d flights, %d turns, %d exchanges", got, len(e.duplicates.peers), len(e.flights), len(e.turns), len(e.pending))
	}
}

// TestMessageIDComesBack: a peer counts round, and what it numbered so before is forgotten by then.
func TestMessageIDComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int32
		c := dial(t, serve(t, loopback(t), HandlerFunc(func(context.Context, *Request) message.Message {
			runs.Add(1)
			return message.Message{Code: codes.Changed}
		}), EndpointOptions{}))
		for _, test := range []struct {
			wait time.Duration
			want int32
		}{{0, 1}, {exchangeLifetime - 1, 1}, {1, 2}} {
			time.Sleep(test.wait)
			c.sendMessage(confirmable(7, request(codes.POST, "/door", nil)))
			c.receive()
			if got := runs.Load(); got != test.want {
				t.Errorf("after another %v: %d runs, want %d", test.wait, got, test.want)
			}
		}
	})
}

// TestPeerThatBeganAnewIsAnswered: it may number its messages as before, or be another that has got the address.
func TestPeerThatBeganAnewIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		runs := map[string]int{}
		release := make(chan struct{})
		c := dial(t, serve(t, loopback(t), HandlerFunc(func(ctx context.Context, r *Request) message.Message {
			mu.Lock()
			runs[string(r.Payload)]++
			mu.Unlock()
			if string(r.Payload) == "slow" {
				<-release
			}
			return parrot(ctx, r)
		}), EndpointOptions{}))
		for _, text := range []string{"one", "two", "two", "six", "one"} {
			c.sendMessage(confirmable(5, request(codes.POST, "/", []byte(text))))
			if got := c.receiveMessage(); string(got.Payload) != "/ "+text {
				t.Errorf("got %q, want the answer to %s", got.Payload, text)
			}
		}
		c.sendMessage(confirmable(5, request(codes.POST, "/", []byte("slow"))))
		c.settled(1)
		c.sendMessage(confirmable(5, request(codes.POST, "/", []byte("fast"))))
		c.settled(2)
		mu.Lock()
		if runs["one"] != 2 || runs["two"] != 1 || runs["fast"] != 0 {
			t.Errorf("got %v", runs)
		}
		mu.Unlock()
		close(release)
		c.receive()
		c.sendMessage(confirmable(5, request(codes.POST, "/", []byte("fast")))) // once more, now that there is time for it
		if got := c.receiveMessage(); string(got.Payload) != "/ fast" {
			t.Errorf("got %q", got.Payload)
		}
	})
}

// TestResponseOfAServerThatBeganAnew: its Message-IDs may be those of answers before.
func TestResponseOfAServerThatBeganAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{t: t, conn: loopback(t)}
		x := serve(t, loopback(t), nil, EndpointOptions{}).To(s.addr())
		for range 2 {
			done := make(chan error)
			go func() {
				_, err := x.Exchange(context.Background(), get("/"))
				done <- err
			}()
			m := s.receive()
			s.send(mustEncode(t, answerTo(m, message.Confirmable, 77)))
			if err := <-done; err != nil {
				t.Error(err)
			}
			if got := s.receive(); got.Type != message.Acknowledgement || got.MessageID != 77 {
				t.Errorf("got %v, want an acknowledgement", &got)
			}
		}
	})
}

// TestTokenMayBeUsedAgain: to a server only the Message-ID tells requests apart, even those under way.
func TestTokenMayBeUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, serve(t, loopback(t), slowly(time.Millisecond), EndpointOptions{}))
		seen := map[int32]string{}
		for id := range int32(3) {
			m := confirmable(id, request(codes.POST, "/", []byte{'0' + byte(id)}))
			m.Token = message.Token{1}
			c.sendMessage(m)
		}
		for range 3 {
			m := c.receiveMessage()
			seen[m.MessageID] = string(m.Payload) + string(m.Token)
		}
		for id := range int32(3) {
			if want := "/ " + string('0'+id) + "\x01"; seen[id] != want {
				t.Errorf("request %d: got %q, want %q", id, seen[id], want)
			}
		}
	})
}

// TestMalformedAnswerCostsOnlyItself: the exchange goes on.
func TestMalformedAnswerCostsOnlyItself(t *testing.T) {
	for _, test := range malformed {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, done := ask(t, ExchangeOptions{})
				m := s.receive()
				for _, kind := range []message.Type{message.Confirmable, message.NonConfirmable, message.Acknowledgement} {
					data := unhex(t, test.data)
					if len(data) < headerLength {
						continue
					}
					data[0] = data[0]&^0x30 | byte(kind)<<4
					if data[1] == byte(codes.GET) {
						data[1] = byte(codes.Content)
					}
					data[2], data[3] = byte(m.MessageID>>8), byte(m.MessageID)
					s.send(data)
				}
				answer := mustEncode(t, answerTo(m, message.Acknowledgement, m.MessageID))
				for n := range answer { // cut short, and not where that makes another message
					if _, err := decodeDatagram(answer[:n]); err != nil {
						s.send(answer[:n])
					}
				}
				s.send(answer)
				if got := <-done; got.err != nil || string(got.message.Payload) != "closed" {
					t.Errorf("got %q, %v, want the answer", got.message.Payload, got.err)
				}
			})
		})
	}
}

// TestOneKeyHasOneShareOfTheRoom: whoever has a key cannot take the room of others by speaking from many addresses.
func TestOneKeyHasOneShareOfTheRoom(t *testing.T) {
	layer := Blockwise(&recorder{}, BlockwiseOptions{}).(*blockwise)
	other := newSender(t, layer)
	other.peer.Session = "other"
	other.send(0, true, 6, body(1024))
	greedy := newSender(t, layer)
	greedy.peer.Session = "greedy"
	for n := range 1000 {
		greedy.peer.Address = peerNumber(n).String()
		greedy.send(0, true, 6, body(1024))
	}
	layer.protected.check(t)
	if got, limit := layer.protected.bytes, layer.o.PerPeer+1024+uploadOverhead; got > limit {
		t.Errorf("%d bytes are held, want at most %d", got, limit)
	}
	other.want(other.send(1, false, 6, body(1024)), codes.Changed, 1, false, 6)
}

// broken is a socket that fails now and then, or always.
type broken struct {
	*memory
	works int // every so many reads; 0: never
	reads int
}

func (b *broken) ReadFrom(buf []byte) (int, net.Addr, error) {
	b.reads++
	if b.works == 0 || b.reads%b.works != 0 {
		return 0, nil, errLost
	}
	return b.memory.ReadFrom(buf)
}

func TestServeGivesUpASocketThatFailsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := NewEndpoint(struct{ net.PacketConn }{&broken{memory: loopback(t)}}, HandlerFunc(parrot), EndpointOptions{})
		if err := e.Serve(t.Context()); !errors.Is(err, errLost) {
			t.Errorf("got %v, want the socket's error", err)
		}
		if !e.isClosed() {
			t.Error("the endpoint is open")
		}
		c := dial(t, serve(t, struct{ net.PacketConn }{&broken{memory: loopback(t), works: maxReadErrors}}, HandlerFunc(parrot), EndpointOptions{}))
		for id := range int32(5) {
			c.sendMessage(confirmable(id, request(codes.POST, "/", nil)))
			c.receive()
		}
	})
}
