package dtls

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
)

// association is one client of a server, from its first ClientHello on.
type association struct {
	server *Server
	id     netip.AddrPort // what the message layer calls it
	home   netip.AddrPort // where its handshake came from
	cid    [cidLength]byte
	pipe   *pipe
	cancel context.CancelFunc // of the handshake
	usesID atomic.Bool        // the client writes cid into its records
	denied atomic.Bool        // its identity led to no key
	where  atomic.Pointer[netip.AddrPort]

	// Under server.mu until the handshake has ended, unchanged from then on.
	conn    *dtls.Conn
	session any
	since   time.Time

	// Under server.mu.
	begun   time.Time // the handshake
	proven  bool      // it came back with its cookie
	used    time.Time // last message
	removed bool
}

// run makes the handshake and then reads until the association ends.
func (a *association) run(ctx context.Context) {
	defer a.server.drop(a)
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	conn, err := a.open()
	if errors.Is(err, errEnded) { // a flood of strangers does this: not worth a line
		return
	}
	if err != nil {
		a.server.o.Log.Error("dtls association", "error", err)
		return
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		a.server.o.Log.Debug("dtls handshake", "peer", a.home, "error", err)
		return
	}
	a.pipe.opened.Store(true)
	if !a.server.establish(a) {
		return
	}
	a.server.o.Log.Debug("dtls association", "peer", a.home)
	readMessages(conn, a.pipe)
}

// open makes the engine, unless the association was dropped before.
func (a *association) open() (*dtls.Conn, error) {
	conn, err := dtls.ServerWithOptions(a.pipe, wireAddr(a.home),
		suites(),
		dtls.WithPSK(a.key),
		dtls.WithConnectionIDGenerator(func() []byte { return a.cid[:] }),
	)
	if err != nil {
		return nil, fmt.Errorf("make engine: %w", err)
	}
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	if a.removed {
		return nil, errEnded
	}
	a.conn = conn
	return conn, nil
}

// readMessages hands the messages of a connection to its pipe until the connection ends. Errors in between are single
// records that made no sense.
func readMessages(conn *dtls.Conn, p *pipe) {
	buf := make([]byte, maxMessage+1)
	for failures := 0; failures < maxReadErrors; {
		n, err := conn.Read(buf)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			failures++
		default:
			failures = 0
			p.received(append(make([]byte, 0, n), buf[:n]...))
		}
	}
}

// key asks Keys on behalf of the engine. It runs in a goroutine of the engine, where a panic could not be caught.
func (a *association) key(identity []byte) (key []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			key, err = nil, fmt.Errorf("key look-up panicked: %v", p)
		}
		if err != nil {
			a.denied.Store(true)
			a.server.o.Log.Debug("dtls handshake refused", "peer", a.home, "error", err)
		}
	}()
	if len(identity) == 0 || len(identity) > maxIdentity {
		return nil, errIdentity
	}
	for {
		ends := a.server.ends.Load()
		key, session, err := a.server.keys.Find(append([]byte(nil), identity...), a.home)
		switch {
		case err != nil:
			return nil, err
		case len(key) < minKey:
			return nil, errKey
		case session == nil || !reflect.ValueOf(session).Comparable():
			return nil, errSession
		}
		if a.server.claim(a, session, ends) {
			return key, nil
		}
	}
}

// written watches what the engine writes: a ServerHello shows that the cookie came back. An alert of the engine about an
// unknown identity is internal_error; RFC 9202 §3.3.2 wants illegal_parameter. It goes in clear, before there are keys.
func (a *association) written(first record) {
	switch {
	case first.kind == kindHandshake && first.epoch == 0 && len(first.body) > 0 && first.body[0] == serverHello:
		a.server.prove(a)
	case first.kind == kindAlert && first.epoch == 0 && len(first.body) == 2 && a.denied.Load():
		first.body[1] = illegalParameter
	}
}

// deliver passes a message on, from the address where the engine saw its sender last.
func (a *association) deliver(message []byte) {
	from := addrPort(a.conn.RemoteAddr())
	if last := a.where.Load(); *last != from {
		a.where.Store(&from)
	}
	if a.server.touch(a) {
		a.server.tap("in", from, message)
		a.server.carrier.deliver(a.id, message)
	}
}

// close ends the association towards the client, with close_notify if the handshake has ended, and what it observes.
func (a *association) close() {
	a.cancel()
	a.server.endpoint.Forget(a.id)
	if a.conn != nil {
		_ = a.conn.Close()
	}
	_ = a.pipe.Close()
}
