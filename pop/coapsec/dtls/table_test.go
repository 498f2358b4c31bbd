package dtls

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/plgd-dev/go-coap/v3/message"
)

// anyone is Keys that knows everyone by one key.
var anyone = keysFunc(func(identity []byte, _ netip.AddrPort) ([]byte, any, error) {
	return aliceKey, string(identity), nil
})

// hourglass is a clock that stands until it is turned.
type hourglass struct{ now atomic.Int64 }

func (h *hourglass) Now() time.Time       { return time.Unix(1_800_000_000, h.now.Load()) }
func (h *hourglass) turn(d time.Duration) { h.now.Add(int64(d)) }
func (s *Server) expire()                 { closeAll(s.removeIdle()) }
func closeAll(all []*association)         { each(all, (*association).close) }
func each[T any](all []T, do func(T)) {
	for _, one := range all {
		do(one)
	}
}

func TestIdle(t *testing.T) {
	var clock hourglass
	o := quiet
	o.Now = clock.Now
	s := start(t, loopback(t), keys(), answer, o)
	alice, bob := dial(t, s.LocalAddr(), aliceID, aliceKey), dial(t, s.LocalAddr(), bobID, bobKey)
	mustGet(t, alice, aliceID) // now the server knows, too, that the handshakes have ended
	mustGet(t, bob, bobID)
	clock.turn(defaultIdle - 1)
	s.expire()
	mustGet(t, alice, aliceID)
	clock.turn(1)
	s.expire()
	if _, err := get(t.Context(), bob); !errors.Is(err, ErrLost) {
		t.Errorf("idle too long: got %v", err)
	}
	mustGet(t, alice, aliceID)
	if established, _, places := s.counts(); established != 1 || places != 1 {
		t.Errorf("got %d associations, %d places, want 1, 1", established, places)
	}
}

func TestRoomForSessions(t *testing.T) {
	o := quiet
	o.MaxSessions = 3
	s := start(t, loopback(t), anyone, answer, o)
	conns := make([]*Conn, 4)
	for i := range conns {
		conns[i] = dial(t, s.LocalAddr(), []byte(strconv.Itoa(i)), aliceKey)
		mustGet(t, conns[i], []byte(strconv.Itoa(i))) // the client may know of a handshake's end before the server does
		mustGet(t, conns[0], []byte("0"))             // never the one idle longest
	}
	if _, err := get(t.Context(), conns[1]); !errors.Is(err, ErrLost) {
		t.Errorf("the one idle longest: got %v", err)
	}
	for _, i := range []int{0, 2, 3} {
		mustGet(t, conns[i], []byte(strconv.Itoa(i)))
	}
}

func TestRoomPerSession(t *testing.T) {
	s := start(t, loopback(t), anyone, answer, quiet)
	bob := dial(t, s.LocalAddr(), bobID, aliceKey)
	conns := make([]*Conn, maxPerSession+1)
	for i := range conns {
		conns[i] = dial(t, s.LocalAddr(), aliceID, aliceKey)
		mustGet(t, conns[i], aliceID)
	}
	if _, err := get(t.Context(), conns[0]); !errors.Is(err, ErrLost) {
		t.Errorf("the oldest: got %v", err)
	}
	for _, c := range conns[1:] {
		mustGet(t, c, aliceID)
	}
	mustGet(t, bob, bobID)
}

// TestSameAddress has a second client where the first one is, as after a reboot: it replaces the first only by a
// handshake that succeeds.
func TestSameAddress(t *testing.T) {
	var last atomic.Pointer[coapsec.Peer]
	s := start(t, loopback(t), keys(), coapsec.HandlerFunc(func(ctx context.Context, r *coapsec.Request) message.Message {
		last.Store(&r.Peer)
		return answer(ctx, r)
	}), quiet)
	r := newRelay(t, s.LocalAddr())
	first := dial(t, r.addr(), aliceID, aliceKey)
	mustGet(t, first, aliceID)
	older := *last.Load()

	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, r.addr(), aliceID, bobKey, quiet); err == nil {
		t.Fatal("got in with a wrong key")
	}
	if established, handshakes, places := s.counts(); established != 1 || handshakes != 1 || places != 1 {
		t.Errorf("got %d associations, %d handshakes, %d places, want 1 of each", established, handshakes, places)
	}
	r.returnTo(first)
	mustGet(t, first, aliceID)
	if last.Load().Since != older.Since {
		t.Error("not the first association any more")
	}
	s.dropHandshakes()

	second := dial(t, r.addr(), aliceID, aliceKey)
	mustGet(t, second, aliceID)
	if got := *last.Load(); got.Session != older.Session || !got.Since.After(older.Since) {
		t.Errorf("got %+v after %+v", got, older)
	}
	r.returnTo(first)
	mustGet(t, first, aliceID) // reached by its connection ID
}

