package coapsec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// direct is an Exchanger to a handler in memory. It keeps the requests.
type direct struct {
	to       Handler
	peer     Peer
	requests []message.Message
}

func newDirect(h Handler) *direct { return &direct{to: h, peer: Peer{Address: "192.0.2.1:5683"}} }

func (d *direct) Exchange(ctx context.Context, m message.Message) (message.Message, error) {
	d.requests = append(d.requests, m)
	return d.to.ServeCoAP(ctx, &Request{Message: m, Peer: d.peer}), nil
}

// library answers with a body of its own, after taking any.
type library struct {
	recorder
}

func newLibrary(code codes.Code, payload []byte, options ...message.Option) *library {
	l := &library{}
	l.response = message.Message{Code: code, Options: options, Payload: payload}
	return l
}

func get(path string) message.Message { return request(codes.GET, path, nil) }

func TestBodiesComeWholeBothWays(t *testing.T) {
	for _, size := range []int{16, 64, 256, 1024} {
		for _, up := range []int{0, 5, size, size + 1, 3000} {
			for _, down := range []int{0, 5, size, size + 1, 2 * size, 2500} {
				t.Run(fmt.Sprintf("%d up, %d down, by %d", up, down, size), func(t *testing.T) {
					l := newLibrary(codes.Changed, body(down), message.Option{ID: message.ContentFormat, Value: []byte{42}})
					d := newDirect(Blockwise(l, BlockwiseOptions{}))
					d.peer.Session = "phone"
					x := Blocks(d, BlocksOptions{Size: size, AnswerSize: size})
					got := mustExchange(t, x, request(codes.POST, "/a", body(up)))
					if got.Code != codes.Changed || !bytes.Equal(got.Payload, body(down)) {
						t.Errorf("got %v with %d bytes", got.Code, len(got.Payload))
					}
					for _, id := range []message.OptionID{message.Block1, message.Block2, message.Size2} {
						if got.Options.HasOption(id) {
							t.Errorf("option %v is left", id)
						}
					}
					if len(l.requests) != 1 || !bytes.Equal(l.requests[0].Payload, body(up)) || l.requests[0].Options.HasOption(message.Block2) {
						t.Errorf("the handler got %d requests", len(l.requests))
					}
					if want := max(1, blocksOf(up, size)) + max(1, blocksOf(down, size)) - 1; len(d.requests) != want {
						t.Errorf("%d exchanges, want %d", len(d.requests), want)
					}
				})
			}
		}
	}
}

func blocksOf(n, size int) int { return (n + size - 1) / size }

func TestBlocksOfAnAnswer(t *testing.T) {
	l := newLibrary(codes.Content, body(3000), message.Option{ID: message.Observe}, message.Option{ID: message.ContentFormat, Value: []byte{42}})
	d := newDirect(Blockwise(l, BlockwiseOptions{}))
	var tags [][]byte
	for number, length := range []int{1024, 1024, 952} {
		m := get("/log")
		m.Token = message.Token{byte(number)} // libcoap has a new one for each block
		m.Options = m.Options.Add(block{number: number, exponent: 6}.option(message.Block2))
		got := mustExchange(t, d, m)
		part, found, err := findBlock(got.Options, message.Block2)
		if got.Code != codes.Content || len(got.Payload) != length || !found || err != nil || part != (block{number, number < 2, 6}) {
			t.Errorf("block %d: got %v, %v with %d bytes", number, got.Code, part, len(got.Payload))
		}
		size, err := got.Options.GetUint32(message.Size2)
		if (err == nil) != (number == 0) || number == 0 && size != 3000 {
			t.Errorf("block %d: Size2 %d, %v", number, size, err)
		}
		if format, err := got.Options.ContentFormat(); err != nil || format != 42 {
			t.Errorf("block %d: Content-Format %v, %v", number, format, err)
		}
		if got.Options.HasOption(message.Observe) != (number == 0) {
			t.Errorf("block %d: Observe %v", number, got.Options.HasOption(message.Observe))
		}
		tags = append(tags, entityTag(got))
	}
	if len(tags[0]) != etagLength || !bytes.Equal(tags[0], tags[1]) || !bytes.Equal(tags[0], tags[2]) {
		t.Errorf("ETags %x", tags)
	}
	if len(l.requests) != 1 {
		t.Errorf("the handler was asked %d times, want once", len(l.requests))
	}
}

