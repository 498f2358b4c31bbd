package dtls

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/plgd-dev/go-coap/v3/message"
)

// Server serves CoAP over DTLS on one socket. All associations share one coapsec.Endpoint, in which each is a peer of
// its own. What clients make it hold is bounded (limits.go). It is safe for concurrent use.
type Server struct {
	socket   net.PacketConn
	keys     Keys
	handler  coapsec.Handler
	o        Options
	carrier  *carrier
	endpoint *coapsec.Endpoint

	done    chan struct{}
	closing sync.Once
	work    sync.WaitGroup
	ends    atomic.Uint64 // calls of End
	grey    greylist      // of the receiving goroutine

	mu          sync.Mutex
	closed      bool
	count       uint64
	byID        map[netip.AddrPort]*list.Element // established, in established
	byCID       map[[cidLength]byte]*association
	places      map[netip.AddrPort]*place
	handshakes  list.List // of *association, oldest first
	established list.List // of *association, idle longest first
}

// place is what is spoken with one address: an association, and a handshake that may replace it.
type place struct {
	current *association
	pending *association
}

// NewServer makes a server on conn, which it owns from then on. Nothing is received until Serve runs.
//
// The handler's requests have Peer.Session as keys gave it, Peer.Since when the handshake ended, and Peer.Address the
// address that the newest record of the association came from. Authorization belongs to the Session, never to the Address.
func NewServer(conn net.PacketConn, keys Keys, handler coapsec.Handler, o Options) *Server {
	o.setDefaults()
	s := &Server{
		socket: conn, keys: keys, handler: handler, o: o, done: make(chan struct{}), grey: newGreylist(),
		byID: map[netip.AddrPort]*list.Element{}, byCID: map[[cidLength]byte]*association{},
		places: map[netip.AddrPort]*place{},
	}
	s.carrier = newCarrier(conn.LocalAddr(), s.send)
	o.Endpoint.Trusted = true
	s.endpoint = coapsec.NewEndpoint(s.carrier, coapsec.HandlerFunc(s.serve), o.Endpoint)
	return s
}

// Serve receives until ctx ends or Close is called, then returns nil; otherwise it returns the socket's error. In any
// case the server is closed and every handler has returned by then; their contexts end first. Call it once.
func (s *Server) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	s.work.Add(2)
	go func() {
		defer s.work.Done()
		_ = s.endpoint.Serve(ctx)
	}()
	go func() {
		defer s.work.Done()
		s.watch()
	}()
	defer func() {
		stop()
		cancel()
		_ = s.Close()
		s.work.Wait()
	}()
	buf := make([]byte, maxDatagram)
	for failures := 0; ; {
		n, from, err := s.socket.ReadFrom(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) || s.isClosed() {
				return nil
			}
			if failures++; failures >= maxReadErrors {
				return fmt.Errorf("receive datagram: %w", err)
			}
			continue
		}
		failures = 0
		if peer := addrPort(from); peer.IsValid() {
			s.receive(ctx, peer, append(make([]byte, 0, n), buf[:n]...))
		}
	}
}

// Close ends every association with close_notify, closes the socket and ends Serve.
func (s *Server) Close() error {
	var err error
	s.closing.Do(func() {
		close(s.done)
		for _, a := range s.removeAll() {
			a.close()
		}
		err = s.socket.Close()
		_ = s.endpoint.Close()
	})
	return err
}

// Drain takes no new requests from then on, and waits until those at work are answered or ctx ends, as [coapsec.Endpoint.Drain]
// does. Handshakes go on until Close; their requests are lost.
func (s *Server) Drain(ctx context.Context) error { return s.endpoint.Drain(ctx) }

// End closes the associations of a session and the handshakes that would make one, and returns when no further request
// of theirs reaches the handler; what the handler has begun it finishes. A new handshake is for Keys to refuse: take the
// key away first.
func (s *Server) End(session any) {
	s.ends.Add(1)
	for _, a := range s.removeSession(session) {
		a.close()
	}
}

// LocalAddr is the socket's own address.
func (s *Server) LocalAddr() netip.AddrPort { return addrPort(s.socket.LocalAddr()) }

func (s *Server) isClosed() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// watch ends associations that were idle for too long.
func (s *Server) watch() {
	ticker := time.NewTicker(min(s.o.Idle/4+1, time.Minute))
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			for _, a := range s.removeIdle() {
				a.close()
			}
		case <-s.done:
			return
		}
	}
}

// receive routes one datagram: by connection ID, or else by address. The server keeps data.
func (s *Server) receive(ctx context.Context, from netip.AddrPort, data []byte) {
	first, ok := firstRecord(data, cidLength)
	if !ok {
		return
	}
	if first.kind == kindConnectionID {
		if a := s.find([cidLength]byte(first.cid)); a != nil {
			a.usesID.Store(true)
			a.pipe.feed(from, data)
		}
		return
	}
	hello := first.isClientHello()
	current, pending := s.at(from)
	if pending == nil && hello {
		if first.opens() {
			s.greet(ctx, from, data)
		}
		return
	}
	// Which of the two a record is for shows only when it is opened. A hello is never for the association that stands.
	if pending != nil {
		pending.pipe.feed(from, data)
	}
	if current != nil && !hello {
		current.pipe.feed(from, data)
	}
}

// greet begins a handshake, if there is room.
func (s *Server) greet(ctx context.Context, from netip.AddrPort, data []byte) {
	ctx, cancel := context.WithCancel(ctx)
	a, evicted := s.begin(from, cancel)
	if evicted != nil {
		s.work.Go(evicted.close)
	}
	if a == nil {
		cancel()
		return
	}
	a.pipe.feed(from, data)
	s.work.Go(func() { a.run(ctx) })
}

// serve is the handler of the endpoint. The association may have ended while its request waited.
func (s *Server) serve(ctx context.Context, r *coapsec.Request) message.Message {
	id, err := netip.ParseAddrPort(r.Peer.Address)
	if err != nil {
		return message.Message{}
	}
	a := s.byName(id)
	if a == nil {
		return message.Message{}
	}
	known := *r
	known.Peer = coapsec.Peer{Address: a.where.Load().String(), Session: a.session, Since: a.since}
	return s.handler.ServeCoAP(ctx, &known)
}

// send is how the endpoint writes to an association.
func (s *Server) send(to netip.AddrPort, message []byte) error {
	a := s.byName(to)
	if a == nil {
		return errEnded
	}
	s.tap("out", *a.where.Load(), message)
	_, err := a.conn.Write(message)
	return err
}

func (s *Server) tap(direction string, peer netip.AddrPort, message []byte) {
	if s.o.Tap != nil {
		s.o.Tap(direction, peer, message)
	}
}
