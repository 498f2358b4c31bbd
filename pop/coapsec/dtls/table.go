package dtls

import (
	"context"
	"crypto/rand"
	"net"
	"net/netip"
)

// begin makes an association for a client that says hello. evicted has to be closed. It returns nil when there is no
// room: the client tries again.
func (s *Server) begin(from netip.AddrPort, cancel context.CancelFunc) (a, evicted *association) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.o.Now()
	// While handshakes are scarce a client waits for its first retransmission: an invented address has none.
	if 2*s.handshakes.Len() >= s.o.MaxHandshakes && !s.grey.returns(from, now) {
		return nil, nil
	}
	if s.closed || s.places[from] != nil && s.places[from].pending != nil {
		return nil, nil
	}
	if s.handshakes.Len() >= s.o.MaxHandshakes {
		if evicted = s.oldestUnproven(); evicted == nil {
			return nil, nil
		}
		s.remove(evicted)
	}
	s.count++
	a = &association{server: s, id: alias(s.count), home: from, cancel: cancel, begun: now}
	a.where.Store(&from)
	a.cid = s.freshCID()
	a.pipe = newPipe(wiring{
		local: s.socket.LocalAddr(), incoming: cidLength, written: a.written, deliver: a.deliver,
		write: func(data []byte, to netip.AddrPort) error {
			_, err := s.socket.WriteTo(data, net.UDPAddrFromAddrPort(to))
			return err
		},
	})
	s.byCID[a.cid] = a
	s.place(from).pending = a
	s.handshakes.PushBack(a)
	return a, evicted
}

func (s *Server) place(at netip.AddrPort) *place {
	p := s.places[at]
	if p == nil {
		p = &place{}
		s.places[at] = p
	}
	return p
}

func (s *Server) freshCID() (cid [cidLength]byte) {
	for {
		_, _ = rand.Read(cid[:]) // never fails (Go 1.24)
		if s.byCID[cid] == nil {
			return cid
		}
	}
}

func (s *Server) oldestUnproven() *association {
	for e := s.handshakes.Front(); e != nil; e = e.Next() {
		if a := e.Value.(*association); !a.proven {
			return a
		}
	}
	return nil
}

// hostOf is who may be one client: an IP address, or the link of an IPv6 one, whose lower 64 bits it has at will.
func hostOf(a netip.Addr) netip.Prefix {
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	host, _ := a.WithZone("").Prefix(bits) // bits always fit
	return host
}

// prove takes note that the client of a handshake receives at its address. One host may hold a share of these: beyond it,
// the oldest handshake from there ends.
func (s *Server) prove(a *association) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.removed || a.proven {
		return
	}
	a.proven = true
	var oldest *association
	held := 0
	for e := s.handshakes.Front(); e != nil; e = e.Next() {
		if other := e.Value.(*association); other.proven && hostOf(other.home.Addr()) == hostOf(a.home.Addr()) {
			if oldest == nil {
				oldest = other
			}
			held++
		}
	}
	if held > max(1, s.o.MaxHandshakes/handshakeShare) {
		s.remove(oldest)
		oldest.cancel()
	}
}

// claim notes whose key a handshake uses. It is false if a session was ended since: the key may be gone.
func (s *Server) claim(a *association, session any, ends uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ends.Load() != ends {
		return false
	}
	a.session = session
	return true
}

// establish makes a handshake that has ended an association that stands, and is false if it was dropped meanwhile. Only
// now do others make room for it: one at its address that uses no connection ID and so can be reached no more, the
// oldest of its session if there are too many, and the one idle longest if there are too many in all.
func (s *Server) establish(a *association) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.removed {
		return false
	}
	s.forgetHandshake(a)
	now := s.o.Now()
	a.since, a.used = now, now
	p := s.place(a.home)
	if old := p.current; old != nil && !old.usesID.Load() {
		s.evict(old)
		p = s.place(a.home)
	}
	p.current = a
	s.byID[a.id] = s.established.PushBack(a)
	if same := s.ofSession(a.session); len(same) > maxPerSession {
		s.evict(same[0])
	}
	if s.established.Len() > s.o.MaxSessions {
		s.evict(s.established.Front().Value.(*association))
	}
	return true
}

// ofSession lists the associations of a session, idle longest first. s.mu is held.
func (s *Server) ofSession(session any) (same []*association) {
	for e := s.established.Front(); e != nil; e = e.Next() {
		if a := e.Value.(*association); a.session == session {
			same = append(same, a)
		}
	}
	return same
}

// evict removes an association and closes it elsewhere: closing waits for the engine. s.mu is held.
func (s *Server) evict(a *association) {
	s.remove(a)
	s.work.Go(a.close)
}

// remove forgets an association or handshake. s.mu is held.
func (s *Server) remove(a *association) {
	if a.removed {
		return
	}
	a.removed = true
	s.forgetHandshake(a)
	delete(s.byCID, a.cid)
	if e := s.byID[a.id]; e != nil {
		s.established.Remove(e)
		delete(s.byID, a.id)
	}
	p := s.places[a.home]
	if p != nil && p.current == a {
		p.current = nil
	}
	s.tidy(a.home)
}

func (s *Server) forgetHandshake(a *association) {
	for e := s.handshakes.Front(); e != nil; e = e.Next() {
		if e.Value.(*association) == a {
			s.handshakes.Remove(e)
			break
		}
	}
	if p := s.places[a.home]; p != nil && p.pending == a {
		p.pending = nil
	}
	s.tidy(a.home)
}

func (s *Server) tidy(at netip.AddrPort) {
	if p := s.places[at]; p != nil && p.current == nil && p.pending == nil {
		delete(s.places, at)
	}
}

// drop removes and closes an association that has ended by itself.
func (s *Server) drop(a *association) {
	s.mu.Lock()
	s.remove(a)
	s.mu.Unlock()
	a.close()
}

func (s *Server) removeAll() (removed []*association) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, a := range s.byCID {
		removed = append(removed, a)
	}
	for _, a := range removed {
		s.remove(a)
	}
	return removed
}

func (s *Server) removeSession(session any) (removed []*association) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.byCID {
		if a.session == session && session != nil {
			removed = append(removed, a)
		}
	}
	for _, a := range removed {
		s.remove(a)
	}
	return removed
}

func (s *Server) removeIdle() (removed []*association) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := s.established.Front(); e != nil; e = s.established.Front() {
		a := e.Value.(*association)
		if s.o.Now().Sub(a.used) < s.o.Idle {
			break
		}
		s.remove(a)
		removed = append(removed, a)
	}
	return removed
}

// touch notes that an association is in use, and is false if it has been removed.
func (s *Server) touch(a *association) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byID[a.id]
	if e == nil {
		return false
	}
	a.used = s.o.Now()
	s.established.MoveToBack(e)
	return true
}

func (s *Server) byName(id netip.AddrPort) *association {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.byID[id]; e != nil {
		return e.Value.(*association)
	}
	return nil
}

func (s *Server) find(cid [cidLength]byte) *association {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byCID[cid]
}

func (s *Server) at(from netip.AddrPort) (current, pending *association) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.places[from]; p != nil {
		return p.current, p.pending
	}
	return nil, nil
}
