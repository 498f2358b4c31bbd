package coapsec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// recorder is a handler that keeps the requests it gets.
type recorder struct {
	mu       sync.Mutex
	requests []*Request
	response message.Message
}

func (r *recorder) ServeCoAP(_ context.Context, request *Request) message.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, request)
	if r.response.Code == codes.Empty {
		return message.Message{Code: codes.Changed}
	}
	return r.response
}

// body is n bytes that differ everywhere, so that a block out of place shows.
func body(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8*37)
	}
	return b
}

func TestUploadsArriveWholeOverUDP(t *testing.T) {
	for _, size := range []int{16, 32, 64, 128, 256, 512, 1024} {
		for _, length := range []int{1, size, size + 1, 2 * size, 3000} {
			t.Run(fmt.Sprintf("%d bytes in blocks of %d", length, size), func(t *testing.T) {
				rec := &recorder{}
				var mu sync.Mutex
				tokens := map[string]bool{}
				blocks := 0
				layer := Blockwise(rec, BlockwiseOptions{})
				counted := HandlerFunc(func(ctx context.Context, r *Request) message.Message {
					mu.Lock()
					defer mu.Unlock()
					tokens[string(r.Token)] = true
					blocks++
					return layer.ServeCoAP(ctx, r)
				})
				server := serve(t, udp(t), counted, EndpointOptions{})
				x := UploadBlocks(serve(t, udp(t), nil, EndpointOptions{}).To(server.LocalAddr()), size)
				m := request(codes.POST, "/authz-info", body(length))
				m.Options = append(m.Options, message.Option{ID: message.ContentFormat, Value: uintOption(19)})
				got, err := x.Exchange(t.Context(), m)
				if err != nil || got.Code != codes.Changed || len(got.Options) != 0 {
					t.Fatalf("got %v %v, %v, want a bare 2.04", got.Code, got.Options, err)
				}
				mu.Lock()
				defer mu.Unlock()
				if len(rec.requests) != 1 {
					t.Fatalf("got %d requests, want one", len(rec.requests))
				}
				r := rec.requests[0]
				if !bytes.Equal(r.Payload, body(length)) {
					t.Errorf("got %d bytes, want %d, the same", len(r.Payload), length)
				}
				if path, _ := r.Path(); path != "/authz-info" || len(r.Options) != 2 {
					t.Errorf("got %s with options %v", path, r.Options)
				}
				if want := (length + size - 1) / size; blocks != want || len(tokens) != want {
					t.Errorf("got %d blocks with %d tokens, want %d", blocks, len(tokens), want)
				}
			})
		}
	}
}

// sender makes blocks by hand and gives them to a handler.
type sender struct {
	t       *testing.T
	handler Handler
	peer    Peer
	tag     []byte
	extra   message.Options
	code    codes.Code
}

func newSender(t *testing.T, h Handler) *sender {
	return &sender{t: t, handler: h, peer: Peer{Address: "192.0.2.1:5683"}, tag: []byte{1}, code: codes.POST}
}

// send gives one block; szx is its exponent.
func (s *sender) send(number int, more bool, szx uint, payload []byte) message.Message {
	s.t.Helper()
	m := request(s.code, "/authz-info", payload)
	m.Token = message.Token{byte(number), 99}
	for _, o := range s.extra {
		m.Options = m.Options.Add(o)
	}
	m.Options = m.Options.Add(block{number, more, szx}.option(message.Block1))
	m.Options = m.Options.Add(message.Option{ID: optionRequestTag, Value: s.tag})
	return s.handler.ServeCoAP(context.Background(), &Request{Message: m, Peer: s.peer})
}

func (s *sender) want(got message.Message, code codes.Code, number int, more bool, szx uint) {
	s.t.Helper()
	b, found, err := findBlock(got.Options, message.Block1)
	if got.Code != code || !found || err != nil || b != (block{number, more, szx}) {
		s.t.Errorf("got %v with Block1 %v, want %v with %v", got.Code, b, code, block{number, more, szx})
	}
}

