package coapsec

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// vault is a server of long bodies with a context towards one phone.
func vault(t testing.TB, h Handler, o SecurityOptions) (*Security, *oscore.Context) {
	t.Helper()
	s := NewSecurity(byKID{"\x01": Static(context1(t, 2, 1, oscore.Options{}))}, HandlerFunc(plainOK), h, o)
	return s, context1(t, 1, 2, oscore.Options{})
}

// TestBothKindsOfBlocksUnderOSCORE: the ends cut bodies in inner blocks, and a proxy cuts the protected messages again.
func TestBothKindsOfBlocksUnderOSCORE(t *testing.T) {
	for _, test := range []struct{ inner, outer int }{{1024, 1024}, {1024, 256}, {512, 64}, {64, 16}, {16, 1024}} {
		t.Run(fmt.Sprintf("inner by %d, outer by %d", test.inner, test.outer), func(t *testing.T) {
			l := newLibrary(codes.Changed, body(2500))
			s, phone := vault(t, Blockwise(l, BlockwiseOptions{BlockSize: test.inner}), SecurityOptions{})
			d := newDirect(s)
			proxy := Blocks(d, BlocksOptions{Size: test.outer, AnswerSize: test.outer})
			x := Blocks(Secure(proxy, phone), BlocksOptions{Size: test.inner})
			got := mustExchange(t, x, request(codes.POST, "/a", body(3000)))
			if got.Code != codes.Changed || !bytes.Equal(got.Payload, body(2500)) {
				t.Errorf("got %v with %d bytes", got.Code, len(got.Payload))
			}
			if len(l.requests) != 1 || !bytes.Equal(l.requests[0].Payload, body(3000)) || l.requests[0].Peer.Context == nil {
				t.Errorf("the handler got %d requests", len(l.requests))
			}
			for _, m := range d.requests {
				if len(m.Payload) > test.outer || !m.Options.HasOption(optionOSCORE) {
					t.Fatalf("a piece of %d bytes with %v", len(m.Payload), m.Options)
				}
			}
		})
	}
}

// TestOuterBlocksAlone: without blocks between the ends a proxy may still have to cut.
func TestOuterBlocksAlone(t *testing.T) {
	l := newLibrary(codes.Changed, body(2500))
	s, phone := vault(t, l, SecurityOptions{})
	d := newDirect(s)
	x := Secure(Blocks(d, BlocksOptions{Size: 256, AnswerSize: 512}), phone)
	got := mustExchange(t, x, request(codes.POST, "/a", body(3000)))
	if got.Code != codes.Changed || !bytes.Equal(got.Payload, body(2500)) || len(l.requests) != 1 || !bytes.Equal(l.requests[0].Payload, body(3000)) {
		t.Errorf("got %v with %d bytes after %d requests", got.Code, len(got.Payload), len(l.requests))
	}
	if want := blocksOf(3000+20, 256) + blocksOf(2500+10, 512) - 1; len(d.requests) != want {
		t.Errorf("%d exchanges, want %d", len(d.requests), want)
	}
	// Nobody asked for blocks: the answer goes as it is.
	got = mustExchange(t, Secure(d, phone), request(codes.POST, "/a", nil))
	if !bytes.Equal(got.Payload, body(2500)) {
		t.Errorf("got %d bytes", len(got.Payload))
	}
}

// pieces cuts a protected message as a proxy would.
func pieces(t testing.TB, phone *oscore.Context, length, size int) []message.Message {
	t.Helper()
	outer, _ := protect(t, phone, request(codes.POST, "/a", body(length)))
	var all []message.Message
	for start := 0; start < len(outer.Payload); start += size {
		m := outer
		end := min(start+size, len(outer.Payload))
		b := block{number: start / size, more: end < len(outer.Payload), exponent: blockExponent(size)}
		m.Options = without(outer.Options).Add(b.option(message.Block1))
		m.Payload = outer.Payload[start:end]
		all = append(all, m)
	}
	return all
}