func TestSizesOfAnswerBlocks(t *testing.T) {
	for _, test := range []struct {
		name    string
		server  int
		ask     []byte // value of Block2, nil for none
		want    block
		length  int
		refused codes.Code
	}{
		{name: "nothing asked", want: block{0, true, 6}, length: 1024},
		{name: "the server's own size", server: 256, want: block{0, true, 4}, length: 256},
		{name: "a smaller one asked", ask: []byte{2}, want: block{0, true, 2}, length: 64},
		{name: "a larger one asked than there is", server: 64, ask: []byte{6}, want: block{0, true, 2}, length: 64},
		{name: "a later block by a larger size", server: 64, ask: []byte{0x16}, want: block{16, true, 2}, length: 64},
		{name: "the last block of a smaller size", ask: []byte{0xb, 0xb0}, want: block{187, false, 0}, length: 8},
		{name: "the block after the last", ask: []byte{0xb, 0xc0}, refused: codes.BadRequest},
		{name: "the highest number there is", ask: []byte{0xff, 0xff, 0xf6}, refused: codes.BadRequest},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLibrary(codes.Content, body(3000))
			d := newDirect(Blockwise(l, BlockwiseOptions{BlockSize: test.server}))
			mustExchange(t, d, get("/log"))
			m := get("/log")
			if test.ask != nil {
				m.Options = m.Options.Add(message.Option{ID: message.Block2, Value: test.ask})
			}
			got := mustExchange(t, d, m)
			if test.refused != 0 {
				if got.Code != test.refused || len(got.Payload) != 0 {
					t.Errorf("got %v, want %v", got.Code, test.refused)
				}
				return
			}
			part, _, _ := findBlock(got.Options, message.Block2)
			start := test.want.offset()
			if part != test.want || !bytes.Equal(got.Payload, body(3000)[start:start+test.length]) {
				t.Errorf("got %v with %d bytes, want %v with %d", part, len(got.Payload), test.want, test.length)
			}
		})
	}
}

func TestServerAsksForSmallerBlocks(t *testing.T) {
	l := newLibrary(codes.Changed, nil)
	d := newDirect(Blockwise(l, BlockwiseOptions{BlockSize: 64}))
	mustExchange(t, Blocks(d, BlocksOptions{}), request(codes.POST, "/a", body(3000)))
	if len(l.requests) != 1 || !bytes.Equal(l.requests[0].Payload, body(3000)) {
		t.Fatalf("the handler got %d requests", len(l.requests))
	}
	if want := 1 + blocksOf(3000-1024, 64); len(d.requests) != want {
		t.Errorf("%d exchanges, want %d", len(d.requests), want)
	}
}

