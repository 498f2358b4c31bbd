package coapsec

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// session is a key as a key table of DTLS names it.
type session struct{ name string }

// overDTLS is a peer whose transport is protected.
func overDTLS(d *door, who *session, since time.Time) *direct {
	x := newDirect(NewSecurity(byKID{}, HandlerFunc(plainOK), d, SecurityOptions{}))
	x.peer = Peer{Address: phoneAddress, Session: who, Since: since}
	return x
}

func TestSessionReachesTheProtectedHandler(t *testing.T) {
	d := &door{}
	who := &session{"phone"}
	x := overDTLS(d, who, time.Time{})
	if got := mustExchange(t, x, unlock()); got.Code != codes.Changed {
		t.Errorf("got %v, want 2.04", got.Code)
	}
	got := d.requests[0].Peer
	if want := (Peer{Address: phoneAddress, Session: who, Security: x.to.(*Security)}); got != want {
		t.Errorf("peer %+v, want %+v", got, want)
	}
}

// TestOSCOREOverASessionIsOSCORE: who speaks is who has the innermost key.
func TestOSCOREOverASessionIsOSCORE(t *testing.T) {
	d, w, server := lock(t, oscore.Options{}, nil)
	x := newDirect(w.to)
	x.peer.Session, x.peer.Since = &session{"proxy"}, time.Now()
	mustExchange(t, Secure(x, context1(t, 1, 2, oscore.Options{})), unlock())
	if got := d.requests[0].Peer; got.Context != server || got.Session != nil || got.Fresh {
		t.Errorf("peer %+v", got)
	}
	forged := message.Message{Code: codes.POST, Options: message.Options{{ID: optionOSCORE, Value: []byte{9, 0, 7}}}, Payload: make([]byte, 20)}
	if got := mustExchange(t, x, forged); got.Code != codes.Unauthorized || d.opened() != 1 {
		t.Errorf("got %v, %d requests", got.Code, d.opened())
	}
}

func TestSessionIsFreshAfterItsHandshake(t *testing.T) {
	for _, test := range []struct {
		name  string
		since time.Duration // ago
		want  bool
	}{
		{"at once", 0, true},
		{"five seconds after", EchoLifetime, true},
		{"more than five seconds after", EchoLifetime + 1, false},
		{"before it, by the clock", -1, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := &door{}
			mustExchange(t, overDTLS(d, &session{}, time.Now().Add(-test.since)), unlock())
			if got := d.requests[0].Peer.Fresh; got != test.want {
				t.Errorf("%s: fresh %v, want %v", test.name, got, test.want)
			}
		})
	}
}

func TestSessionIsFreshByItsEcho(t *testing.T) {
	alice, bob := &session{"phone"}, &session{"phone"}
	for _, test := range []struct {
		name   string
		wait   time.Duration
		change func(*Peer)
		want   bool
	}{
		{name: "at once", want: true},
		{name: "after five seconds", wait: EchoLifetime, want: true},
		{name: "after more than five seconds", wait: EchoLifetime + 1},
		{name: "from another address", change: func(p *Peer) { p.Address = otherAddress }},
		{name: "in another session of the same name", change: func(p *Peer) { p.Session = bob }},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := &door{answer: freshOnly}
			x := overDTLS(d, alice, time.Now().Add(-time.Hour))
			echo := echoOf(mustExchange(t, x, unlock()))
			if len(echo) != echoSize {
				t.Fatalf("%s: no challenge", test.name)
			}
			if test.change != nil {
				test.change(&x.peer)
			}
			time.Sleep(test.wait)
			m := unlock()
			m.Options = withEcho(m.Options, echo)
			for i, want := range []bool{test.want, false} { // the second time it is spent
				mustExchange(t, x, m)
				if got := d.requests[i+1].Peer.Fresh; got != want {
					t.Errorf("%s, use %d: fresh %v, want %v", test.name, i, got, want)
				}
			}
		})
	}
}

