package coapsec

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// chatty is a server that says as much as it can: error texts, long content, notifications, and answers that fill the
// allowance of their requests to the last byte.
func chatty(ctx context.Context, r *Request) message.Message {
	switch path, _ := r.Path(); path {
	case "/error":
		return message.Message{Code: codes.NotFound, Payload: body(1000)}
	case "/log":
		return message.Message{Code: codes.Content, Payload: body(3000)}
	case "/full", "/full/slow":
		if path == "/full/slow" {
			time.Sleep(5 * time.Second)
		}
		m := message.Message{Code: codes.Changed, Token: r.Token}
		m.Payload = body(maxAmplification*sizeOf(r.Message) - sizeOf(m) - 1)
		return m
	case "/slow":
		time.Sleep(5 * time.Second)
	case "/news", "/news/long":
		news := told("news")
		if path == "/news/long" {
			news.Payload = body(500)
		}
		for range 3 {
			_ = r.Observation.Notify(ctx, news)
		}
		return told("0")
	case "/rejected":
		return message.Message{}
	}
	return message.Message{Code: codes.Changed, Payload: []byte("ok")}
}

// TestNothingIsSentThreeTimesOver sends what strangers may send, from an address that never answers and from one that answers
// every confirmable message with a Reset, as a victim who speaks CoAP does. What comes back in all the time that follows is at
// most three times as long.
func TestNothingIsSentThreeTimesOver(t *testing.T) {
	ask := func(m message.Message, options ...message.Option) message.Message {
		for _, o := range options {
			m.Options = m.Options.Add(o)
		}
		return m
	}
	observe := message.Option{ID: message.Observe}
	for _, test := range []struct {
		name string
		m    message.Message
	}{
		{"an error text", get("/error")},
		{"long content", get("/log")},
		{"long content in blocks", ask(get("/log"), block{0, false, 6}.option(message.Block2))},
		{"a later block", ask(get("/log"), block{2, false, 6}.option(message.Block2))},
		{"a later block of nothing", ask(request(codes.POST, "/log", nil), block{2, false, 6}.option(message.Block2))},
		{"what has been done, in blocks", request(codes.POST, "/log", nil)},
		{"as much as may be", request(codes.POST, "/full", body(20))},
		{"as much as may be, separately", request(codes.POST, "/full/slow", body(20))},
		{"little, separately and again and again", request(codes.POST, "/slow", body(20))},
		{"news", ask(get("/news"), observe)},
		{"long news", ask(get("/news/long"), observe)},
		{"an unknown critical option", ask(get("/"), message.Option{ID: 65001})},
		{"an upload that is too long", ask(request(codes.POST, "/", body(16)), block{1 << 19, true, 0}.option(message.Block1))},
		{"an upload without its beginning", ask(request(codes.POST, "/", body(16)), block{1, true, 0}.option(message.Block1))},
		{"a proxy's request", ask(get("/"), message.Option{ID: message.ProxyURI, Value: []byte("coap://x")})},
		{"a protected one for nobody", ask(get("/"), message.Option{ID: optionOSCORE, Value: []byte{9, 1, 1}})},
		{"nothing at all", message.Message{Code: codes.GET}},
		{"a rejection", get("/rejected")},
		{"a response nobody waits for", message.Message{Code: codes.Content, Options: message.Options{observe}}},
		{"a ping", message.Message{}},
		{"a reserved code", message.Message{Code: 0xe1}},
	} {
		for _, rejects := range []bool{false, true} {
			for _, verify := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, rejected %v, verified %v", test.name, rejects, verify), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { strangersBalance(t, test.m, rejects, verify) })
				})
			}
		}
	}
}

