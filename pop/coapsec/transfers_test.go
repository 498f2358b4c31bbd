package coapsec

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"pgregory.net/rapid"
)

// check fails if the books of t do not balance or a bound is broken.
func (f *transfers) check(t interface{ Errorf(string, ...any) }) {
	total, ofPeers := 0, 0
	for key, one := range f.all {
		if one.key != key || one.charged != one.size() {
			t.Errorf("a body of %d bytes is charged %d", one.size(), one.charged)
		}
		total += one.charged
	}
	for _, peer := range f.peers {
		ofPeers += peer.bytes
		if peer.bytes > f.o.PerPeer || peer.order.Len() == 0 {
			t.Errorf("a peer has %d bytes in %d bodies, at most %d", peer.bytes, peer.order.Len(), f.o.PerPeer)
		}
	}
	if total != f.bytes || ofPeers != f.bytes || f.bytes > f.o.Total || len(f.all) != f.order.Len() {
		t.Errorf("%d bytes by body, %d by peer, %d in all; %d bodies, %d by age", total, ofPeers, f.bytes, len(f.all), f.order.Len())
	}
}

func TestAnswersUnderWayAreBounded(t *testing.T) {
	layer := newBlockwise(newLibrary(codes.Content, body(8000)), BlockwiseOptions{})
	friend := newDirect(layer)
	friend.peer.Session = "phone"
	mustExchange(t, friend, get("/log"))
	for n := range 200 {
		one := newDirect(layer)
		one.peer.Address = otherAddress
		mustExchange(t, one, get(fmt.Sprint("/log/", n)))
		mustExchange(t, one, request(codes.POST, fmt.Sprint("/up/", n), nil))
		layer.unprotected.check(t)
	}
	if got := len(layer.unprotected.all); got != 2 {
		t.Errorf("one peer has %d answers, want 2", got)
	}
	for n := range 1000 {
		many := newDirect(layer)
		many.peer.Address = peerNumber(n).String()
		mustExchange(t, many, get("/log"))
	}
	layer.unprotected.check(t)
	m := get("/log")
	m.Code = codes.POST
	m.Options = m.Options.Add(block{number: 1, exponent: 6}.option(message.Block2))
	if got := mustExchange(t, friend, m); got.Code != codes.RequestEntityIncomplete {
		t.Errorf("a POST: got %v, want 4.08", got.Code)
	}
	m.Code = codes.GET
	if got := mustExchange(t, friend, m); got.Code != codes.Content {
		t.Errorf("the one with a key: got %v, want 2.05", got.Code)
	}
}

// TestBoundsHoldWhateverTheOptions: a body that would alone break a bound on all is too long.
func TestBoundsHoldWhateverTheOptions(t *testing.T) {
	layer := newBlockwise(newLibrary(codes.Content, body(3000)), BlockwiseOptions{PerPeer: 2048, MaxBody: 5000})
	s := newSender(t, layer)
	if got := s.send(1, true, 6, body(1024)); got.Code != codes.RequestEntityTooLarge {
		t.Errorf("got %v, want 4.13", got.Code)
	}
	if got := mustExchange(t, newDirect(layer), get("/a")); got.Code != codes.InternalServerError {
		t.Errorf("got %v, want 5.00", got.Code)
	}
	s.send(0, true, 6, body(1024))
	layer.unprotected.check(t)
	exact := newBlockwise(newLibrary(codes.Content, body(1200)), BlockwiseOptions{PerPeer: 1200 + uploadOverhead, BlockSize: 1024})
	if got := mustExchange(t, newDirect(exact), get("/a")); got.Code != codes.InternalServerError {
		t.Errorf("without room for the ETag: got %v, want 5.00", got.Code)
	}
	exact.unprotected.check(t)
}

// step is one request of FuzzTransfers, of a few uploads and downloads by a few peers.
type step struct {
	peer, tag, number, length byte
	exponent                  uint
	more, down                bool
	wait                      time.Duration
}

func stepOf(b []byte) step {
	return step{
		peer: b[0] & 3, tag: b[0] >> 2 & 3, down: b[0]&0x10 != 0, more: b[0]&0x20 != 0, wait: time.Duration(b[0]>>6) * 25 * time.Second,
		number: b[1], exponent: uint(b[2] & 3), length: b[3],
	}
}

// at is the byte that body tag has at i.
func at(tag byte, i int) byte { return byte(i)*7 ^ byte(i>>8) ^ tag*85 }

func slice(tag byte, start, end int) []byte {
	b := make([]byte, end-start)
	for i := range b {
		b[i] = at(tag, start+i)
	}
	return b
}

const fuzzedAnswer = 700

