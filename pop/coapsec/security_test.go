package coapsec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

var secret = []byte("0123456789abcdef")

const (
	phoneAddress = "192.0.2.1:5683"
	otherAddress = "192.0.2.66:5683"
)

func context1(t testing.TB, sender, recipient byte, o oscore.Options) *oscore.Context {
	t.Helper()
	c, err := oscore.New(oscore.Params{MasterSecret: secret, SenderID: []byte{sender}, RecipientID: []byte{recipient}}, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// byKID is a Contexts.
type byKID map[string]Association

func (b byKID) Find(kid, _ []byte, _ bool) (Association, bool) {
	a, ok := b[string(kid)]
	return a, ok
}

// door is a protected handler that counts what reached it.
type door struct {
	mu       sync.Mutex
	requests []Request
	answer   func(r *Request) message.Message
}

func (d *door) ServeCoAP(_ context.Context, r *Request) message.Message {
	d.mu.Lock()
	d.requests = append(d.requests, *r)
	d.mu.Unlock()
	if d.answer != nil {
		return d.answer(r)
	}
	return message.Message{Code: codes.Changed, Payload: []byte("open")}
}

func (d *door) opened() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.requests)
}

// freshOnly challenges what is not fresh, as a lock does.
func freshOnly(r *Request) message.Message {
	if !r.Peer.Fresh {
		return r.Peer.Security.Challenge(r.Peer)
	}
	return message.Message{Code: codes.Changed, Payload: []byte("open")}
}

func plainOK(context.Context, *Request) message.Message {
	return message.Message{Code: codes.Content, Payload: []byte("plain")}
}

// link carries messages to a Security in memory and keeps them.
type link struct {
	to      *Security // the far end
	local   *Security // the near end, where there is one
	address string
	before  func(n int, m *message.Message) error // n counts from 0; an error loses the request
	after   func(n int, m *message.Message) error // an error loses the response

	mu       sync.Mutex
	requests []message.Message
}

func (w *link) Exchange(ctx context.Context, m message.Message) (message.Message, error) {
	if err := ctx.Err(); err != nil {
		return message.Message{}, err
	}
	w.mu.Lock()
	n := len(w.requests)
	w.requests = append(w.requests, m)
	w.mu.Unlock()
	if w.before != nil {
		if err := w.before(n, &m); err != nil {
			return message.Message{}, err
		}
	}
	answer := w.to.ServeCoAP(ctx, &Request{Message: m, Peer: Peer{Address: w.address}})
	if w.after != nil {
		if err := w.after(n, &answer); err != nil {
			return message.Message{}, err
		}
	}
	return answer, nil
}

func (w *link) deliver(m message.Message, address string) message.Message {
	return w.to.ServeCoAP(context.Background(), &Request{Message: m, Peer: Peer{Address: address}})
}

func unlock() message.Message {
	return message.Message{Code: codes.POST, Options: message.Options{{ID: message.URIPath, Value: []byte("unlock")}}}
}

// lock is a resource server with one context towards one phone.
func lock(t testing.TB, o oscore.Options, answer func(*Request) message.Message) (*door, *link, *oscore.Context) {
	t.Helper()
	d := &door{answer: answer}
	server := context1(t, 2, 1, o)
	s := NewSecurity(byKID{"\x01": Static(server)}, HandlerFunc(plainOK), d, SecurityOptions{})
	return d, &link{to: s, address: phoneAddress}, server
}

