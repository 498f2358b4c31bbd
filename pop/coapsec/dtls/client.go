package dtls

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/pion/dtls/v3"
	"github.com/plgd-dev/go-coap/v3/message"
)

// Conn is a client's association. It is a coapsec.Observer and safe for concurrent use.
//
// It sends the connection ID that the server chose and wants none for itself, so the server finds it behind any NAT
// binding. There is nothing to keep alive: an association that the server has forgotten shows as ErrLost if the server
// said so, or else as coapsec.ErrNoAnswer, and either way a new Dial is the cure.
type Conn struct {
	socket   *net.UDPConn
	conn     *dtls.Conn
	pipe     *pipe
	carrier  *carrier
	endpoint *coapsec.Endpoint
	remote   coapsec.Observer
	work     sync.WaitGroup
	closing  sync.Once
}

var _ coapsec.Observer = (*Conn)(nil)

// Dial makes an association with the server at addr under an identity and a key; both are kept while it lasts. Of the
// options Now, Log, Tap and Endpoint count. It gives up when ctx ends, and after 20 s at the latest. The handshake is lost
// in silence if the key is not the server's: only an identity that the server does not know is refused in words.
func Dial(ctx context.Context, addr netip.AddrPort, identity, key []byte, o Options) (*Conn, error) {
	o.setDefaults()
	if len(identity) == 0 || len(identity) > maxIdentity {
		return nil, errIdentity
	}
	if len(key) < minKey {
		return nil, errKey
	}
	socket, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, fmt.Errorf("dtls dial: %w", err)
	}
	c := &Conn{socket: socket}
	peer := alias(1)
	tap := func(direction string, m []byte) {
		if o.Tap != nil {
			o.Tap(direction, addr, m)
		}
	}
	c.carrier = newCarrier(socket.LocalAddr(), func(_ netip.AddrPort, m []byte) error {
		tap("out", m)
		_, err := c.conn.Write(m)
		return err
	})
	c.pipe = newPipe(wiring{
		local: socket.LocalAddr(),
		write: func(data []byte, _ netip.AddrPort) error {
			_, err := socket.Write(data)
			return err
		},
		deliver: func(m []byte) {
			tap("in", m)
			c.carrier.deliver(peer, m)
		},
	})
	if err := c.handshake(ctx, addr, identity, key); err != nil {
		_ = c.pipe.Close()
		_ = socket.Close()
		c.work.Wait()
		return nil, fmt.Errorf("dtls dial: %w", err)
	}
	o.Endpoint.Trusted = true
	c.endpoint = coapsec.NewEndpoint(c.carrier, nil, o.Endpoint)
	c.remote = c.endpoint.To(peer).(coapsec.Observer) // as To promises
	c.work.Go(func() { _ = c.endpoint.Serve(context.Background()) })
	c.work.Go(func() {
		readMessages(c.conn, c.pipe)
		_ = c.endpoint.Close()
	})
	return c, nil
}

func (c *Conn) handshake(ctx context.Context, addr netip.AddrPort, identity, key []byte) error {
	conn, err := dtls.ClientWithOptions(c.pipe, wireAddr(addr),
		suites(),
		dtls.WithPSK(func([]byte) ([]byte, error) { return key, nil }),
		dtls.WithPSKIdentityHint(append([]byte{}, identity...)),
		dtls.WithConnectionIDGenerator(dtls.OnlySendCIDGenerator()),
	)
	if err != nil {
		return err
	}
	c.conn = conn
	c.work.Go(func() { c.receive(addr) })
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return err
	}
	c.pipe.opened.Store(true)
	return nil
}

// receive feeds the engine until the socket is closed. Errors in between are those that the network reports of earlier
// datagrams, and mean no more than their loss.
func (c *Conn) receive(addr netip.AddrPort) {
	buf := make([]byte, maxDatagram)
	for {
		n, err := c.socket.Read(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			time.Sleep(readErrorPause)
		default:
			c.pipe.feed(addr, append(make([]byte, 0, n), buf[:n]...))
		}
	}
}

// Exchange implements coapsec.Exchanger. Its errors are ctx.Err(), ErrLost and those of coapsec.Endpoint.
func (c *Conn) Exchange(ctx context.Context, request message.Message) (message.Message, error) {
	response, err := c.remote.Exchange(ctx, request)
	return response, lost(err)
}

// Observe implements coapsec.Observer. Its errors are those of Exchange and that of each.
func (c *Conn) Observe(ctx context.Context, request message.Message, each func(message.Message) error) error {
	return lost(c.remote.Observe(ctx, request, each))
}

func lost(err error) error {
	if errors.Is(err, coapsec.ErrClosed) {
		return ErrLost
	}
	return err
}

// LocalAddr is the address of the own socket.
func (c *Conn) LocalAddr() netip.AddrPort { return addrPort(c.socket.LocalAddr()) }

// Close ends the association with close_notify. Exchanges under way end with ErrLost.
func (c *Conn) Close() error {
	c.closing.Do(func() {
		_ = c.conn.Close()
		_ = c.endpoint.Close()
		_ = c.socket.Close()
		c.work.Wait()
	})
	return nil
}