// returnTo makes a client that is there already the one behind the relay.
func (r *relay) returnTo(c *Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.client = c.LocalAddr()
}

func (s *Server) dropHandshakes() {
	s.mu.Lock()
	var all []*association
	for e := s.handshakes.Front(); e != nil; e = e.Next() {
		all = append(all, e.Value.(*association))
	}
	s.mu.Unlock()
	each(all, s.drop)
}

// TestFlood sends first messages of handshakes from many addresses; they bind a bounded number of handshakes, a client
// gets through meanwhile, and nothing is left of them afterwards.
func TestFlood(t *testing.T) {
	conn := &crowd{UDPConn: loopback(t)}
	o := quiet
	o.MaxHandshakes = 32
	s := start(t, conn, keys(), answer, o)
	r := newRelay(t, s.LocalAddr())
	_ = dial(t, r.addr(), aliceID, aliceKey)
	sent, _ := r.transcript()
	flooder := loopback(t)
	stop := make(chan struct{})
	var most int
	var wait sync.WaitGroup
	wait.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			_, _ = flooder.WriteToUDPAddrPort(sent[0], s.LocalAddr())
			if _, handshakes, _ := s.counts(); handshakes > most {
				most = handshakes
			}
			if n%8 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	})
	conn.disguise(addrPort(flooder.LocalAddr()))
	eventually(t, "half the room is taken", func() bool {
		_, handshakes, _ := s.counts()
		return handshakes >= o.MaxHandshakes/2
	})
	mustGet(t, dial(t, s.LocalAddr(), aliceID, aliceKey), aliceID)
	close(stop)
	wait.Wait()
	if most > o.MaxHandshakes {
		t.Errorf("got %d handshakes at once, want at most %d", most, o.MaxHandshakes)
	}
	s.dropHandshakes()
	eventually(t, "the places are free again", func() bool {
		established, handshakes, places := s.counts()
		s.mu.Lock()
		defer s.mu.Unlock()
		return established == 2 && handshakes == 0 && places == 2 && len(s.byCID) == 2
	})
}

// crowd is a socket to which one sender looks like many.
type crowd struct {
	*net.UDPConn
	flooder atomic.Pointer[netip.AddrPort]
	count   uint32
}

func (c *crowd) disguise(flooder netip.AddrPort) { c.flooder.Store(&flooder) }

func (c *crowd) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.UDPConn.ReadFromUDPAddrPort(b)
	if f := c.flooder.Load(); f != nil && from == *f {
		c.count++
		from = netip.AddrPortFrom(netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 0x7f800000+c.count))), 5684)
	}
	return n, wireAddr(from), err
}

// WriteTo loses what is for the crowd.
func (c *crowd) WriteTo(b []byte, to net.Addr) (int, error) {
	if addr := addrPort(to); addr.Port() != 5684 {
		return c.UDPConn.WriteToUDPAddrPort(b, addr)
	}
	return len(b), nil
}

// TestHandshakeShare is about handshakes that came back with their cookie and then stop: one host gets no more than its
// share of the room, and a full room turns newcomers away, not those inside.
func TestHandshakeShare(t *testing.T) {
	o := quiet
	o.MaxHandshakes = 8
	s := start(t, loopback(t), keys(), answer, o)
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	for range 6 {
		wait.Go(func() { _, _ = Dial(ctx, s.LocalAddr(), aliceID, bobKey, quiet) })
	}
	eventually(t, "the share is kept", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		proven := 0
		for e := s.handshakes.Front(); e != nil; e = e.Next() {
			if e.Value.(*association).proven {
				proven++
			}
		}
		return s.count == 6 && proven == 2
	})
	mustGet(t, dial(t, s.LocalAddr(), aliceID, aliceKey), aliceID)
	cancel()
	wait.Wait()
}

func TestGreylist(t *testing.T) {
	g := newGreylist()
	now := time.Unix(1_800_000_000, 0)
	at := func(n int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), uint16(n))
	}
	for n := range 100 {
		if g.returns(at(n), now) {
			t.Errorf("address %d: known at first", n)
		}
	}
	for _, later := range []time.Duration{time.Second, greyLifetime - 1, greyLifetime} {
		if !g.returns(at(1), now.Add(later)) {
			t.Errorf("unknown after %v", later)
		}
	}
	if g.returns(at(2), now.Add(3*greyLifetime)) {
		t.Error("known after three lifetimes")
	}
	known := 0
	for n := range 40_000 {
		if g.returns(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 1), now.Add(3*greyLifetime)) {
			known++
		}
	}
	if known > 2_000 {
		t.Errorf("got %d of 40000 invented addresses known", known)
	}
}