// TestAnswersThatAreGone: what was kept for later blocks is not there any more, for whatever reason.
func TestAnswersThatAreGone(t *testing.T) {
	for _, test := range []struct {
		code  codes.Code
		want  codes.Code
		calls int
	}{
		{codes.GET, codes.Content, 2},
		{fetch, codes.RequestEntityIncomplete, 1},
		{codes.POST, codes.RequestEntityIncomplete, 1},
		{codes.PUT, codes.RequestEntityIncomplete, 1},
		{codes.DELETE, codes.RequestEntityIncomplete, 1},
	} {
		t.Run(test.code.String(), func(t *testing.T) {
			now := epoch
			l := newLibrary(codes.Content, body(3000))
			layer := newBlockwise(l, BlockwiseOptions{Now: func() time.Time { return now }})
			d := newDirect(layer)
			m := request(test.code, "/a", nil)
			mustExchange(t, d, m)
			for range 3 { // each block gives it another lifetime
				now = now.Add(defaultBodyLifetime - 1)
				second := m
				second.Options = m.Options.Add(block{number: 1, exponent: 0}.option(message.Block2))
				if got := mustExchange(t, d, second); got.Code != codes.Content {
					t.Fatalf("got %v, want 2.05", got.Code)
				}
			}
			now = now.Add(defaultBodyLifetime)
			m.Options = m.Options.Add(block{number: 1, exponent: 0}.option(message.Block2))
			if got := mustExchange(t, d, m); got.Code != test.want || got.Code == codes.Content && !bytes.Equal(got.Payload, body(3000)[16:32]) {
				t.Errorf("got %v, want %v", got.Code, test.want)
			}
			if len(l.requests) != test.calls {
				t.Errorf("the handler was asked %d times, want %d", len(l.requests), test.calls)
			}
			if test.want != codes.Content && (layer.unprotected.bytes != 0 || len(layer.unprotected.peers) != 0) {
				t.Errorf("%d bytes are still held", layer.unprotected.bytes)
			}
		})
	}
}

func TestLaterBlocksGoToWhoAskedForTheFirst(t *testing.T) {
	first := request(codes.POST, "/a", nil)
	for _, test := range []struct {
		name  string
		peer  func(*Peer)
		other func(*message.Message)
	}{
		{"another address", func(p *Peer) { p.Address = otherAddress }, nil},
		{"another session", func(p *Peer) { p.Session = "someone else" }, nil},
		{"no session", func(p *Peer) { p.Session = nil }, nil},
		{"another path", nil, func(m *message.Message) { m.Options = Options("/b", NoFormat) }},
		{"another code", nil, func(m *message.Message) { m.Code = codes.PUT }},
		{"a Request-Tag", nil, func(m *message.Message) { m.Options = m.Options.Add(message.Option{ID: optionRequestTag}) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDirect(Blockwise(newLibrary(codes.Changed, body(3000)), BlockwiseOptions{}))
			d.peer.Session = "phone"
			mustExchange(t, d, first)
			m := first
			if test.peer != nil {
				test.peer(&d.peer)
			} else {
				test.other(&m)
			}
			m.Options = m.Options.Add(block{number: 1, exponent: 6}.option(message.Block2))
			if got := mustExchange(t, d, m); got.Code != codes.RequestEntityIncomplete {
				t.Errorf("got %v, want 4.08", got.Code)
			}
		})
	}
}

func TestAnswerThatIsTooLong(t *testing.T) {
	layer := newBlockwise(newLibrary(codes.Content, body(defaultMaxAnswer+1)), BlockwiseOptions{})
	if got := mustExchange(t, newDirect(layer), get("/a")); got.Code != codes.InternalServerError || layer.unprotected.bytes != 0 {
		t.Errorf("got %v, %d bytes held", got.Code, layer.unprotected.bytes)
	}
}

// TestAnswersToStrangersKeepWithinTheirRequests: for what has been done there is no asking again.
func TestAnswersToStrangersKeepWithinTheirRequests(t *testing.T) {
	for _, length := range []int{0, 8, 16, 40, 100, 300, 500, 1024} {
		for _, answer := range []int{0, 16, 50, 200, 1000, 2500} {
			l := newLibrary(codes.Changed, body(answer))
			d := newDirect(Blockwise(l, BlockwiseOptions{}))
			m := request(codes.POST, "/a", body(length))
			m.Token = message.Token("12345678")
			got := mustExchange(t, d, m)
			got.Token = m.Token
			sent, came := len(mustEncode(t, m)), len(mustEncode(t, got))
			if sent != sizeOf(m) || came != sizeOf(got) {
				t.Errorf("sizes %d, %d, want %d, %d", sizeOf(m), sizeOf(got), sent, came)
			}
			part, divided, _ := findBlock(got.Options, message.Block2)
			if came > 3*sent && (answer > 16 && !divided || part.exponent > 0) {
				t.Errorf("%d bytes to one of %d, by %d", came, sent, part.size())
			}
			if divided && part.exponent < 6 && 3*sent > came+part.size()+maxBlockOptions {
				t.Errorf("blocks of %d for a request of %d bytes", part.size(), sent)
			}
		}
	}
}