func TestOuterBlocksThatAreRefused(t *testing.T) {
	s, phone := vault(t, newLibrary(codes.Changed, nil), SecurityOptions{MaxUnfragmented: 1000})
	give := func(m message.Message) message.Message {
		return s.ServeCoAP(context.Background(), &Request{Message: m, Peer: Peer{Address: phoneAddress}})
	}
	want := func(name string, got message.Message, code codes.Code) {
		t.Helper()
		if got.Code != code || got.Options.HasOption(optionOSCORE) {
			t.Errorf("%s: got %v, want %v", name, got.Code, code)
		}
	}
	all := pieces(t, phone, 2000, 512)
	want("the first of a message that is too long", give(all[0]), codes.Continue)
	want("where it is too long", give(all[1]), codes.RequestEntityTooLarge)
	want("after that", give(all[2]), codes.RequestEntityTooLarge)

	all = pieces(t, phone, 600, 256)
	want("one in the middle", give(all[1]), codes.RequestEntityIncomplete)
	mixed := pieces(t, phone, 600, 256)
	want("the first of one", give(all[0]), codes.Continue)
	want("the second of another", give(mixed[1]), codes.RequestEntityIncomplete)

	forged := pieces(t, phone, 600, 256)
	forged[2].Payload = bytes.Clone(forged[2].Payload)
	forged[2].Payload[0] ^= 1
	want("forged, first", give(forged[0]), codes.Continue)
	want("forged, second", give(forged[1]), codes.Continue)
	want("forged, last", give(forged[2]), codes.BadRequest)
	want("forged, last again", give(forged[2]), codes.RequestEntityIncomplete)

	stranger := pieces(t, context1(t, 9, 2, oscore.Options{}), 600, 256)
	want("for nobody here", give(stranger[0]), codes.Unauthorized)
	broken := all[0]
	broken.Options = message.Options{{ID: optionOSCORE, Value: []byte{0xff}}, {ID: message.Block1, Value: []byte{8}}}
	want("a broken option", give(broken), codes.BadOption)
	twice := all[0]
	twice.Options = append(message.Options{{ID: optionOSCORE, Value: []byte{9, 0, 1}}}, twice.Options...)
	got := give(twice)
	if got.Code == codes.Changed {
		t.Errorf("two options: got %v", got.Code)
	}
	later := all[0]
	later.Options = without(all[0].Options, message.Block1).Add(block{number: 1, exponent: 4}.option(message.Block2))
	later.Payload = nil
	want("a later block of an answer that is not here", give(later), codes.RequestEntityIncomplete)
	s.pieces.unprotected.check(t)
	if s.pieces.unprotected.bytes > 4*(1000+uploadOverhead) {
		t.Errorf("%d bytes are held", s.pieces.unprotected.bytes)
	}
}

// TestReplayInOuterBlocks: what is put together is a request like any other.
func TestReplayInOuterBlocks(t *testing.T) {
	l := newLibrary(codes.Changed, nil)
	s, phone := vault(t, l, SecurityOptions{})
	d := newDirect(s)
	all := pieces(t, phone, 600, 256)
	for round, want := range []codes.Code{codes.Changed, codes.Unauthorized} {
		var got message.Message
		for _, m := range all {
			got = mustExchange(t, d, m)
		}
		if got.Code != want {
			t.Errorf("round %d: got %v, want %v", round, got.Code, want)
		}
	}
	if len(l.requests) != 1 {
		t.Errorf("the handler got %d requests", len(l.requests))
	}
}

func TestPiecesAreBounded(t *testing.T) {
	s, phone := vault(t, newLibrary(codes.Changed, nil), SecurityOptions{})
	d := newDirect(s)
	for n := range 2000 {
		d.peer.Address = fmt.Sprint(n % 100)
		mustExchange(t, d, pieces(t, phone, 2000, 1024)[0])
	}
	s.pieces.unprotected.check(t)
	if len(s.pieces.protected.all) != 0 {
		t.Error("nobody has shown a key yet")
	}
}
