package coapsec

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

func mustReach(t testing.TB, now func() time.Time) *Reachability {
	t.Helper()
	r, err := NewReachability(now, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func withEchoOf(m message.Message, challenge message.Message) message.Message {
	m.Options = withEcho(m.Options, echoOf(challenge))
	return m
}

func TestAddressesAreVerified(t *testing.T) {
	for _, test := range []struct {
		name   string
		after  time.Duration // since the start, when the challenge is made
		wait   time.Duration
		change func(*Request)
		want   bool
	}{
		{name: "at once", want: true},
		{name: "after a minute", wait: time.Minute, want: true},
		{name: "after nearly two", wait: 2*time.Minute - 1, want: true},
		{name: "after two", wait: 2 * time.Minute},
		{name: "after a minute, made late in one", after: time.Minute - 1, wait: time.Minute, want: true},
		{name: "after two, made late in one", after: time.Minute - 1, wait: time.Minute + 1},
		{name: "after the clock was set back", after: time.Hour, wait: -2 * time.Hour},
		{name: "from another address", change: func(r *Request) { r.Peer.Address = otherAddress }},
		{name: "from another port", change: func(r *Request) { r.Peer.Address = "192.0.2.1:5684" }},
		{name: "with one bit flipped", change: func(r *Request) {
			echo := bytes.Clone(echoOf(r.Message))
			echo[5] ^= 1
			r.Options = withEcho(r.Options, echo)
		}},
		{name: "cut short", change: func(r *Request) { r.Options = withEcho(r.Options, echoOf(r.Message)[:5]) }},
		{name: "for another request", change: func(r *Request) { r.Code = codes.POST }, want: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			now := epoch
			v := mustReach(t, func() time.Time { return now })
			now = now.Add(test.after)
			r := &Request{Message: get("/a"), Peer: Peer{Address: phoneAddress}}
			ok, challenge := v.Verify(r)
			if ok || challenge.Code != codes.Unauthorized || len(echoOf(challenge)) != reachabilityEcho || len(challenge.Payload) != 0 {
				t.Fatalf("at first: %v, %+v", ok, challenge)
			}
			now = now.Add(test.wait)
			r.Message = withEchoOf(r.Message, challenge)
			if test.change != nil {
				test.change(r)
			}
			if got, _ := v.Verify(r); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestEchoOfAnotherServer(t *testing.T) {
	r := &Request{Message: get("/a"), Peer: Peer{Address: phoneAddress}}
	_, challenge := mustReach(t, nil).Verify(r)
	r.Message = withEchoOf(r.Message, challenge)
	if ok, _ := mustReach(t, nil).Verify(r); ok {
		t.Error("it was taken")
	}
	if _, err := NewReachability(nil, bytes.NewReader(nil)); err == nil {
		t.Error("a key without randomness")
	}
}

func TestSessionNeedsNoProofOfItsAddress(t *testing.T) {
	if ok, _ := mustReach(t, nil).Verify(&Request{Message: get("/a"), Peer: Peer{Session: "phone"}}); !ok {
		t.Error("it was challenged")
	}
}

// TestWhatHasBeenDoneIsNotChallenged: the client would do it again.
func TestWhatHasBeenDoneIsNotChallenged(t *testing.T) {
	later := request(codes.POST, "/a", nil)
	later.Options = later.Options.Add(block{number: 1}.option(message.Block2))
	first := request(codes.POST, "/a", nil)
	first.Options = first.Options.Add(block{number: 0}.option(message.Block2))
	for _, test := range []struct {
		m    message.Message
		want codes.Code
	}{
		{get("/a"), codes.Unauthorized}, {request(fetch, "/a", nil), codes.Unauthorized}, {later, codes.Unauthorized},
		{first, codes.Empty}, {request(codes.POST, "/a", nil), codes.Empty}, {request(codes.PUT, "/a", nil), codes.Empty}, {request(codes.DELETE, "/a", nil), codes.Empty},
	} {
		ok, challenge := mustReach(t, nil).Verify(&Request{Message: test.m})
		if ok || challenge.Code != test.want {
			t.Errorf("%v: got %v, %v, want %v", test.m.Code, ok, challenge.Code, test.want)
		}
	}
}

// TestChallengeIsNoAmplificationItself: not even of the shortest request there is.
func TestChallengeIsNoAmplificationItself(t *testing.T) {
	for n := range message.MaxTokenSize + 1 {
		m := message.Message{Code: codes.GET, Token: make([]byte, n), Type: message.Confirmable}
		_, challenge := mustReach(t, nil).Verify(&Request{Message: m})
		challenge.Token = m.Token
		if sent, came := len(mustEncode(t, m)), len(mustEncode(t, challenge)); came > 3*sent {
			t.Errorf("%d bytes to one of %d", came, sent)
		}
	}
}

// TestReachableOverUDP: hints come to a stranger who is where he says, without padding.
func TestReachableOverUDP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hints := message.Message{Code: codes.Unauthorized, Options: message.Options{{ID: message.ContentFormat, Value: []byte{19}}}, Payload: body(150)}
		calls := 0
		o := quick
		o.Verify = mustReach(t, nil).Verify
		server := serve(t, loopback(t), Blockwise(HandlerFunc(func(_ context.Context, r *Request) message.Message {
			calls++
			if path, _ := r.Path(); path == "/log" {
				return message.Message{Code: codes.Content, Payload: body(3000)}
			}
			return hints
		}), BlockwiseOptions{}), o)
		x := Reachable(serve(t, loopback(t), nil, quick).To(server.LocalAddr()))
		if got := mustExchange(t, x, get("/")); got.Code != codes.Unauthorized || !bytes.Equal(got.Payload, body(150)) || calls != 2 {
			t.Errorf("hints: got %v with %d bytes after %d calls", got.Code, len(got.Payload), calls)
		}
		calls = 0
		if got := mustExchange(t, Blocks(x, BlocksOptions{}), get("/log")); !bytes.Equal(got.Payload, body(3000)) || calls != 1 {
			t.Errorf("a long body: got %v with %d bytes after %d calls", got.Code, len(got.Payload), calls)
		}
	})
}

func TestReachableIsBounded(t *testing.T) {
	exchanges := 0
	endless := over(func(m message.Message) (message.Message, error) {
		exchanges++
		if got := echoOf(m); exchanges > 1 && !bytes.Equal(got, []byte{byte(exchanges - 1)}) {
			t.Errorf("exchange %d: Echo %x", exchanges, got)
		}
		return message.Message{Code: codes.Unauthorized, Options: message.Options{{ID: OptionEcho, Value: []byte{byte(exchanges)}}}}, nil
	})
	got := mustExchange(t, Reachable(endless), get("/a"))
	if got.Code != codes.Unauthorized || exchanges != 1+MaxEchoRepeats {
		t.Errorf("got %v after %d exchanges", got.Code, exchanges)
	}
	exchanges = 0
	ctx, cancel := context.WithCancel(t.Context())
	stopped := over(func(m message.Message) (message.Message, error) { cancel(); return endless(m) })
	if _, err := Reachable(stopped).Exchange(ctx, get("/a")); err != nil || exchanges != 1 {
		t.Errorf("got %v after %d exchanges", err, exchanges)
	}
	bare := over(func(message.Message) (message.Message, error) {
		exchanges++
		return message.Message{Code: codes.Unauthorized}, nil
	})
	if mustExchange(t, Reachable(bare), get("/a")); exchanges != 2 {
		t.Errorf("a 4.01 without Echo was repeated")
	}
	lost := over(func(message.Message) (message.Message, error) { return message.Message{}, errLost })
	if _, err := Reachable(lost).Exchange(t.Context(), get("/a")); !errors.Is(err, errLost) {
		t.Errorf("got %v", err)
	}
}

// TestOuterChallenge: a proxy that asks whether the address is ours sees the same protected request again.
func TestOuterChallenge(t *testing.T) {
	d, w, _ := lock(t, oscore.Options{}, nil)
	v := mustReach(t, nil)
	var seen [][]byte
	proxy := over(func(m message.Message) (message.Message, error) {
		seen = append(seen, m.Payload)
		request := &Request{Message: m, Peer: Peer{Address: phoneAddress}}
		request.Code = codes.GET
		if ok, challenge := v.Verify(request); !ok {
			return challenge, nil
		}
		return w.deliver(m, phoneAddress), nil
	})
	got := mustExchange(t, Secure(proxy, context1(t, 1, 2, oscore.Options{})), unlock())
	if got.Code != codes.Changed || d.opened() != 1 || d.requests[0].Peer.Fresh || len(seen) != 2 || !bytes.Equal(seen[0], seen[1]) {
		t.Errorf("got %v after %d exchanges and %d requests", got.Code, len(seen), d.opened())
	}
}
