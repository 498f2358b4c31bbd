package coapsec

import (
	"context"
	"net/netip"
	"slices"
)

// turns are what is on its way to a peer and what waits for that: RFC 7252 §4.7 allows one message that is neither
// acknowledged nor answered (NSTART), because the peer and its network may be slow, and a burst would be repeated as one.
// Responses are not held back.
type turns struct {
	taken   int
	waiting []chan struct{} // each closed when it is its turn
}

// takeTurn waits until less than NStart of ours is on its way to peer. If it returns nil, giveTurn must follow.
func (e *Endpoint) takeTurn(ctx context.Context, peer netip.AddrPort) error {
	e.mu.Lock()
	t := e.turns[peer]
	if t == nil {
		t = &turns{}
		e.turns[peer] = t
	}
	if t.taken < e.o.NStart {
		t.taken++
		e.mu.Unlock()
		return nil
	}
	if len(t.waiting) >= maxTurns {
		e.mu.Unlock()
		return ErrBusy
	}
	turn := make(chan struct{})
	t.waiting = append(t.waiting, turn)
	e.mu.Unlock()
	var err error
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-e.done:
		err = ErrClosed
	}
	e.leaveTurn(peer, turn)
	return err
}

// leaveTurn gives up waiting, or the turn if it has come meanwhile.
func (e *Endpoint) leaveTurn(peer netip.AddrPort, turn chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.turns[peer]
	if i := slices.Index(t.waiting, turn); i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
		return
	}
	e.nextTurn(peer)
}

// giveTurn lets the next one send.
func (e *Endpoint) giveTurn(peer netip.AddrPort) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.nextTurn(peer)
}

func (e *Endpoint) nextTurn(peer netip.AddrPort) {
	t := e.turns[peer]
	if len(t.waiting) > 0 {
		close(t.waiting[0])
		t.waiting = t.waiting[1:]
		return
	}
	if t.taken--; t.taken == 0 {
		delete(e.turns, peer)
	}
}