func TestBlocksOutOfPlaceAreRefused(t *testing.T) {
	full := body(64)
	for _, test := range []struct {
		name string
		send func(s *sender)
	}{
		{"the first is missing", func(s *sender) {
			s.want(s.send(1, true, 0, full[16:32]), codes.RequestEntityIncomplete, 1, false, 0)
		}},
		{"the only one is the last", func(s *sender) {
			s.want(s.send(3, false, 0, full[48:]), codes.RequestEntityIncomplete, 3, false, 0)
		}},
		{"one between is missing", func(s *sender) {
			s.want(s.send(0, true, 0, full[:16]), codes.Continue, 0, true, 0)
			s.want(s.send(2, true, 0, full[32:48]), codes.RequestEntityIncomplete, 2, false, 0)
		}},
		{"the last comes too early", func(s *sender) {
			s.want(s.send(0, true, 0, full[:16]), codes.Continue, 0, true, 0)
			s.want(s.send(3, false, 0, full[48:]), codes.RequestEntityIncomplete, 3, false, 0)
		}},
		{"one comes again with other bytes", func(s *sender) {
			s.want(s.send(0, true, 0, full[:16]), codes.Continue, 0, true, 0)
			s.want(s.send(1, true, 0, full[16:32]), codes.Continue, 1, true, 0)
			s.want(s.send(1, true, 0, full[32:48]), codes.RequestEntityIncomplete, 1, false, 0)
		}},
		{"short one that is not the last", func(s *sender) {
			s.want(s.send(0, true, 0, full[:15]), codes.BadRequest, 0, false, 0)
		}},
		{"longer than its size", func(s *sender) {
			s.want(s.send(0, false, 0, full[:17]), codes.BadRequest, 0, false, 0)
		}},
		{"from another address", func(s *sender) {
			s.send(0, true, 0, full[:16])
			s.peer.Address = "192.0.2.2:5683"
			s.want(s.send(1, false, 0, full[16:32]), codes.RequestEntityIncomplete, 1, false, 0)
		}},
		{"under a security context", func(s *sender) {
			s.send(0, true, 0, full[:16])
			s.peer.Context = new(oscore.Context)
			s.want(s.send(1, false, 0, full[16:32]), codes.RequestEntityIncomplete, 1, false, 0)
		}},
		{"under another security context", func(s *sender) {
			s.peer.Context = new(oscore.Context)
			s.send(0, true, 0, full[:16])
			s.peer.Context = new(oscore.Context)
			s.want(s.send(1, false, 0, full[16:32]), codes.RequestEntityIncomplete, 1, false, 0)
		}},
		{"with another Request-Tag", func(s *sender) {
			s.send(0, true, 0, full[:16])
			s.tag = []byte{2}
			s.want(s.send(1, false, 0, full[16:32]), codes.RequestEntityIncomplete, 1, false, 0)
		}},
		{"with another code", func(s *sender) {
			s.send(0, true, 0, full[:16])
			s.code = codes.PUT
			s.want(s.send(1, false, 0, full[16:32]), codes.RequestEntityIncomplete, 1, false, 0)
		}},
		{"with another Content-Format", func(s *sender) {
			s.send(0, true, 0, full[:16])
			s.extra = message.Options{{ID: message.ContentFormat, Value: uintOption(60)}}
			s.want(s.send(1, false, 0, full[16:32]), codes.RequestEntityIncomplete, 1, false, 0)
		}},
		{"to another path", func(s *sender) {
			s.send(0, true, 0, full[:16])
			s.extra = message.Options{{ID: message.URIPath, Value: []byte("more")}}
			s.want(s.send(1, false, 0, full[16:32]), codes.RequestEntityIncomplete, 1, false, 0)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			rec := &recorder{}
			test.send(newSender(t, Blockwise(rec, BlockwiseOptions{})))
			if len(rec.requests) != 0 {
				t.Errorf("the handler got %d requests, want none", len(rec.requests))
			}
		})
	}
}

func TestUploadGoesOnAfterRepetitionsAndRefusals(t *testing.T) {
	rec := &recorder{response: message.Message{Code: codes.Created, Payload: []byte("ok")}}
	s := newSender(t, Blockwise(rec, BlockwiseOptions{}))
	full := body(72)
	s.want(s.send(0, true, 0, full[:16]), codes.Continue, 0, true, 0)
	s.want(s.send(0, true, 0, full[:16]), codes.Continue, 0, true, 0)
	s.want(s.send(1, true, 0, full[16:32]), codes.Continue, 1, true, 0)
	s.want(s.send(0, true, 0, full[:16]), codes.Continue, 0, true, 0)
	s.want(s.send(3, true, 0, full[48:64]), codes.RequestEntityIncomplete, 3, false, 0)
	s.want(s.send(1, true, 1, full[32:64]), codes.Continue, 1, true, 1)   // larger blocks from here
	s.extra = message.Options{{ID: message.Size1, Value: uintOption(72)}} // not part of the cache key
	got := s.send(4, false, 0, full[64:])
	s.want(got, codes.Created, 4, false, 0)
	if string(got.Payload) != "ok" || len(rec.requests) != 1 || !bytes.Equal(rec.requests[0].Payload, full) {
		t.Errorf("got %q and %d requests", got.Payload, len(rec.requests))
	}
	s.want(s.send(4, false, 0, full[64:]), codes.RequestEntityIncomplete, 4, false, 0)
}

