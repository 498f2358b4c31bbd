package coapsec

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"
)

// socket is what tests need of a UDP socket; a *net.UDPConn is one.
type socket interface {
	net.PacketConn
	packetConn
}

// memory is a socket of a network without wires, on which nothing is lost and which works in synctest bubbles.
type memory struct {
	addr   netip.AddrPort
	queue  chan packet
	closed chan struct{}
	close  func()

	mu       sync.Mutex
	deadline time.Time
}

type packet struct {
	from netip.AddrPort
	data []byte
}

var memories struct {
	mu   sync.Mutex
	open map[netip.AddrPort]*memory
	last uint16
}

// loopback is a socket in memory that is open until the test ends.
func loopback(t testing.TB) *memory {
	t.Helper()
	memories.mu.Lock()
	defer memories.mu.Unlock()
	if memories.open == nil {
		memories.open = map[netip.AddrPort]*memory{}
	}
	addr := netip.AddrPort{}
	for used := true; used || addr.Port() == 0; _, used = memories.open[addr] {
		memories.last++
		addr = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), memories.last)
	}
	m := &memory{addr: addr, queue: make(chan packet, 4096), closed: make(chan struct{})}
	m.close = sync.OnceFunc(func() {
		close(m.closed)
		memories.mu.Lock()
		defer memories.mu.Unlock()
		delete(memories.open, addr)
	})
	memories.open[addr] = m
	t.Cleanup(m.close)
	return m
}

func (m *memory) WriteToUDPAddrPort(data []byte, to netip.AddrPort) (int, error) {
	select {
	case <-m.closed:
		return 0, net.ErrClosed
	default:
	}
	memories.mu.Lock()
	peer := memories.open[to]
	memories.mu.Unlock()
	if peer != nil {
		select {
		case peer.queue <- packet{m.addr, append([]byte(nil), data...)}:
		default: // lost
		}
	}
	return len(data), nil
}

func (m *memory) ReadFromUDPAddrPort(buf []byte) (int, netip.AddrPort, error) {
	m.mu.Lock()
	deadline := m.deadline
	m.mu.Unlock()
	var late <-chan time.Time
	if !deadline.IsZero() {
		timer := time.NewTimer(time.Until(deadline))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case p := <-m.queue:
		return copy(buf, p.data), p.from, nil
	case <-late:
		return 0, netip.AddrPort{}, os.ErrDeadlineExceeded
	case <-m.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (m *memory) ReadFrom(buf []byte) (int, net.Addr, error) {
	n, from, err := m.ReadFromUDPAddrPort(buf)
	return n, net.UDPAddrFromAddrPort(from), err
}

func (m *memory) WriteTo(data []byte, to net.Addr) (int, error) {
	return m.WriteToUDPAddrPort(data, to.(*net.UDPAddr).AddrPort())
}

func (m *memory) SetReadDeadline(t time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deadline = t
	return nil
}

func (m *memory) Close() error                     { m.close(); return nil }
func (m *memory) LocalAddr() net.Addr              { return net.UDPAddrFromAddrPort(m.addr) }
func (m *memory) SetDeadline(t time.Time) error    { return m.SetReadDeadline(t) }
func (m *memory) SetWriteDeadline(time.Time) error { return nil }

// udp is a real socket, open until the test ends.
func udp(t testing.TB) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}