func TestEchoOfAContextIsNoneOfASession(t *testing.T) {
	d, w, _ := lock(t, oscore.Options{}, freshOnly)
	value := challenge(t, w, context1(t, 1, 2, oscore.Options{}))
	x := newDirect(w.to)
	x.peer = Peer{Address: phoneAddress, Session: &session{}}
	m := unlock()
	m.Options = withEcho(m.Options, value)
	mustExchange(t, x, m)
	if d.requests[1].Peer.Fresh {
		t.Error("it was taken")
	}
}

func TestReachableRepeatsInASession(t *testing.T) {
	d := &door{answer: freshOnly}
	x := overDTLS(d, &session{}, time.Time{})
	r := Reachable(x)
	for range 2 { // the second time with an Echo that is spent
		if got := mustExchange(t, r, unlock()); got.Code != codes.Changed {
			t.Errorf("got %v, want 2.04", got.Code)
		}
	}
	if d.opened() != 4 {
		t.Errorf("%d requests, want 4", d.opened())
	}
}

func TestUploadInASessionIsRepeatedWithEcho(t *testing.T) {
	d := &door{answer: freshOnly}
	layer := newBlockwise(d, BlockwiseOptions{})
	x := newDirect(NewSecurity(byKID{}, HandlerFunc(plainOK), layer, SecurityOptions{}))
	x.peer.Session = &session{}
	m := unlock()
	m.Payload = body(100)
	got := mustExchange(t, Blocks(Reachable(x), BlocksOptions{Size: 32}), m)
	if got.Code != codes.Changed || d.opened() != 2 || !bytes.Equal(d.requests[1].Payload, m.Payload) || !d.requests[1].Peer.Fresh {
		t.Errorf("got %v after %d requests", got.Code, d.opened())
	}
	if len(layer.unprotected.all)+len(layer.protected.all) != 0 {
		t.Error("something is still held")
	}
}

// TestCriticalOptionsInsideAndOutsideAgree: what is refused in the clear is refused under protection, by context or session.
func TestCriticalOptionsInsideAndOutsideAgree(t *testing.T) {
	long := func(n int) []byte { return bytes.Repeat([]byte("x"), n) }
	for _, test := range []struct {
		name    string
		options message.Options
		want    codes.Code
	}{
		{"none", nil, codes.Changed},
		{"If-Match", message.Options{{ID: message.IfMatch}}, codes.BadOption},
		{"If-None-Match", message.Options{{ID: message.IfNoneMatch}}, codes.BadOption},
		{"Accept", message.Options{{ID: message.Accept, Value: []byte{60}}}, codes.Changed},
		{"Accept twice", message.Options{{ID: message.Accept, Value: []byte{60}}, {ID: message.Accept, Value: []byte{61}}}, codes.BadOption},
		{"Accept of three bytes", message.Options{{ID: message.Accept, Value: long(3)}}, codes.BadOption},
		{"Uri-Query of 256 bytes", message.Options{{ID: message.URIQuery, Value: long(256)}}, codes.BadOption},
		{"2049, declared", message.Options{{ID: 2049, Value: long(300)}}, codes.Changed},
		{"2051, unknown", message.Options{{ID: 2051}}, codes.BadOption},
		{"2048, elective", message.Options{{ID: 2048}}, codes.Changed},
		{"Proxy-Scheme", message.Options{{ID: message.ProxyScheme, Value: []byte("coap")}}, codes.ProxyingNotSupported},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := message.Message{Code: codes.POST, Options: test.options}
			d := &door{}
			o := SecurityOptions{Critical: []message.OptionID{2049}}
			s := NewSecurity(byKID{"\x01": Static(context1(t, 2, 1, oscore.Options{}))}, HandlerFunc(plainOK), d, o)
			x := newDirect(s)
			ways := map[string]message.Message{"context": mustExchange(t, Secure(x, context1(t, 1, 2, oscore.Options{})), m)}
			x.peer.Session = &session{}
			ways["session"] = mustExchange(t, x, m)
			_, refusal := heed(test.options, o.Critical)
			ok := refusal == codes.Empty
			for way, got := range ways {
				if got.Code != test.want || !ok && got.Code != refusal {
					t.Errorf("%s: got %v, want %v", way, got.Code, test.want)
				}
			}
			if ok != (test.want == codes.Changed) || ok != (d.opened() == 2) {
				t.Errorf("heeded %v, %d requests", ok, d.opened())
			}
		})
	}
}