// script answers exchanges one after another.
type script []func(message.Message) (message.Message, error)

func (s *script) Exchange(_ context.Context, m message.Message) (message.Message, error) {
	next := (*s)[0]
	*s = (*s)[1:]
	return next(m)
}

// piece is an answer's block with an ETag; nil for none.
func piece(code codes.Code, b block, tag, payload []byte) func(message.Message) (message.Message, error) {
	return func(message.Message) (message.Message, error) {
		var options message.Options
		if tag != nil {
			options = options.Add(message.Option{ID: message.ETag, Value: tag})
		}
		return message.Message{Code: code, Options: options.Add(b.option(message.Block2)), Payload: payload}, nil
	}
}

func TestDownloadsThatDoNotFit(t *testing.T) {
	full := body(64)
	lost := errors.New("lost")
	one := piece(codes.Content, block{0, true, 0}, []byte("a"), full[:16])
	end := piece(codes.Content, block{1, false, 0}, []byte("a"), full[16:20])
	for _, test := range []struct {
		name   string
		answer script
		code   codes.Code // of the request; 0: GET
		want   codes.Code
		err    error
	}{
		{"both blocks", script{one, end}, 0, codes.Content, nil},
		{"without ETag", script{piece(codes.Content, block{0, true, 0}, nil, full[:16]), piece(codes.Content, block{1, false, 0}, nil, full[16:20])}, 0, codes.Content, nil},
		{"changed once", script{one, piece(codes.Content, block{1, false, 0}, []byte("b"), full[16:20]), one, end}, 0, codes.Content, nil},
		{"changed for ever", script{
			one, piece(codes.Content, block{1, false, 0}, []byte("b"), full[16:20]),
			one, piece(codes.Content, block{1, false, 0}, nil, full[16:20]),
			one, piece(codes.Content, block{1, false, 0}, []byte("c"), full[16:20]),
		}, 0, 0, ErrPartialAnswer},
		{"changed, of a POST", script{one, piece(codes.Content, block{1, false, 0}, []byte("b"), full[16:20])}, codes.POST, 0, ErrPartialAnswer},
		{"gone meanwhile", script{one, piece(codes.NotFound, block{1, false, 0}, nil, nil)}, 0, codes.NotFound, nil},
		{"gone meanwhile, of a POST", script{one, piece(codes.RequestEntityIncomplete, block{1, false, 0}, nil, nil)}, codes.POST, 0, ErrPartialAnswer},
		{"an error in blocks", script{
			piece(codes.Unauthorized, block{0, true, 0}, nil, full[:16]), piece(codes.Unauthorized, block{1, false, 0}, nil, full[16:20]),
		}, 0, codes.Unauthorized, nil},
		{"not the first", script{end}, 0, 0, ErrPartialAnswer},
		{"short block that is not the last", script{piece(codes.Content, block{0, true, 0}, nil, full[:15])}, 0, 0, ErrPartialAnswer},
		{"first one again", script{one, one}, 0, 0, ErrPartialAnswer},
		{"one left out", script{one, piece(codes.Content, block{2, false, 0}, []byte("a"), nil)}, 0, 0, ErrPartialAnswer},
		{"no block option", script{one, func(message.Message) (message.Message, error) {
			return message.Message{Code: codes.Content, Payload: full}, nil
		}}, 0, 0, ErrPartialAnswer},
		{"larger blocks", script{one, piece(codes.Content, block{1, false, 1}, []byte("a"), full[16:])}, 0, 0, ErrPartialAnswer},
		{"too much in the last", script{one, piece(codes.Content, block{1, false, 0}, []byte("a"), full[16:40])}, 0, 0, ErrPartialAnswer},
		{"malformed", script{func(message.Message) (message.Message, error) {
			return message.Message{Code: codes.Content, Options: message.Options{{ID: message.Block2, Value: []byte{7}}}}, nil
		}}, 0, 0, ErrPartialAnswer},
		{"lost", script{one, func(message.Message) (message.Message, error) { return message.Message{}, lost }}, 0, 0, lost},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := get("/a")
			if test.code != 0 {
				m.Code = test.code
			}
			got, err := Blocks(&test.answer, BlocksOptions{}).Exchange(t.Context(), m)
			if got.Code != test.want || !errors.Is(err, test.err) {
				t.Errorf("got %v, %v, want %v, %v", got.Code, err, test.want, test.err)
			}
			if got.Code == codes.Content && !bytes.Equal(got.Payload, full[:20]) {
				t.Errorf("got %q", got.Payload)
			}
			if len(test.answer) != 0 {
				t.Errorf("%d answers were not asked for", len(test.answer))
			}
		})
	}
}

