package coapsec

import (
	"container/list"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
)

// packetConn is the part of net.UDPConn that needs no allocation per datagram.
type packetConn interface {
	ReadFromUDPAddrPort(buf []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(data []byte, to netip.AddrPort) (int, error)
}

// aliased makes a packetConn of any net.PacketConn. Peers that have no IP address are known by an alias of fc00::/7 (RFC
// 4193), each in a /64 of its own, which never leaves the process and is never given twice. The peer that has been silent
// for longest gives way when there are too many.
type aliased struct {
	net.PacketConn

	mu      sync.Mutex
	byName  map[string]*list.Element // of *named
	byAlias map[netip.AddrPort]*list.Element
	heard   *list.List // the one silent for longest first
	given   uint64
}

type named struct {
	peer  net.Addr
	alias netip.AddrPort
}

func newAliased(c net.PacketConn) *aliased {
	return &aliased{PacketConn: c, byName: map[string]*list.Element{}, byAlias: map[netip.AddrPort]*list.Element{}, heard: list.New()}
}

// ReadFromUDPAddrPort implements packetConn. What comes from nowhere, as from a unix socket without a name, cannot be
// answered and is skipped.
func (c *aliased) ReadFromUDPAddrPort(buf []byte) (int, netip.AddrPort, error) {
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return 0, netip.AddrPort{}, err
		}
		if at := c.alias(from); at.IsValid() {
			return n, at, nil
		}
	}
}

// WriteToUDPAddrPort implements packetConn.
func (c *aliased) WriteToUDPAddrPort(data []byte, to netip.AddrPort) (int, error) {
	c.mu.Lock()
	e := c.byAlias[to]
	c.mu.Unlock()
	if e == nil {
		return c.WriteTo(data, net.UDPAddrFromAddrPort(to))
	}
	return c.WriteTo(data, e.Value.(*named).peer)
}

// alias gives a peer's address, the same each time it is heard of; invalid for one without a name.
func (c *aliased) alias(peer net.Addr) netip.AddrPort {
	if udp, ok := peer.(*net.UDPAddr); ok {
		return udp.AddrPort()
	}
	if peer == nil || peer.String() == "" {
		return netip.AddrPort{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byName[peer.String()]; e != nil {
		c.heard.MoveToBack(e)
		return e.Value.(*named).alias
	}
	if c.heard.Len() >= maxAliases {
		oldest := c.heard.Remove(c.heard.Front()).(*named)
		delete(c.byName, oldest.peer.String())
		delete(c.byAlias, oldest.alias)
	}
	c.given++
	prefix := [16]byte{}
	binary.BigEndian.PutUint64(prefix[:], 0xfd<<56|c.given)
	e := c.heard.PushBack(&named{peer, netip.AddrPortFrom(netip.AddrFrom16(prefix), 5683)})
	c.byName[peer.String()], c.byAlias[e.Value.(*named).alias] = e, e
	return e.Value.(*named).alias
}

// ToAddr is To for a peer whose address is not one of UDP. Peer.Address of its own requests is an alias, good for as long as the
// process lives. An error says that the connection has no such addresses.
func (e *Endpoint) ToAddr(peer net.Addr) (Exchanger, error) {
	if udp, ok := peer.(*net.UDPAddr); ok {
		return e.To(udp.AddrPort()), nil
	}
	c, ok := e.conn.(*aliased)
	if !ok || peer == nil || peer.String() == "" {
		return nil, fmt.Errorf("coapsec: %v is no address of this connection", peer)
	}
	return e.To(c.alias(peer)), nil
}