func TestNewFirstBlockStartsAnew(t *testing.T) {
	rec := &recorder{}
	s := newSender(t, Blockwise(rec, BlockwiseOptions{}))
	s.send(0, true, 0, []byte("old old old old "))
	s.want(s.send(0, true, 0, []byte("new new new new ")), codes.Continue, 0, true, 0)
	s.want(s.send(1, false, 0, []byte("end")), codes.Changed, 1, false, 0)
	if got := string(rec.requests[0].Payload); got != "new new new new end" {
		t.Errorf("got %q", got)
	}
}

func TestTwoUploadsOfOnePeerDoNotMix(t *testing.T) {
	rec := &recorder{}
	layer := Blockwise(rec, BlockwiseOptions{})
	a, b := newSender(t, layer), newSender(t, layer)
	b.tag = []byte{2}
	one, two := body(3000), bytes.Repeat([]byte("two "), 800)
	for number := range 3 {
		a.want(a.send(number, number < 2, 6, one[number*1024:min(3000, number*1024+1024)]), []codes.Code{codes.Continue, codes.Continue, codes.Changed}[number], number, number < 2, 6)
		b.want(b.send(number, true, 6, two[number*1024:number*1024+1024]), codes.Continue, number, true, 6)
	}
	b.want(b.send(3, false, 6, two[3072:]), codes.Changed, 3, false, 6)
	if len(rec.requests) != 2 || !bytes.Equal(rec.requests[0].Payload, one) || !bytes.Equal(rec.requests[1].Payload, two) {
		t.Errorf("got %d requests, want both as sent", len(rec.requests))
	}
}

func TestTooLongUploadIsRefusedWithTheLimit(t *testing.T) {
	rec := &recorder{}
	layer := Blockwise(rec, BlockwiseOptions{}).(*blockwise)
	s := newSender(t, layer)
	full := body(5000)
	check := func(got message.Message, number int) {
		t.Helper()
		s.want(got, codes.RequestEntityTooLarge, number, false, 6)
		if size, err := got.Options.GetUint32(message.Size1); err != nil || size != defaultMaxBody {
			t.Errorf("Size1: got %d, %v, want %d", size, err, defaultMaxBody)
		}
	}
	for number := range 4 {
		s.want(s.send(number, true, 6, full[number*1024:number*1024+1024]), codes.Continue, number, true, 6)
	}
	check(s.send(4, false, 6, full[4096:4097]), 4)
	if layer.unprotected.bytes != 0 {
		t.Error("the refused upload is still held")
	}
	s.extra = message.Options{{ID: message.Size1, Value: uintOption(4097)}}
	check(s.send(0, true, 6, full[:1024]), 0)
	s.extra = nil
	check(s.send(1<<20-1, true, 6, full[:1024]), 1<<20-1)
	for number := range 4 {
		s.send(number, number < 3, 6, full[number*1024:number*1024+1024])
	}
	if len(rec.requests) != 1 || len(rec.requests[0].Payload) != 4096 {
		t.Error("an upload of exactly the limit did not pass")
	}
}

func TestUploadExpires(t *testing.T) {
	now := epoch
	layer := Blockwise(&recorder{}, BlockwiseOptions{Now: func() time.Time { return now }})
	s := newSender(t, layer)
	s.send(0, true, 0, body(16))
	for number := 1; number < 4; number++ { // each block gives it another lifetime
		now = now.Add(defaultBodyLifetime - time.Nanosecond)
		s.want(s.send(number, true, 0, body(16)), codes.Continue, number, true, 0)
	}
	now = now.Add(defaultBodyLifetime)
	s.want(s.send(4, false, 0, body(16)), codes.RequestEntityIncomplete, 4, false, 0)
	if got := layer.(*blockwise).unprotected.bytes; got != 0 {
		t.Errorf("got %d bytes held, want none", got)
	}
}