func strangersBalance(t *testing.T, m message.Message, rejects, verify bool) {
	t.Helper()
	var in, out atomic.Int64
	o := EndpointOptions{Tap: func(direction string, _ netip.AddrPort, data []byte) {
		if direction == "in" {
			in.Add(int64(len(data)))
		} else {
			out.Add(int64(len(data)))
		}
	}}
	if !verify {
		o.Verify = nobody
	}
	layer := Blockwise(HandlerFunc(chatty), BlockwiseOptions{})
	plain := HandlerFunc(func(ctx context.Context, r *Request) message.Message {
		if path, _ := r.Path(); strings.HasPrefix(path, "/full") {
			return chatty(ctx, r) // what it says would be divided
		}
		return layer.ServeCoAP(ctx, r)
	})
	security := NewSecurity(byKID{}, plain, nil, SecurityOptions{})
	c := dial(t, serve(t, loopback(t), security, o))
	kinds := []message.Type{message.Confirmable, message.NonConfirmable}
	if m.Code == codes.Empty {
		kinds = kinds[:1]
	}
	for id, kind := range kinds {
		m.Type, m.MessageID = kind, int32(id)
		c.sendMessage(m)
	}
	for began := time.Now(); time.Since(began) < 10*time.Minute; {
		data := c.receiveWithin(time.Minute)
		if rejects && data != nil && message.Type(data[0]>>4&3) == message.Confirmable {
			c.send(encodeEmpty(message.Reset, uint16(data[2])<<8|uint16(data[3])))
		}
	}
	if in.Load() == 0 || out.Load() > maxAmplification*in.Load() {
		t.Errorf("got %d bytes for %d", out.Load(), in.Load())
	}
}

// TestNotificationAfterAnAnswerSentOnce: the acknowledgement before that answer counts as well.
func TestNotificationAfterAnAnswerSentOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := make(chan Observation, 1)
		e := serve(t, loopback(t), HandlerFunc(func(_ context.Context, r *Request) message.Message {
			time.Sleep(2 * defaultAckDelay)
			seen <- r.Observation
			return told("0")
		}), EndpointOptions{})
		e.separate = maxSeparate // so that it is not repeated
		c := dial(t, e)
		asked := len(c.sendMessage(confirmable(1, asking(register))))
		got := len(c.receive())
		answer := c.receive()
		got += len(answer)
		left := maxAmplification*asked - got
		synctest.Wait()
		for _, size := range []int{left + 1, left} {
			o := &registration{endpoint: e, key: registrationKey{c.conn.LocalAddr().(*net.UDPAddr).AddrPort(), "12"}, budget: (<-seen).(*registration).budget, done: make(chan struct{})}
			_, data, err := o.takeOff(told(string(body(size - len(answer) + 1))))
			if err != nil || (len(data) == size) != (size <= left) {
				t.Errorf("got %d bytes, %v, of %d left", len(data), err, left)
			}
			seen <- o
		}
	})
}

// TestSlowAnswerInBlocksIsNotCut: what fills the blocks that the request leaves room for arrives, although an acknowledgement
// went before it.
func TestSlowAnswerInBlocksIsNotCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		layer := Blockwise(HandlerFunc(func(context.Context, *Request) message.Message {
			time.Sleep(2 * defaultAckDelay)
			return message.Message{Code: codes.Changed, Payload: body(500)}
		}), BlockwiseOptions{})
		server := serve(t, loopback(t), layer, EndpointOptions{})
		for length := range 64 {
			x := Blocks(Reachable(serve(t, loopback(t), nil, EndpointOptions{}).To(server.LocalAddr())), BlocksOptions{})
			if got := mustExchange(t, x, request(codes.POST, "/", body(20+length))); !bytes.Equal(got.Payload, body(500)) {
				t.Errorf("to a request with %d bytes: got %v with %d", 20+length, got.Code, len(got.Payload))
			}
		}
	})
}

// TestStrangersFillNoLog: what they can bring about as often as they like is no error of ours.
func TestStrangersFillNoLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		o := EndpointOptions{Verify: nobody, Log: slog.New(slog.NewTextHandler(&log, nil))}
		c := dial(t, serve(t, loopback(t), Blockwise(HandlerFunc(chatty), BlockwiseOptions{}), o))
		for id, path := range []string{"/log", "/error", "/full", "/rejected"} {
			c.sendMessage(confirmable(int32(id), get(path)))
			c.receive()
		}
		c.sendMessage(confirmable(9, asking(register)))
		for _, test := range malformed {
			c.send(unhex(t, test.data))
		}
		synctest.Wait()
		if log.Len() > 0 {
			t.Errorf("got %s", log.String())
		}
	})
}

