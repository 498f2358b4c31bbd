package dtls

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// carrier is the socket of a coapsec.Endpoint that speaks through associations. Each has an address of its own that no
// network knows, so that to the endpoint a peer stays the same wherever its datagrams come from, and never becomes
// another one.
type carrier struct {
	local   net.Addr
	send    func(to netip.AddrPort, message []byte) error
	inbox   chan packet
	done    chan struct{}
	closing sync.Once
}

func newCarrier(local net.Addr, send func(to netip.AddrPort, message []byte) error) *carrier {
	return &carrier{local: local, send: send, inbox: make(chan packet), done: make(chan struct{})}
}

// alias is the address of association number n: unique local (RFC 4193), with the port of coaps.
func alias(n uint64) netip.AddrPort {
	b := [16]byte{0: 0xfd}
	for i := range 8 {
		b[15-i] = byte(n >> (8 * i))
	}
	return netip.AddrPortFrom(netip.AddrFrom16(b), 5684)
}

// deliver waits until the endpoint takes the message, or is closed.
func (c *carrier) deliver(from netip.AddrPort, message []byte) {
	select {
	case c.inbox <- packet{from, message}:
	case <-c.done:
	}
}

// ReadFromUDPAddrPort is what the endpoint reads by.
func (c *carrier) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case m := <-c.inbox:
		return copy(b, m.data), m.from, nil
	case <-c.done:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

// WriteToUDPAddrPort is what the endpoint writes by.
func (c *carrier) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	if err := c.send(to, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// ReadFrom implements net.PacketConn.
func (c *carrier) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.ReadFromUDPAddrPort(b)
	return n, wireAddr(from), err
}

// WriteTo implements net.PacketConn.
func (c *carrier) WriteTo(b []byte, to net.Addr) (int, error) {
	return c.WriteToUDPAddrPort(b, addrPort(to))
}

// Close implements net.PacketConn.
func (c *carrier) Close() error {
	c.closing.Do(func() { close(c.done) })
	return nil
}

// LocalAddr implements net.PacketConn.
func (c *carrier) LocalAddr() net.Addr { return c.local }

// SetDeadline implements net.PacketConn; the endpoint sets none.
func (c *carrier) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.PacketConn.
func (c *carrier) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.PacketConn.
func (c *carrier) SetWriteDeadline(time.Time) error { return nil }
