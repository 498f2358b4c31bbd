package stage

import (
	"net"
	"sync"
)

// Datagram is one packet that crossed the relay.
type Datagram struct {
	ToLock bool
	Bytes  []byte
}

// Relay is the air between a phone and a lock: a UDP relay on loopback that keeps a copy of everything and can hold
// back, change or repeat what it carries. It is safe for concurrent use.
type Relay struct {
	front *net.UDPConn
	lock  *net.UDPAddr

	mu     sync.Mutex
	seen   []Datagram
	change func([]byte) []byte // for datagrams to the lock; nil result holds back
	backs  map[string]*net.UDPConn
}

// NewRelay carries between phones and the lock at address.
func NewRelay(lock string) (*Relay, error) {
	address, err := net.ResolveUDPAddr("udp", lock)
	if err != nil {
		return nil, err
	}
	front, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	r := &Relay{front: front, lock: address, backs: map[string]*net.UDPConn{}}
	go r.forward()
	return r, nil
}

// Address is where phones reach the lock through the relay.
func (r *Relay) Address() string { return "coap://" + r.front.LocalAddr().String() }

// SecureAddress is the same for phones that speak DTLS, if the lock does at its address.
func (r *Relay) SecureAddress() string { return "coaps://" + r.front.LocalAddr().String() }

// Change sets what happens to datagrams on their way to the lock; nil leaves them as they are.
func (r *Relay) Change(f func([]byte) []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.change = f
}

// Seen is everything that crossed so far.
func (r *Relay) Seen() []Datagram {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Datagram(nil), r.seen...)
}

func (r *Relay) forward() {
	buffer := make([]byte, 2048)
	for {
		n, phone, err := r.front.ReadFromUDP(buffer)
		if err != nil {
			return // closed
		}
		datagram := append([]byte(nil), buffer[:n]...)
		r.mu.Lock()
		r.seen = append(r.seen, Datagram{ToLock: true, Bytes: datagram})
		change := r.change
		r.mu.Unlock()
		if change != nil {
			if datagram = change(datagram); datagram == nil {
				continue
			}
		}
		if back, err := r.back(phone); err == nil {
			_, _ = back.Write(datagram) // the air loses packets
		}
	}
}

// back is the socket that stands for one phone towards the lock.
func (r *Relay) back(phone *net.UDPAddr) (*net.UDPConn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.backs == nil {
		return nil, net.ErrClosed
	}
	if c, ok := r.backs[phone.String()]; ok {
		return c, nil
	}
	c, err := net.DialUDP("udp", nil, r.lock)
	if err != nil {
		return nil, err
	}
	r.backs[phone.String()] = c
	go r.backward(c, phone)
	return c, nil
}

func (r *Relay) backward(c *net.UDPConn, phone *net.UDPAddr) {
	buffer := make([]byte, 2048)
	for {
		n, err := c.Read(buffer)
		if err != nil {
			if r.closed() {
				return
			}
			continue // the lock is down; the phone will try again
		}
		datagram := append([]byte(nil), buffer[:n]...)
		r.mu.Lock()
		r.seen = append(r.seen, Datagram{Bytes: datagram})
		r.mu.Unlock()
		_, _ = r.front.WriteToUDP(datagram, phone) // the air loses packets
	}
}

func (r *Relay) closed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.backs == nil
}

// Close ends the relay.
func (r *Relay) Close() {
	_ = r.front.Close() // ends forward
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.backs {
		_ = c.Close()
	}
	r.backs = nil
}
