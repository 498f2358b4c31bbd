package dtls

import (
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// relay is a NAT between a client and a server: the server sees the address of its current binding.
type relay struct {
	t      testing.TB
	server netip.AddrPort
	inner  *net.UDPConn // towards the client

	mu     sync.Mutex
	client netip.AddrPort
	outer  *net.UDPConn // the binding
	sent   [][]byte     // by the client
	heard  [][]byte     // by the client
}

func newRelay(t testing.TB, server netip.AddrPort) *relay {
	t.Helper()
	r := &relay{t: t, server: server, inner: loopback(t)}
	r.rebind()
	go func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := r.inner.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			r.mu.Lock()
			r.client = from
			r.sent = append(r.sent, append([]byte(nil), buf[:n]...))
			_, _ = r.outer.WriteToUDPAddrPort(buf[:n], server)
			r.mu.Unlock()
		}
	}()
	return r
}

func (r *relay) addr() netip.AddrPort { return addrPort(r.inner.LocalAddr()) }

// rebind gives the client a new address towards the server; what comes to the old one is lost.
func (r *relay) rebind() netip.AddrPort {
	conn := loopback(r.t)
	r.mu.Lock()
	old := r.outer
	r.outer = conn
	r.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
	go func() {
		buf := make([]byte, 65536)
		for {
			n, _, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			r.mu.Lock()
			r.heard = append(r.heard, append([]byte(nil), buf[:n]...))
			_, _ = r.inner.WriteToUDPAddrPort(buf[:n], r.client)
			r.mu.Unlock()
		}
	}()
	return addrPort(conn.LocalAddr())
}

// inject sends a datagram to the server from the client's binding.
func (r *relay) inject(data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = r.outer.WriteToUDPAddrPort(data, r.server)
}

// injectBack sends a datagram to the client from the server's address, as the client sees it.
func (r *relay) injectBack(data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = r.inner.WriteToUDPAddrPort(data, r.client)
}

func (r *relay) transcript() (sent, heard [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([][]byte(nil), r.sent...), append([][]byte(nil), r.heard...)
}

// eventually waits for what another goroutine does.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for range 500 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("not within 5 s: %s", what)
}