func TestUploadsUnderWayAreBounded(t *testing.T) {
	layer := Blockwise(&recorder{}, BlockwiseOptions{}).(*blockwise)
	protected := newSender(t, layer)
	protected.peer.Context = new(oscore.Context)
	protected.send(0, true, 6, body(1024))
	one := newSender(t, layer)
	one.peer.Address = "198.51.100.1:5683"
	for n := range 100 {
		one.tag = []byte{byte(n)}
		one.send(0, true, 6, body(1024))
	}
	limit := 2 * (defaultMaxAnswer + uploadOverhead)
	if got := layer.unprotected.bytes; got > limit || got < limit/2 {
		t.Errorf("one peer holds %d bytes, want at most %d", got, limit)
	}
	one.want(one.send(1, true, 6, body(1024)), codes.Continue, 1, true, 6)
	many := newSender(t, layer)
	for n := range 20000 {
		many.peer.Address = peerNumber(n).String()
		many.send(0, true, 0, body(16))
	}
	u := layer.unprotected
	if u.bytes > defaultBodyTotal/2 || len(u.all) != u.order.Len() || len(u.peers) != len(u.all) {
		t.Errorf("got %d bytes, %d uploads, %d by age, %d peers", u.bytes, len(u.all), u.order.Len(), len(u.peers))
	}
	many.want(many.send(1, false, 0, body(16)), codes.Changed, 1, false, 0)
	protected.want(protected.send(1, false, 6, body(1024)), codes.Changed, 1, false, 6)
}

func TestBlock2(t *testing.T) {
	for _, test := range []struct {
		name  string
		value []byte
		want  codes.Code
	}{
		{"first block", []byte{0x06}, codes.Changed},
		{"first block, shortest form", nil, codes.Changed},
		{"second block, of an answer without one", []byte{0x16}, codes.BadRequest},
		{"block 4096", []byte{1, 0, 6}, codes.BadRequest},
		{"reserved size", []byte{7}, codes.BadOption},
		{"four bytes", []byte{0, 0, 0, 6}, codes.BadOption},
	} {
		rec := &recorder{}
		m := request(codes.GET, "/a", nil)
		m.Options = m.Options.Add(message.Option{ID: message.Block2, Value: test.value})
		got := Blockwise(rec, BlockwiseOptions{}).ServeCoAP(t.Context(), &Request{Message: m})
		if got.Code != test.want {
			t.Errorf("%s: got %v, want %v", test.name, got.Code, test.want)
		}
		if got.Code == codes.Changed && rec.requests[0].Options.HasOption(message.Block2) {
			t.Errorf("%s: the handler got Block2", test.name)
		}
	}
}

func TestMalformedBlock1IsRefused(t *testing.T) {
	for _, value := range [][]byte{{7}, {0xf}, {0, 0, 0, 6}} {
		rec := &recorder{}
		m := request(codes.POST, "/a", body(16))
		m.Options = m.Options.Add(message.Option{ID: message.Block1, Value: value})
		if got := Blockwise(rec, BlockwiseOptions{}).ServeCoAP(t.Context(), &Request{Message: m}); got.Code != codes.BadOption || len(rec.requests) != 0 {
			t.Errorf("%x: got %v, want 4.02", value, got.Code)
		}
	}
}

func FuzzBlockwise(f *testing.F) {
	f.Add([]byte{0x08}, []byte("0123456789abcdef"), []byte{0x10}, []byte("rest"))
	f.Add([]byte{0x0e}, make([]byte, 1024), []byte{0x18}, []byte("x"))
	f.Fuzz(func(t *testing.T, first, one, second, two []byte) {
		rec := &recorder{}
		layer := Blockwise(rec, BlockwiseOptions{})
		for _, part := range []struct{ option, payload []byte }{{first, one}, {second, two}} {
			m := request(codes.POST, "/a", part.payload)
			m.Options = m.Options.Add(message.Option{ID: message.Block1, Value: part.option})
			layer.ServeCoAP(context.Background(), &Request{Message: m})
		}
		for _, r := range rec.requests {
			whole := [][]byte{one, two, append(bytes.Clone(one), two...)}
			if !bytes.Equal(r.Payload, whole[0]) && !bytes.Equal(r.Payload, whole[1]) && !bytes.Equal(r.Payload, whole[2]) {
				t.Errorf("got %q out of %q and %q", r.Payload, one, two)
			}
		}
	})
}

// over is an Exchanger that asks a function.
type over func(message.Message) (message.Message, error)

func (f over) Exchange(_ context.Context, m message.Message) (message.Message, error) { return f(m) }

