package coapsec

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

func TestCriticalOptionsAreUnderstoodOrRefused(t *testing.T) {
	const refused = codes.BadOption
	long := func(n int) []byte { return bytes.Repeat([]byte("x"), n) }
	for _, test := range []struct {
		name    string
		options message.Options
		want    codes.Code
	}{
		{"none", nil, codes.Changed},
		{"If-Match, which no handler evaluates", message.Options{{ID: message.IfMatch}}, refused},
		{"If-None-Match, which no handler evaluates", message.Options{{ID: message.IfNoneMatch}}, refused},
		{"Uri-Host", message.Options{{ID: message.URIHost, Value: []byte("lock")}}, codes.Changed},
		{"Uri-Host without value", message.Options{{ID: message.URIHost}}, refused},
		{"Uri-Host twice", message.Options{{ID: message.URIHost, Value: []byte("a")}, {ID: message.URIHost, Value: []byte("b")}}, refused},
		{"Uri-Port", message.Options{{ID: message.URIPort, Value: []byte{0x16, 0x33}}}, codes.Changed},
		{"Uri-Port of three bytes", message.Options{{ID: message.URIPort, Value: long(3)}}, refused},
		{"OSCORE", message.Options{{ID: optionOSCORE, Value: long(20)}}, codes.Changed},
		{"OSCORE of 256 bytes", message.Options{{ID: optionOSCORE, Value: long(256)}}, refused},
		{"Uri-Path of 255 bytes", message.Options{{ID: message.URIPath, Value: long(255)}}, codes.Changed},
		{"Uri-Path of 256 bytes", message.Options{{ID: message.URIPath, Value: long(256)}}, refused},
		{"Uri-Query twice", message.Options{{ID: message.URIQuery}, {ID: message.URIQuery}}, codes.Changed},
		{"Accept of two bytes", message.Options{{ID: message.Accept, Value: long(2)}}, codes.Changed},
		{"Accept of four bytes", message.Options{{ID: message.Accept, Value: long(4)}}, refused},
		{"EDHOC, not declared", message.Options{{ID: 21}}, refused},
		{"2049, declared", message.Options{{ID: 2049, Value: long(300)}}, codes.Changed},
		{"2051, not declared", message.Options{{ID: 2051}}, refused},
		{"65535", message.Options{{ID: 65535}}, refused},
		{"65534, elective", message.Options{{ID: 65534}}, codes.Changed},
		{"Proxy-Uri", message.Options{{ID: message.ProxyURI, Value: []byte("coap://x")}}, codes.ProxyingNotSupported},
		{"Proxy-Scheme", message.Options{{ID: message.ProxyScheme, Value: []byte("coap")}}, codes.ProxyingNotSupported},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := quick
				o.Critical = []message.OptionID{2049}
				ran := make(chan struct{}, 2)
				server := serve(t, loopback(t), HandlerFunc(func(context.Context, *Request) message.Message {
					ran <- struct{}{}
					return message.Message{Code: codes.Changed}
				}), o)
				c := dial(t, server)
				m := message.Message{Code: codes.GET, Options: test.options, Payload: []byte("0123456789")}
				c.sendMessage(confirmable(1, m))
				got := c.receiveMessage()
				if got.Code != test.want || got.Type != message.Acknowledgement {
					t.Errorf("confirmable: got %v, want %v", &got, test.want)
				}
				c.sendMessage(nonConfirmable(2, m))
				if test.want == codes.Changed {
					if got := c.receiveMessage(); got.Code != codes.Changed {
						t.Errorf("non-confirmable: got %v, want 2.04", got.Code)
					}
					return
				}
				c.settled(3)
				if len(ran) > 0 {
					t.Error("the handler ran")
				}
			})
		})
	}
}