// FuzzTransfers sends any blocks in any order. Whatever reaches the handler is the beginning of a body, without gaps, and
// whatever comes back is the block that was asked for; the bounds hold.
func FuzzTransfers(f *testing.F) {
	f.Add([]byte{0x20, 0, 0, 16, 0x20, 1, 0, 16, 0, 2, 0, 5})
	f.Add([]byte{0x10, 0, 2, 0, 0x10, 1, 2, 0, 0xd0, 2, 1, 0})
	f.Add([]byte{0x20, 0, 1, 32, 0x24, 0, 1, 32, 0, 1, 1, 3, 0x10, 1, 0, 0})
	f.Fuzz(func(t *testing.T, steps []byte) {
		now := epoch
		h := HandlerFunc(func(_ context.Context, r *Request) message.Message {
			tag := byte(0)
			for _, o := range r.Options {
				if o.ID == message.URIQuery {
					tag = o.Value[0]
				}
			}
			if !bytes.Equal(r.Payload, slice(tag, 0, len(r.Payload))) {
				t.Errorf("the handler got %d other bytes", len(r.Payload))
			}
			return message.Message{Code: codes.Content, Payload: slice(tag, 0, fuzzedAnswer)}
		})
		layer := newBlockwise(h, BlockwiseOptions{Now: func() time.Time { return now }, MaxBody: 1000, PerPeer: 2500, Total: 8000})
		for ; len(steps) >= 4; steps = steps[4:] {
			s := stepOf(steps)
			now = now.Add(s.wait)
			b := block{int(s.number), s.more, s.exponent}
			m := request(codes.POST, "/a", nil)
			m.Options = m.Options.Add(message.Option{ID: message.URIQuery, Value: []byte{s.tag}})
			if s.down {
				m.Options = m.Options.Add(b.option(message.Block2))
			} else {
				m.Options = m.Options.Add(b.option(message.Block1))
				m.Payload = slice(s.tag, b.offset(), b.offset()+min(int(s.length), 2*b.size()))
			}
			r := &Request{Message: m, Peer: Peer{Address: fmt.Sprint(s.peer)}}
			if s.peer&1 != 0 {
				r.Peer.Session = s.peer
			}
			got := layer.ServeCoAP(t.Context(), r)
			part, found, err := findBlock(got.Options, message.Block2)
			if err != nil || found && !bytes.Equal(got.Payload, slice(s.tag, part.offset(), min(part.offset()+part.size(), fuzzedAnswer))) {
				t.Errorf("got %d other bytes as %v, %v", len(got.Payload), part, err)
			}
			layer.protected.check(t)
			layer.unprotected.check(t)
		}
	})
}

var errLost = errors.New("lost")

// bad is a network under OSCORE: it loses, repeats and holds back messages as drawn.
type bad struct {
	t    *rapid.T
	to   Handler
	held []message.Message
}

func (b *bad) Exchange(ctx context.Context, m message.Message) (message.Message, error) {
	deliver := func(m message.Message) message.Message {
		return b.to.ServeCoAP(ctx, &Request{Message: m, Peer: Peer{Address: phoneAddress}})
	}
	for len(b.held) > 0 && rapid.IntRange(0, 3).Draw(b.t, "late") == 0 {
		n := rapid.IntRange(0, len(b.held)-1).Draw(b.t, "which")
		deliver(b.held[n])
	}
	b.held = append(b.held, m)
	fate := rapid.SampledFrom([]string{"arrives", "arrives", "arrives", "arrives", "arrives", "arrives", "arrives twice", "is lost", "answer is lost"}).Draw(b.t, "fate")
	if fate == "is lost" {
		return message.Message{}, errLost
	}
	answer := deliver(m)
	if fate == "arrives twice" {
		deliver(m)
	}
	if fate == "answer is lost" {
		return message.Message{}, errLost
	}
	return answer, nil
}

// TestBodiesArriveWholeOrNotAtAll: over a network that does what it likes to protected messages, the handler sees each body
// whole and once or not at all, and so does the client its answer; who hears of a success has had it.
func TestBodiesArriveWholeOrNotAtAll(t *testing.T) {
	phone, server := context1(t, 1, 2, oscore.Options{}), context1(t, 2, 1, oscore.Options{})
	number := uint32(0)
	rapid.Check(t, func(t *rapid.T) {
		seen := map[uint32]int{}
		h := HandlerFunc(func(_ context.Context, r *Request) message.Message {
			id := binary.BigEndian.Uint32(r.Payload)
			if want := append(binary.BigEndian.AppendUint32(nil, id), body(len(r.Payload)-4)...); !bytes.Equal(r.Payload, want) {
				t.Errorf("body %d: got %d other bytes", id, len(r.Payload))
			}
			seen[id]++
			answer := append(binary.BigEndian.AppendUint32(nil, id), body(int(r.Payload[4+7])%5*100)...)
			return message.Message{Code: codes.Changed, Payload: append(answer, byte(len(r.Payload)))}
		})
		layer := newBlockwise(h, BlockwiseOptions{})
		network := &bad{t: t, to: NewSecurity(byKID{"\x01": Static(server)}, HandlerFunc(plainOK), layer, SecurityOptions{})}
		size := 16 << rapid.IntRange(0, 3).Draw(t, "size")
		x := Blocks(Secure(network, phone), BlocksOptions{Size: size, AnswerSize: size})
		for range rapid.IntRange(1, 6).Draw(t, "requests") {
			number++
			payload := append(binary.BigEndian.AppendUint32(nil, number), body(rapid.IntRange(20, 500).Draw(t, "length"))...)
			got, err := x.Exchange(context.Background(), request(codes.POST, "/a", payload))
			if seen[number] > 1 {
				t.Errorf("body %d was acted upon %d times", number, seen[number])
			}
			switch {
			case err == nil && got.Code == codes.Changed:
				if seen[number] != 1 || binary.BigEndian.Uint32(got.Payload) != number || got.Payload[len(got.Payload)-1] != byte(len(payload)) {
					t.Errorf("body %d: a success of %d bytes after %d calls", number, len(got.Payload), seen[number])
				}
			case err == nil && got.Code != codes.RequestEntityIncomplete:
				t.Errorf("got %v", got.Code)
			}
			layer.protected.check(t)
		}
	})
}
