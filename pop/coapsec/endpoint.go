package coapsec

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// EndpointOptions adjusts an Endpoint. Its zero fields are the safe defaults.
type EndpointOptions struct {
	Now  func() time.Time // nil: time.Now. It ages the memory for duplicates; retransmission runs on timers
	Rand io.Reader        // nil: crypto/rand. Tokens and retransmission delays
	Log  *slog.Logger     // nil: slog.Default(). Panics of handlers and answers that could not be sent

	// Tap sees every datagram, direction "in" or "out", before it is decoded or sent. It must not keep or change it, and
	// may be called concurrently.
	Tap func(direction string, peer netip.AddrPort, datagram []byte)

	// Critical declares critical options that the handler evaluates beside Uri-*, Accept, OSCORE and Block1/2.
	Critical []message.OptionID

	// Verify is asked about an unprotected request that wants to observe, or whose answer is more than three times as long,
	// because who sent it is not known to be at that address (RFC 9175 §2.6). If verified the answer goes out whole, else
	// challenge in its place, or cut down if challenge has no code. Of a request whose notification is that long, it gets only
	// code and address. nil: that of a Reachability of its own. It may be called concurrently.
	Verify func(request *Request) (verified bool, challenge message.Message)
	// Trusted says that every peer of the conn has shown that it is at its address, as in DTLS: answers have any length.
	Trusted bool

	// NStart is how many requests and notifications may be on their way to one peer, neither acknowledged nor answered (RFC
	// 7252 §4.7). 0: 1, which suits devices. More suits a gateway and a server that know each other's network.
	NStart int

	AckTimeout time.Duration // 0: 2 s (ACK_TIMEOUT, RFC 7252 §4.8)
	AckDelay   time.Duration // 0: 1 s; a confirmable request not answered by then is acknowledged, and answered separately
}

// Endpoint speaks CoAP (RFC 7252) on one UDP socket, or any other packet connection, as server and as client at once: both share the Message-IDs, so a
// request can be sent through the NAT binding that a peer's own requests keep open. Safe for concurrent use.
//
// A malformed datagram costs nothing but itself. All that peers make it remember is bounded (limits.go). An address gets at
// most three times the bytes that came from it, unless a request from there verified under a key, Verify or Trusted says that it
// is its sender's, or whoever is there has acknowledged a notification.
type Endpoint struct {
	conn    packetConn
	socket  net.PacketConn
	handler Handler
	o       EndpointOptions

	seed    maphash.Seed
	done    chan struct{}
	closing sync.Once
	jobs    chan *job      // to a worker that rests
	resting atomic.Int32   // workers waiting for jobs
	work    sync.WaitGroup // of jobs

	mu         sync.Mutex
	draining   bool // no new requests
	duplicates *duplicates
	clock      *time.Timer // runs acknowledgeLate
	clockSet   bool
	flights    map[messageKey]*flight
	pending    map[exchangeKey]*exchange
	turns      map[netip.AddrPort]*turns
	observed   registrations
	separate   int
	messageIDs [messageIDCounters]uint16
}

// NewEndpoint makes an endpoint on conn, which it owns from then on. A nil handler makes a client only: requests are
// rejected with a Reset. Nothing is received, neither requests nor responses, until Serve runs.
func NewEndpoint(conn net.PacketConn, handler Handler, o EndpointOptions) *Endpoint {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.NStart <= 0 {
		o.NStart = 1
	}
	if o.AckTimeout <= 0 {
		o.AckTimeout = defaultAckTimeout
	}
	if o.AckDelay <= 0 {
		o.AckDelay = defaultAckDelay
	}
	if o.Verify == nil && handler != nil && !o.Trusted {
		if r, err := NewReachability(o.Now, o.Rand); err == nil { // else nobody is verified
			o.Verify = r.Verify
		}
	}
	e := &Endpoint{
		socket: conn, handler: handler, o: o,
		seed: maphash.MakeSeed(), done: make(chan struct{}), jobs: make(chan *job),
		duplicates: newDuplicates(), flights: map[messageKey]*flight{}, pending: map[exchangeKey]*exchange{},
		turns: map[netip.AddrPort]*turns{}, observed: newRegistrations(),
	}
	var ok bool
	if e.conn, ok = conn.(packetConn); !ok {
		e.conn = newAliased(conn)
	}
	return e
}

