package coapsec

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// TestUploadIsRepeatedWithEcho: a challenge at the end of an upload asks for the last block again, not for all of them.
func TestUploadIsRepeatedWithEcho(t *testing.T) {
	for name, o := range map[string]oscore.Options{"": {}, "after a restart": {WindowLost: true}} {
		t.Run(name, func(t *testing.T) {
			d := &door{answer: freshOnly}
			layer := Blockwise(d, BlockwiseOptions{}).(*blockwise)
			server := context1(t, 2, 1, o)
			w := &link{address: phoneAddress}
			w.to = NewSecurity(byKID{"\x01": Static(server)}, HandlerFunc(plainOK), layer, SecurityOptions{})
			request := unlock()
			request.Payload = body(100)
			answer := mustExchange(t, UploadBlocks(Secure(w, context1(t, 1, 2, oscore.Options{})), 32), request)
			if answer.Code != codes.Changed || d.opened() != 2 || !bytes.Equal(d.requests[1].Payload, request.Payload) {
				t.Errorf("got %v after %d requests", answer.Code, d.opened())
			}
			if layer.protected.bytes != 0 {
				t.Errorf("%d bytes are still held", layer.protected.bytes)
			}
		})
	}
}

// challenge sends a request that is not fresh and returns the Echo of the answer.
func challenge(t testing.TB, w *link, phone *oscore.Context) []byte {
	t.Helper()
	outer, x := protect(t, phone, unlock())
	answer := w.deliver(outer, w.address)
	if option, _, err := oscore.FindOption(answer); err != nil || option.PartialIV == nil {
		t.Fatalf("challenge without partial iv: %+v, %v", option, err)
	}
	inner, err := phone.UnprotectResponse(x, answer)
	if err != nil {
		t.Fatal(err)
	}
	if inner.Code != codes.Unauthorized || len(inner.Payload) != 0 || len(inner.Options) != 1 || len(echoOf(inner)) != echoSize {
		t.Fatalf("challenge %+v", inner)
	}
	return echoOf(inner)
}

func echoed(t testing.TB, phone *oscore.Context, value []byte) message.Message {
	t.Helper()
	m := unlock()
	m.Options = withEcho(m.Options, value)
	outer, _ := protect(t, phone, m)
	return outer
}

func TestEcho(t *testing.T) {
	for _, c := range []struct {
		name    string
		wait    time.Duration
		address string
		change  func([]byte) []byte
		fresh   bool
	}{
		{name: "at once", fresh: true},
		{name: "after five seconds", wait: EchoLifetime, fresh: true},
		{name: "after more than five seconds", wait: EchoLifetime + time.Millisecond},
		{name: "after a minute", wait: time.Minute},
		{name: "from another address", address: otherAddress},
		{name: "with one bit flipped", change: func(e []byte) []byte { return append([]byte{e[0] ^ 1}, e[1:]...) }},
		{name: "cut short", change: func(e []byte) []byte { return e[:7] }},
		{name: "made up", change: func([]byte) []byte { return make([]byte, echoSize) }},
		{name: "empty", change: func([]byte) []byte { return []byte{} }},
		{name: "41 bytes long", change: func(e []byte) []byte { return append(e, make([]byte, 33)...) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, w, _ := lock(t, oscore.Options{}, freshOnly)
				phone := context1(t, 1, 2, oscore.Options{})
				value := challenge(t, w, phone)
				if c.change != nil {
					value = c.change(value)
				}
				time.Sleep(c.wait)
				address := phoneAddress
				if c.address != "" {
					address = c.address
				}
				w.deliver(echoed(t, phone, value), address)
				if got := d.requests[1].Peer.Fresh; got != c.fresh {
					t.Errorf("fresh: got %v, want %v", got, c.fresh)
				}
			})
		})
	}
}

func TestEchoIsSpent(t *testing.T) {
	d, w, _ := lock(t, oscore.Options{}, freshOnly)
	phone := context1(t, 1, 2, oscore.Options{})
	value, other := challenge(t, w, phone), challenge(t, w, phone)
	for _, v := range [][]byte{value, value, value, other, other} {
		w.deliver(echoed(t, phone, v), phoneAddress)
	}
	for i, want := range []bool{false, false, true, false, false, true, false} {
		if got := d.requests[i].Peer.Fresh; got != want {
			t.Errorf("request %d: fresh %v, want %v", i, got, want)
		}
	}
}

func TestEchoBelongsToItsContext(t *testing.T) {
	d := &door{answer: freshOnly}
	contexts := byKID{"\x01": Static(context1(t, 2, 1, oscore.Options{})), "\x03": Static(context1(t, 2, 3, oscore.Options{}))}
	w := &link{to: NewSecurity(contexts, HandlerFunc(plainOK), d, SecurityOptions{}), address: phoneAddress}
	value := challenge(t, w, context1(t, 1, 2, oscore.Options{}))
	w.deliver(echoed(t, context1(t, 3, 2, oscore.Options{}), value), phoneAddress)
	if d.requests[1].Peer.Fresh {
		t.Error("an Echo made for one context was taken in another")
	}
}

// TestReplaysDisplaceNoEcho: a restarted server must answer what was recorded before with challenges; the phone that is at
// the door meanwhile must still get in.
func TestReplaysDisplaceNoEcho(t *testing.T) {
	d, w, _ := lock(t, oscore.Options{WindowLost: true}, freshOnly)
	phone := context1(t, 1, 2, oscore.Options{})
	recorded, _ := protect(t, phone, unlock())
	value := challenge(t, w, phone)
	for n := range 100 {
		w.deliver(recorded, phoneAddress)
		w.deliver(recorded, fmt.Sprintf("192.0.2.66:%d", n))
	}
	w.deliver(echoed(t, phone, value), phoneAddress)
	if d.opened() != 1 || !d.requests[0].Peer.Fresh {
		t.Errorf("%d requests came through", d.opened())
	}
}

func TestSpentEchoesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, w, c := lock(t, oscore.Options{}, freshOnly)
		e := &w.to.echoes
		spend := func() bool {
			value, err := e.issue(c, phoneAddress)
			if err != nil {
				t.Fatal(err)
			}
			return e.spend(c, phoneAddress, value)
		}
		for n := range MaxSpentEchoes {
			if !spend() {
				t.Fatalf("value %d was not good", n)
			}
		}
		if spend() {
			t.Error("a value was taken that cannot be remembered as spent")
		}
		time.Sleep(3 * EchoLifetime)
		if !spend() || len(e.young)+len(e.old) != 1 {
			t.Errorf("%d values remembered after they expired", len(e.young)+len(e.old))
		}
	})
}

func TestNoEchoWithoutRandomness(t *testing.T) {
	s := NewSecurity(byKID{}, HandlerFunc(plainOK), &door{}, SecurityOptions{Rand: bytes.NewReader(nil)})
	if m := s.Challenge(Peer{Context: context1(t, 2, 1, oscore.Options{})}); m.Code != codes.ServiceUnavailable {
		t.Errorf("got %+v", m)
	}
	if m := s.Challenge(Peer{Address: phoneAddress}); m.Code != codes.Unauthorized || len(m.Options) != 0 {
		t.Errorf("without context: got %+v", m)
	}
}
