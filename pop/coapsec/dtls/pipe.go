package dtls

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// pipe is the net.PacketConn of one association's engine: what came for it, and the socket it shares.
//
// The engine pushes what a datagram holds to its reader before it takes note of the address it came from. So the pipe
// parks what is read until the engine asks for the next datagram; then its RemoteAddr is that of the latest record.
type pipe struct {
	wiring
	opened  atomic.Bool // the handshake has succeeded
	settled atomic.Bool // the peer knows it

	mu      sync.Mutex
	wake    sync.Cond
	queue   []packet
	intake  int      // bytes of the handshake
	parked  [][]byte // read, while the engine is busy
	busy    bool
	closed  bool
	expired bool
}

// wiring is what a pipe connects its engine with.
type wiring struct {
	local    net.Addr
	write    func(data []byte, to netip.AddrPort) error
	written  func(first record) // sees the first record of what the engine writes; may change its body; may be nil
	deliver  func(message []byte)
	incoming int // length of connection IDs in records to us
}

type packet struct {
	from netip.AddrPort
	data []byte
}

func newPipe(w wiring) *pipe {
	p := &pipe{wiring: w}
	p.wake.L = &p.mu
	return p
}

// feed hands a datagram to the engine, or loses it. The pipe keeps data.
func (p *pipe) feed(from netip.AddrPort, data []byte) {
	settled := p.settled.Load()
	if data = sift(data, p.incoming, settled); len(data) == 0 {
		return
	}
	// Once there are keys, records in clear that anyone may have sent must not use up the room of the true ones.
	counted := !p.opened.Load() || data[3] == 0 && data[4] == 0
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.queue) >= maxQueued || counted && p.intake+len(data) > maxHandshakeBytes {
		return
	}
	if counted {
		p.intake += len(data)
	}
	p.queue = append(p.queue, packet{from, data})
	p.wake.Broadcast()
}

// received takes a message that the engine has decrypted, and delivers it once its sender's address is known.
func (p *pipe) received(message []byte) {
	p.settled.Store(true)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.parked = append(p.parked, message)
	if !p.busy {
		p.flush()
	}
}

// flush delivers in order. p.mu is held.
func (p *pipe) flush() {
	for _, message := range p.parked {
		p.deliver(message)
	}
	p.parked = nil
}

// ReadFrom implements net.PacketConn: the engine is done with the datagram before.
func (p *pipe) ReadFrom(b []byte) (int, net.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy = false
	p.flush()
	for len(p.queue) == 0 && !p.closed && !p.expired {
		p.wake.Wait()
	}
	switch {
	case p.closed:
		return 0, nil, net.ErrClosed
	case p.expired:
		return 0, nil, os.ErrDeadlineExceeded
	}
	next := p.queue[0]
	if p.queue = p.queue[1:]; len(p.queue) == 0 {
		p.queue = nil
	}
	p.busy = true
	return copy(b, next.data), wireAddr(next.from), nil
}

// WriteTo implements net.PacketConn.
func (p *pipe) WriteTo(b []byte, to net.Addr) (int, error) {
	if p.written != nil {
		if r, ok := firstRecord(b, 0); ok {
			p.written(r)
		}
	}
	if err := p.write(b, addrPort(to)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Close implements net.PacketConn. The socket stays open.
func (p *pipe) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.queue, p.parked = nil, nil
	p.wake.Broadcast()
	return nil
}

// LocalAddr implements net.PacketConn.
func (p *pipe) LocalAddr() net.Addr { return p.local }

// SetReadDeadline implements net.PacketConn as far as the engine uses it: a time in the past interrupts a read, the zero
// time lets reads wait again.
func (p *pipe) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expired = !t.IsZero()
	p.wake.Broadcast()
	return nil
}

// SetDeadline implements net.PacketConn.
func (p *pipe) SetDeadline(t time.Time) error { return p.SetReadDeadline(t) }

// SetWriteDeadline implements net.PacketConn. Writes do not wait.
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }
