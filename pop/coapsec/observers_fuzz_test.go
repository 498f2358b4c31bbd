package coapsec

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// lastSent is a socket that remembers the last Message-ID sent to each peer.
type lastSent struct {
	mu  sync.Mutex
	ids map[netip.AddrPort]uint16
}

func (*lastSent) ReadFromUDPAddrPort([]byte) (int, netip.AddrPort, error) {
	return 0, netip.AddrPort{}, net.ErrClosed
}

func (s *lastSent) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids[to] = uint16(b[2])<<8 | uint16(b[3])
	return len(b), nil
}

func (s *lastSent) id(peer netip.AddrPort) uint16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids[peer]
}

// FuzzObservers lets two peers register, cancel, acknowledge and reject, and the handler notify and end, in any order: each
// byte is one step. Whatever they do, the list of observers holds those whose observation goes on, and no one else.
func FuzzObservers(f *testing.F) {
	for _, steps := range []string{"", "\x00\x04\x03", "\x00\x01\x04\x05\x03\x02\x06", "\x00\x00\x04\x04\x04\x02", "\x00\x07\x04\x03", "\x00\x05\x06\x14\x13\x10\x22"} {
		f.Add([]byte(steps))
	}
	f.Fuzz(func(t *testing.T, steps []byte) {
		var mu sync.Mutex
		var all []Observation
		handler := HandlerFunc(func(_ context.Context, r *Request) message.Message {
			if r.Observation != nil {
				mu.Lock()
				all = append(all, r.Observation)
				mu.Unlock()
			}
			answer := told("state")
			if len(r.Payload) > 0 {
				answer.Options = answer.Options.Add(message.Option{ID: optionOSCORE})
			}
			return answer
		})
		conn := &lastSent{ids: map[netip.AddrPort]uint16{}}
		e := NewEndpoint(&sink{}, handler, EndpointOptions{Log: slog.New(slog.DiscardHandler), AckTimeout: time.Millisecond})
		e.conn = conn
		for i, step := range steps[:min(len(steps), 40)] {
			peer, token := peerNumber(int(step>>3&1)), message.Token{step >> 4 & 3}
			m := message.Message{Type: message.Confirmable, MessageID: int32(i), Token: token, Code: codes.GET}
			switch step & 7 {
			case 0, 1:
				m.Options, m.Payload = withObserve(nil, register), make([]byte, step&1)
			case 2:
				m.Options = withObserve(nil, deregister)
			case 3, 4:
				kind := message.Acknowledgement + message.Type(step&7-3)
				e.receive(t.Context(), peer, encodeEmpty(kind, conn.id(peer)))
				continue
			default:
				mu.Lock()
				if len(all) > 0 {
					o := all[int(step>>3)%len(all)]
					note := told("news")
					if step&7 == 7 {
						note.Code = codes.NotFound
					}
					_ = o.Notify(t.Context(), note)
				}
				mu.Unlock()
				continue
			}
			e.receive(t.Context(), peer, mustEncode(t, m))
			e.work.Wait()
			checkObservers(t, e, all)
		}
		_ = e.Close()
		e.work.Wait()
		checkObservers(t, e, all)
		for i, o := range all {
			select {
			case <-o.Done():
			default:
				t.Errorf("observation %d outlives its endpoint", i)
			}
		}
	})
}

func checkObservers(t *testing.T, e *Endpoint, all []Observation) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	l := &e.observed
	listed := 0
	for peer, own := range l.peers {
		if len(own) == 0 || len(own) > maxObservationsPerPeer {
			t.Errorf("%v has %d", peer, len(own))
		}
		for _, g := range own {
			if l.all[g.key] != g || g.key.peer != peer {
				t.Errorf("%v lists what is not there", peer)
			}
		}
		listed += len(own)
	}
	going := 0
	for _, o := range all {
		if g := o.(*registration); !g.over {
			going++
			if l.all[g.key] != g {
				t.Error("an observation goes on that nobody finds")
			}
		}
	}
	ending := 0
	for _, g := range l.all {
		if g.over {
			ending++ // its last notification is under way
		}
	}
	if listed != len(l.all) || going != len(l.all)-ending || l.strangers.Len() > len(l.all) {
		t.Errorf("%d found, %d of them ending, %d listed, %d going on, %d strangers", len(l.all), ending, listed, going, l.strangers.Len())
	}
}