func TestClientFollowsSmallerBlocks(t *testing.T) {
	for _, test := range []struct {
		name string
		from int // blocks of this size or larger are answered with the hint
		code codes.Code
	}{{"asked for with 2.31", 1024, codes.Continue}, {"asked for with 4.13", 1024, codes.RequestEntityTooLarge}} {
		t.Run(test.name, func(t *testing.T) {
			rec := &recorder{}
			layer := Blockwise(rec, BlockwiseOptions{})
			tags := map[string]bool{}
			sent := 0
			x := UploadBlocks(over(func(m message.Message) (message.Message, error) {
				tag, _ := m.Options.GetBytes(optionRequestTag)
				tags[string(tag)] = true
				b, _, _ := findBlock(m.Options, message.Block1)
				hint := block{b.number, true, 2}.option(message.Block1)
				if sent++; sent > 1 && b.size() != 64 {
					t.Errorf("block %d has %d bytes, want 64", sent, b.size())
				}
				if b.size() >= test.from && test.code == codes.RequestEntityTooLarge {
					return message.Message{Code: test.code, Options: message.Options{hint}}, nil
				}
				response := layer.ServeCoAP(t.Context(), &Request{Message: m})
				if b.size() >= test.from {
					response.Options = message.Options{hint}
				}
				return response, nil
			}), 1024)
			got, err := x.Exchange(t.Context(), request(codes.POST, "/a", body(3000)))
			if err != nil || got.Code != codes.Changed || len(rec.requests) != 1 || !bytes.Equal(rec.requests[0].Payload, body(3000)) {
				t.Errorf("got %v, %v and %d requests", got.Code, err, len(rec.requests))
			}
			if want := map[codes.Code]int{codes.Continue: 1, codes.RequestEntityTooLarge: 2}[test.code]; len(tags) != want {
				t.Errorf("got %d request tags, want %d", len(tags), want)
			}
		})
	}
}

func TestClientReturnsOrRefusesAnswersBeforeTheLastBlock(t *testing.T) {
	echoed := func(m message.Message) message.Option {
		b, _, _ := findBlock(m.Options, message.Block1)
		return b.option(message.Block1)
	}
	lost := errors.New("lost")
	for _, test := range []struct {
		name   string
		answer func(m message.Message) (message.Message, error)
		want   codes.Code
		err    error
	}{
		{"4.08", func(m message.Message) (message.Message, error) {
			return message.Message{Code: codes.RequestEntityIncomplete, Options: message.Options{echoed(m)}}, nil
		}, codes.RequestEntityIncomplete, nil},
		{"4.13 without a hint", func(message.Message) (message.Message, error) {
			return message.Message{Code: codes.RequestEntityTooLarge}, nil
		}, codes.RequestEntityTooLarge, nil},
		{"4.04", func(message.Message) (message.Message, error) { return message.Message{Code: codes.NotFound}, nil }, codes.NotFound, nil},
		{"2.04, as if the block were all", func(m message.Message) (message.Message, error) {
			return message.Message{Code: codes.Changed, Options: message.Options{echoed(m)}}, nil
		}, 0, errBlockAnswer},
		{"2.31 without Block1", func(message.Message) (message.Message, error) { return message.Message{Code: codes.Continue}, nil }, 0, errBlockAnswer},
		{"2.31 for another block", func(m message.Message) (message.Message, error) {
			b, _, _ := findBlock(m.Options, message.Block1)
			if !b.more {
				return message.Message{Code: codes.Changed, Options: message.Options{echoed(m)}}, nil
			}
			b.number++
			return message.Message{Code: codes.Continue, Options: message.Options{b.option(message.Block1)}}, nil
		}, 0, errBlockAnswer},
		{"2.31 for ever", func(m message.Message) (message.Message, error) {
			return message.Message{Code: codes.Continue, Options: message.Options{echoed(m)}}, nil
		}, 0, errBlockAnswer},
		{"none", func(message.Message) (message.Message, error) { return message.Message{}, lost }, 0, lost},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := UploadBlocks(over(test.answer), 64).Exchange(t.Context(), request(codes.POST, "/a", body(200)))
			if got.Code != test.want || !errors.Is(err, test.err) || got.Options.HasOption(message.Block1) {
				t.Errorf("got %v, %v, want %v, %v", got.Code, err, test.want, test.err)
			}
		})
	}
}

func TestShortRequestsPassUnchanged(t *testing.T) {
	for _, test := range []struct{ size, longest int }{{64, 64}, {0, 16}, {100, 64}, {5000, 1024}} {
		for _, length := range []int{test.longest, test.longest + 1} {
			var seen message.Message
			x := UploadBlocks(over(func(m message.Message) (message.Message, error) {
				seen = m
				return message.Message{Code: codes.NotFound}, nil
			}), test.size)
			if _, err := x.Exchange(t.Context(), request(codes.POST, "/a", body(length))); err != nil {
				t.Fatal(err)
			}
			if got, want := seen.Options.HasOption(message.Block1), length > test.longest; got != want {
				t.Errorf("size %d, %d bytes: divided %v, want %v", test.size, length, got, want)
			}
		}
	}
}