func TestElectiveOptionsThatBreakTheirRuleAreIgnored(t *testing.T) {
	got, unknown := siftOptions(message.Options{
		{ID: message.ETag, Value: make([]byte, 9)},
		{ID: message.URIPath, Value: []byte("a")},
		{ID: message.ContentFormat, Value: []byte{19}},
		{ID: message.ContentFormat, Value: []byte{60}},
		{ID: message.MaxAge, Value: make([]byte, 5)},
		{ID: 2048, Value: make([]byte, 500)},
	}, criticalInRequests)
	want := message.Options{
		{ID: message.URIPath, Value: []byte("a")}, {ID: message.ContentFormat, Value: []byte{19}}, {ID: 2048, Value: make([]byte, 500)},
	}
	if unknown != 0 || !slices.EqualFunc(got, want, sameOption) {
		t.Errorf("got %v, %d, want %v", got, unknown, want)
	}
	whole := message.Options{{ID: message.URIPath, Value: []byte("a")}, {ID: message.ContentFormat, Value: []byte{0, 0}}}
	if got, _ := siftOptions(whole, criticalInRequests); !slices.EqualFunc(got, whole, sameOption) {
		t.Errorf("got %v, want %v", got, whole)
	}
}

func TestUnprotectedAnswersDoNotAmplify(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 1000)
	o := quick
	o.Verify = nobody
	oscore := message.Option{ID: optionOSCORE, Value: []byte{1}}
	for _, test := range []struct {
		name     string
		response message.Message
		want     message.Message
	}{
		{"error with diagnostics", message.Message{Code: codes.NotFound, Payload: long}, message.Message{Code: codes.NotFound}},
		{"error with an option that fits", message.Message{Code: codes.Unauthorized, Options: message.Options{{ID: OptionEcho, Value: []byte("12345678")}}, Payload: long},
			message.Message{Code: codes.Unauthorized, Options: message.Options{{ID: OptionEcho, Value: []byte("12345678")}}}},
		{"short error", message.Message{Code: codes.NotFound, Payload: []byte("no")}, message.Message{Code: codes.NotFound, Payload: []byte("no")}},
		{"content", message.Message{Code: codes.Content, Payload: long}, message.Message{Code: codes.InternalServerError}},
		{"protected content", message.Message{Code: codes.Content, Options: message.Options{oscore}, Payload: long}, message.Message{Code: codes.Content, Payload: long}},
		{"long options", message.Message{Code: codes.Created, Options: message.Options{{ID: message.LocationPath, Value: long[:200]}}}, message.Message{Code: codes.Created}},
		{"too long for a datagram", message.Message{Code: codes.Content, Options: message.Options{oscore}, Payload: make([]byte, maxDatagram)}, message.Message{Code: codes.InternalServerError}},
		{"request code", message.Message{Code: codes.GET}, message.Message{Code: codes.InternalServerError}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := serve(t, loopback(t), HandlerFunc(func(context.Context, *Request) message.Message { return test.response }), o)
				c := dial(t, server)
				sent := c.sendMessage(confirmable(1, request(codes.GET, "/a", nil)))
				data := c.receive()
				got := mustDecode(t, data)
				if got.Code != test.want.Code || !bytes.Equal(got.Payload, test.want.Payload) {
					t.Errorf("got %v with %d bytes, want %v with %d", got.Code, len(got.Payload), test.want.Code, len(test.want.Payload))
				}
				if len(test.want.Options) > 0 && !slices.EqualFunc(got.Options, test.want.Options, sameOption) {
					t.Errorf("got options %v, want %v", got.Options, test.want.Options)
				}
				if len(data) > 3*len(sent) && !got.Options.HasOption(optionOSCORE) {
					t.Errorf("got %d bytes for %d", len(data), len(sent))
				}
			})
		})
	}
}

func TestHandlerWithoutAnswerRejects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := serve(t, loopback(t), HandlerFunc(func(context.Context, *Request) message.Message { return message.Message{} }), quick)
		c := dial(t, server)
		sent := c.sendMessage(confirmable(1, request(codes.GET, "/a", nil)))
		for range 2 {
			if got := c.receiveMessage(); got.Type != message.Reset || got.MessageID != 1 {
				t.Errorf("got %v, want a reset", &got)
			}
			c.send(sent)
		}
		c.receive()
		c.sendMessage(nonConfirmable(2, request(codes.GET, "/a", nil)))
		c.nothing()
	})
}