func mustExchange(t testing.TB, x Exchanger, m message.Message) message.Message {
	t.Helper()
	answer, err := x.Exchange(context.Background(), m)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func protect(t testing.TB, c *oscore.Context, m message.Message) (message.Message, *oscore.Exchange) {
	t.Helper()
	outer, x, err := c.ProtectRequest(m)
	if err != nil {
		t.Fatal(err)
	}
	return outer, x
}

func TestProtectedExchange(t *testing.T) {
	d, w, server := lock(t, oscore.Options{}, nil)
	answer := mustExchange(t, Secure(w, context1(t, 1, 2, oscore.Options{})), unlock())
	if answer.Code != codes.Changed || string(answer.Payload) != "open" {
		t.Errorf("got %v %q", answer.Code, answer.Payload)
	}
	got := d.requests[0]
	if path, ok := got.Path(); got.Code != codes.POST || path != "/unlock" || !ok {
		t.Errorf("handler saw %v %q", got.Code, path)
	}
	if got.Peer.Context != server || got.Peer.Address != phoneAddress || got.Peer.Fresh || got.Peer.Security != w.to {
		t.Errorf("peer %+v", got.Peer)
	}
	if outer := w.requests[0]; outer.Code != codes.POST || len(outer.Options) != 1 || bytes.Contains(outer.Payload, []byte("unlock")) {
		t.Errorf("on the wire: %+v", outer)
	}
}

func TestUnprotectedRequestGoesToPlain(t *testing.T) {
	d, w, _ := lock(t, oscore.Options{}, nil)
	var peer Peer
	w.to.plain = HandlerFunc(func(_ context.Context, r *Request) message.Message {
		peer = r.Peer
		return message.Message{Code: codes.Content}
	})
	if answer := w.deliver(unlock(), otherAddress); answer.Code != codes.Content {
		t.Errorf("got %v", answer.Code)
	}
	if peer != (Peer{Address: otherAddress}) || d.opened() != 0 {
		t.Errorf("peer %+v, %d requests at the protected handler", peer, d.opened())
	}
}

func TestRefusedRequestsReachNoHandler(t *testing.T) {
	d, w, _ := lock(t, oscore.Options{}, nil)
	phone := context1(t, 1, 2, oscore.Options{Next: 10})
	good, _ := protect(t, phone, unlock())
	w.deliver(good, phoneAddress)
	stranger, _ := protect(t, context1(t, 9, 2, oscore.Options{}), unlock())
	forged, _ := protect(t, phone, unlock())
	forged.Payload[0] ^= 1
	bare := good
	bare.Payload = nil
	broken := message.Message{Code: codes.POST, Options: message.Options{{ID: oscore.OptionOSCORE, Value: []byte{0xff}}}, Payload: []byte{1}}
	response := message.Message{Code: codes.POST, Options: message.Options{{ID: oscore.OptionOSCORE}}, Payload: make([]byte, 20)}
	for _, c := range []struct {
		name  string
		outer message.Message
		code  codes.Code
		text  string
	}{
		{"replay", good, codes.Unauthorized, "Replay detected"},
		{"unknown kid", stranger, codes.Unauthorized, "Security context not found"},
		{"one bit flipped", forged, codes.BadRequest, "Decryption failed"},
		{"no payload", bare, codes.BadOption, "Failed to decode COSE"},
		{"reserved flags", broken, codes.BadOption, "Failed to decode COSE"},
		{"no kid", response, codes.BadOption, "Failed to decode COSE"},
	} {
		answer := w.deliver(c.outer, phoneAddress)
		if answer.Code != c.code || string(answer.Payload) != c.text || answer.Options.HasOption(oscore.OptionOSCORE) {
			t.Errorf("%s: got %v %q", c.name, answer.Code, answer.Payload)
		}
	}
	if d.opened() != 1 {
		t.Errorf("handler saw %d requests, want 1", d.opened())
	}
}

func TestUnknownCriticalInnerOptionIsRefused(t *testing.T) {
	d, w, _ := lock(t, oscore.Options{}, nil)
	x := Secure(w, context1(t, 1, 2, oscore.Options{}))
	for id, want := range map[message.OptionID]codes.Code{65001: codes.BadOption, message.ProxyScheme: codes.ProxyingNotSupported} {
		m := unlock()
		m.Options = m.Options.Add(message.Option{ID: id, Value: []byte("v")})
		if answer := mustExchange(t, x, m); answer.Code != want {
			t.Errorf("option %d: got %v, want %v", id, answer.Code, want)
		}
	}
	m := unlock()
	m.Options = m.Options.Add(message.Option{ID: 65000, Value: []byte("v")})
	if answer := mustExchange(t, x, m); answer.Code != codes.Changed || d.opened() != 1 {
		t.Errorf("an elective option: got %v, %d requests", answer.Code, d.opened())
	}
}

func TestUnusableAnswerStaysProtected(t *testing.T) {
	_, w, _ := lock(t, oscore.Options{}, func(*Request) message.Message { return message.Message{} })
	answer := mustExchange(t, Secure(w, context1(t, 1, 2, oscore.Options{})), unlock())
	if answer.Code != codes.InternalServerError {
		t.Errorf("got %v, want 5.00", answer.Code)
	}
}

func TestUnprotectedAnswerIsAHint(t *testing.T) {
	_, w, _ := lock(t, oscore.Options{}, nil)
	for name, c := range map[string]struct {
		answer message.Message
		want   UnprotectedError
	}{
		"error":   {oscore.ErrorResponse(oscore.ErrNoContext), UnprotectedError{codes.Unauthorized, "Security context not found"}},
		"success": {message.Message{Code: codes.Changed, Payload: []byte(strings.Repeat("x", 200))}, UnprotectedError{codes.Changed, strings.Repeat("x", 64)}},
	} {
		w.after = func(_ int, m *message.Message) error { *m = c.answer; return nil }
		_, err := Secure(w, context1(t, 1, 2, oscore.Options{Next: 100})).Exchange(context.Background(), unlock())
		var hint *UnprotectedError
		if !errors.As(err, &hint) || *hint != c.want {
			t.Errorf("%s: got %v, want %v", name, err, &c.want)
		}
		w.to.contexts = byKID{"\x01": Static(context1(t, 2, 1, oscore.Options{}))}
	}
}

func TestForgedResponseIsRefused(t *testing.T) {
	_, w, _ := lock(t, oscore.Options{}, nil)
	w.after = func(_ int, m *message.Message) error { m.Payload[0] ^= 1; return nil }
	_, err := Secure(w, context1(t, 1, 2, oscore.Options{})).Exchange(context.Background(), unlock())
	if !errors.Is(err, oscore.ErrDecrypt) {
		t.Errorf("got %v, want %v", err, oscore.ErrDecrypt)
	}
}

func TestClientRepeatsWithEcho(t *testing.T) {
	d, w, _ := lock(t, oscore.Options{}, freshOnly)
	answer := mustExchange(t, Secure(w, context1(t, 1, 2, oscore.Options{})), unlock())
	if answer.Code != codes.Changed || d.opened() != 2 || d.requests[0].Peer.Fresh || !d.requests[1].Peer.Fresh {
		t.Errorf("got %v, requests %+v", answer.Code, d.requests)
	}
}

func TestClientRepeatsFourTimes(t *testing.T) {
	never := func(r *Request) message.Message { return r.Peer.Security.Challenge(r.Peer) }
	d, w, _ := lock(t, oscore.Options{}, never)
	answer := mustExchange(t, Secure(w, context1(t, 1, 2, oscore.Options{})), unlock())
	if answer.Code != codes.Unauthorized || d.opened() != 1+MaxEchoRepeats {
		t.Errorf("got %v after %d requests, want 4.01 after %d", answer.Code, d.opened(), 1+MaxEchoRepeats)
	}
}

func TestClientStopsWhenItsUserDoes(t *testing.T) {
	d, w, _ := lock(t, oscore.Options{}, freshOnly)
	ctx, cancel := context.WithCancel(context.Background())
	w.after = func(int, *message.Message) error { cancel(); return nil }
	answer, err := Secure(w, context1(t, 1, 2, oscore.Options{})).Exchange(ctx, unlock())
	if err != nil || answer.Code != codes.Unauthorized || d.opened() != 1 {
		t.Errorf("got %v, %v after %d requests", answer.Code, err, d.opened())
	}
}

// Everything recorded before a restart, delivered after it, is challenged and reaches no handler (appendix B.1.2).
func TestReplayToRestartedServer(t *testing.T) {
	phone := context1(t, 1, 2, oscore.Options{})
	_, before, _ := lock(t, oscore.Options{}, freshOnly)
	for range 5 {
		mustExchange(t, Secure(before, phone), unlock())
	}
	delayed, _ := protect(t, phone, unlock())
	recorded := append(before.requests, delayed)

	d, w, server := lock(t, oscore.Options{Next: oscore.ReserveBatch, WindowLost: true}, nil)
	for i, m := range recorded {
		answer := w.deliver(m, phoneAddress)
		option, found, err := oscore.FindOption(answer)
		if err != nil || !found || option.PartialIV == nil {
			t.Errorf("request %d: answer %+v, %v", i, option, err)
		}
	}
	if d.opened() != 0 || !server.WindowLost() {
		t.Fatalf("%d requests reached the handler, window lost: %v", d.opened(), server.WindowLost())
	}
	if answer := mustExchange(t, Secure(w, phone), unlock()); answer.Code != codes.Changed || d.opened() != 1 {
		t.Fatalf("a new request: %v, %d requests", answer.Code, d.opened())
	}
	if !d.requests[0].Peer.Fresh || server.WindowLost() {
		t.Errorf("fresh %v, window lost %v", d.requests[0].Peer.Fresh, server.WindowLost())
	}
	for i, m := range append(recorded, w.requests...) {
		if answer := w.deliver(m, phoneAddress); string(answer.Payload) != "Replay detected" {
			t.Errorf("recorded request %d after recovery: %v %q", i, answer.Code, answer.Payload)
		}
	}
	if d.opened() != 1 {
		t.Errorf("%d requests reached the handler, want 1", d.opened())
	}
}

func TestOneOfManyCopiesRecoversTheWindow(t *testing.T) {
	d, w, _ := lock(t, oscore.Options{WindowLost: true}, nil)
	phone := context1(t, 1, 2, oscore.Options{})
	copied := echoed(t, phone, challenge(t, w, phone))
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() { w.deliver(copied, phoneAddress) })
	}
	group.Wait()
	if d.opened() != 1 {
		t.Errorf("%d copies reached the handler, want 1", d.opened())
	}
}

func FuzzServeCoAP(f *testing.F) {
	phone := context1(f, 1, 2, oscore.Options{})
	outer, _ := protect(f, phone, unlock())
	f.Add(outer.Options[0].Value, outer.Payload)
	f.Add([]byte{9, 0, 1}, []byte{})
	f.Fuzz(func(t *testing.T, value, payload []byte) {
		d, w, _ := lock(t, oscore.Options{}, nil)
		m := message.Message{Code: codes.POST, Options: message.Options{{ID: oscore.OptionOSCORE, Value: value}}, Payload: payload}
		answer := w.deliver(m, phoneAddress)
		if d.opened() == 0 && answer.Code == codes.InternalServerError {
			t.Fatalf("answer %v", fmt.Sprint(answer))
		}
		if d.opened() > 0 && !bytes.Equal(payload, outer.Payload) {
			t.Fatal("a forged request reached the handler")
		}
	})
}