// TestLargeAnswerIsRepeatedAsOftenAsAPeerAsks: whoever has seen a protected request can repeat it in the client's name.
func TestLargeAnswerIsRepeatedAsOftenAsAPeerAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := message.Message{Code: codes.Changed, Options: message.Options{{ID: optionOSCORE}}, Payload: body(900)}
		c := dial(t, serve(t, loopback(t), HandlerFunc(func(context.Context, *Request) message.Message { return answer }), EndpointOptions{}))
		data := mustEncode(t, confirmable(1, request(codes.POST, "/", nil)))
		for n := range 20 {
			c.send(data)
			if n >= maxTransmissions {
				continue
			}
			if got := c.receiveMessage(); len(got.Payload) != 900 {
				t.Errorf("answer %d: got %v", n, &got)
			}
		}
		c.nothing()
	})
}

// TestLaterOuterBlocksAreUnprotectedAnswers: to fetch them takes no key.
func TestLaterOuterBlocksAreUnprotectedAnswers(t *testing.T) {
	for _, verify := range []bool{false, true} {
		t.Run(fmt.Sprintf("verified %v", verify), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, phone := vault(t, newLibrary(codes.Changed, body(2500)), SecurityOptions{})
				var o EndpointOptions
				if !verify {
					o.Verify = nobody
				}
				server := serve(t, loopback(t), s, o)
				e := serve(t, loopback(t), nil, EndpointOptions{})
				outer, x := protect(t, phone, request(codes.POST, "/a", nil))
				first := outer
				first.Options = without(outer.Options).Add(block{0, false, 6}.option(message.Block2))
				if got := mustExchange(t, e.To(server.LocalAddr()), first); len(got.Payload) != 1024 {
					t.Errorf("first: got %v with %d bytes", got.Code, len(got.Payload))
				}
				second := outer
				second.Options, second.Payload = without(outer.Options).Add(block{1, false, 6}.option(message.Block2)), nil
				want := codes.InternalServerError
				if verify {
					want = codes.Unauthorized
				}
				if got := mustExchange(t, e.To(server.LocalAddr()), second); got.Code != want || len(got.Payload) != 0 {
					t.Errorf("second: got %v with %d bytes, want %v", got.Code, len(got.Payload), want)
				}
				if !verify {
					return
				}
				whole := mustExchange(t, Blocks(Reachable(e.To(server.LocalAddr())), BlocksOptions{AnswerSize: 512}), protectedAgain(t, phone, &x))
				inner, err := phone.UnprotectResponse(x, whole)
				if err != nil || !bytes.Equal(inner.Payload, body(2500)) {
					t.Errorf("got %d bytes, %v", len(inner.Payload), err)
				}
			})
		})
	}
}

func protectedAgain(t testing.TB, c *oscore.Context, x **oscore.Exchange) (outer message.Message) {
	t.Helper()
	outer, *x = protect(t, c, request(codes.POST, "/a", nil))
	return outer
}

// TestFirstAnswerOfAChannelIsNoAmplification: request #1 of appendix B.2 can be repeated by anyone.
func TestFirstAnswerOfAChannelIsNoAmplification(t *testing.T) {
	server, _ := ends()
	root := oscore.Params{MasterSecret: secret, SenderID: []byte{deviceKID}, RecipientID: []byte{serverKID}}
	request1, _, err := oscore.Initiate(root, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	answer := server.link.local.ServeCoAP(t.Context(), &Request{Message: request1, Peer: Peer{Address: phoneAddress}})
	if asked, got := sizeOf(request1), sizeOf(answer); !isProtected(answer) || got > maxAmplification*asked {
		t.Errorf("got %v with %d bytes for %d", answer.Code, got, asked)
	}
}