func TestDownloadIsBounded(t *testing.T) {
	for _, test := range []struct {
		name      string
		length    int
		exchanges int
		want      error
	}{
		{"as long as allowed", 1000, blocksOf(1000, 16), nil},
		{"announced too long", 1001, 1, ErrPartialAnswer},
	} {
		d := newDirect(Blockwise(newLibrary(codes.Content, body(test.length)), BlockwiseOptions{}))
		_, err := Blocks(d, BlocksOptions{AnswerSize: 16, MaxAnswer: 1000}).Exchange(t.Context(), get("/a"))
		if !errors.Is(err, test.want) || len(d.requests) != test.exchanges {
			t.Errorf("%s: got %v after %d exchanges", test.name, err, len(d.requests))
		}
	}
	exchanges := 0
	endless := over(func(m message.Message) (message.Message, error) {
		exchanges++
		part, _, _ := findBlock(m.Options, message.Block2)
		return piece(codes.Content, block{part.number, true, 0}, nil, body(16))(m)
	})
	if _, err := Blocks(endless, BlocksOptions{MaxAnswer: 160}).Exchange(t.Context(), get("/a")); !errors.Is(err, ErrPartialAnswer) || exchanges != 10 {
		t.Errorf("endless: got %v after %d exchanges", err, exchanges)
	}
}

// TestFollowingRequests: a server that knows no blocks must not act twice.
func TestFollowingRequests(t *testing.T) {
	for _, test := range []struct {
		code    codes.Code
		length  int
		payload int
		tag     bool
	}{{codes.GET, 0, 0, false}, {codes.POST, 10, 0, false}, {codes.POST, 100, 0, true}, {fetch, 10, 10, false}, {fetch, 100, 0, true}} {
		d := newDirect(Blockwise(newLibrary(codes.Content, body(100)), BlockwiseOptions{BlockSize: 64}))
		d.peer.Session = "phone"
		m := request(test.code, "/a", body(test.length))
		m.Options = m.Options.Add(message.Option{ID: message.Observe})
		mustExchange(t, Blocks(d, BlocksOptions{Size: 64}), m)
		last := d.requests[len(d.requests)-1]
		if len(last.Payload) != test.payload || last.Options.HasOption(optionRequestTag) != test.tag || last.Options.HasOption(message.Observe) ||
			last.Options.HasOption(message.Block1) || last.Code != test.code {
			t.Errorf("%v of %d bytes: then %v with %v and %d bytes", test.code, test.length, last.Code, last.Options, len(last.Payload))
		}
	}
}