// Serve receives until ctx ends or Close is called, then returns nil; otherwise it returns the socket's error. In any
// case the endpoint is closed and every handler has returned by then; their contexts end first. Call it once.
func (e *Endpoint) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = e.Close() })
	defer func() {
		stop()
		cancel()
		_ = e.Close()
		e.work.Wait()
	}()
	buf := make([]byte, maxReceived+1)
	for failures := 0; ; {
		n, from, err := e.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) || e.isClosed() {
				return nil
			}
			if failures++; failures >= maxReadErrors {
				return fmt.Errorf("receive datagram: %w", err)
			}
			continue
		}
		failures = 0
		if n <= maxReceived {
			e.receive(ctx, canonical(from), buf[:n])
		}
	}
}

// Close ends Serve, closes the socket and fails the exchanges under way with ErrClosed.
func (e *Endpoint) Close() error {
	var err error
	e.closing.Do(func() {
		close(e.done)
		err = e.socket.Close()
		e.dropAll()
	})
	return err
}

// LocalAddr is the socket's own address.
func (e *Endpoint) LocalAddr() netip.AddrPort {
	if udp, ok := e.socket.LocalAddr().(*net.UDPAddr); ok {
		return canonical(udp.AddrPort())
	}
	return netip.AddrPort{}
}

func (e *Endpoint) isClosed() bool {
	select {
	case <-e.done:
		return true
	default:
		return false
	}
}

// canonical gives an IPv4 peer one form, whatever kind of socket received its datagram.
func canonical(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// receive takes one datagram, which is only lent.
func (e *Endpoint) receive(ctx context.Context, from netip.AddrPort, data []byte) {
	if e.o.Tap != nil {
		e.o.Tap("in", from, data)
	}
	if len(data) < headerLength || data[0]>>6 != 1 {
		return
	}
	kind, code, key := message.Type(data[0]>>4&3), codes.Code(data[1]), messageKey{from, binary.BigEndian.Uint16(data[2:])}
	var err error
	switch {
	case code == codes.Empty && len(data) == headerLength:
		e.receiveEmpty(key, kind)
	case isRequest(code):
		err = e.receiveRequest(ctx, key, data)
	default:
		err = e.receiveResponse(key, data)
	}
	if err != nil {
		e.sendNotNil(from, resetIf(kind == message.Confirmable, key))
	}
}

// datagram is what is remembered of one.
type datagram struct {
	size int
	sum  uint64
}

// fingerprint tells datagrams apart.
func (e *Endpoint) fingerprint(data []byte) datagram {
	return datagram{len(data), maphash.Bytes(e.seed, data)}
}

// incoming is a message with the datagram it came in.
type incoming struct {
	message.Message
	datagram
}

// receiveEmpty takes an acknowledgement, a rejection or a ping (RFC 7252 §4.3).
func (e *Endpoint) receiveEmpty(key messageKey, kind message.Type) {
	switch kind {
	case message.Confirmable:
		e.send(key.peer, encodeEmpty(message.Reset, key.id))
	case message.Acknowledgement, message.Reset:
		e.mu.Lock()
		defer e.mu.Unlock()
		e.settle(key, kind == message.Reset)
	}
}

// send writes one datagram. A failure is like a loss: retransmission is the cure for both.
func (e *Endpoint) send(to netip.AddrPort, data []byte) {
	if e.o.Tap != nil {
		e.o.Tap("out", to, data)
	}
	if _, err := e.conn.WriteToUDPAddrPort(data, to); err != nil && !e.isClosed() {
		e.o.Log.Debug("send datagram", "peer", to, "error", err)
	}
}

func (e *Endpoint) sendNotNil(to netip.AddrPort, data []byte) {
	if data != nil {
		e.send(to, data)
	}
}

// nextMessageID counts per peer, or rather per set of peers with the same hash, from an unpredictable start. A value
// comes back to a peer only after 65,536 messages of the set. e.mu is held.
func (e *Endpoint) nextMessageID(peer netip.AddrPort) uint16 {
	h := maphash.Comparable(e.seed, peer)
	counter := &e.messageIDs[h%messageIDCounters]
	*counter++
	return *counter + uint16(h>>48)
}
