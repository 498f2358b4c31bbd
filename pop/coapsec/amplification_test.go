package coapsec

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// nobody is shown to be where he says.
func nobody(*Request) (bool, message.Message) { return false, message.Message{} }

func TestLongAnswers(t *testing.T) {
	long := message.Message{Code: codes.Content, Options: Options("", 0), Payload: make([]byte, 900)}
	challenge := message.Message{Code: codes.Unauthorized, Options: message.Options{{ID: OptionEcho, Value: make([]byte, 20)}}}
	says := func(verified bool, challenge message.Message) func(*Request) (bool, message.Message) {
		return func(r *Request) (bool, message.Message) {
			if r.Peer.Address == "" || len(r.Options) == 0 {
				panic("not the request")
			}
			return verified, challenge
		}
	}
	for _, test := range []struct {
		name   string
		o      EndpointOptions
		answer message.Message
		want   codes.Code
		length int // of the payload
	}{
		{"content, nobody to ask", EndpointOptions{Verify: nobody}, long, codes.InternalServerError, 0},
		{"asked by the endpoint itself", EndpointOptions{}, long, codes.Unauthorized, 0},
		{"an error, nobody to ask", EndpointOptions{Verify: nobody}, message.Message{Code: codes.Forbidden, Payload: long.Payload}, codes.Forbidden, 0},
		{"verified", EndpointOptions{Verify: says(true, message.Message{})}, long, codes.Content, 900},
		{"not verified", EndpointOptions{Verify: says(false, challenge)}, long, codes.Unauthorized, 0},
		{"not verified, and acted upon", EndpointOptions{Verify: says(false, message.Message{})}, message.Message{Code: codes.Changed, Payload: long.Payload}, codes.Changed, 0},
		{"challenge too long itself", EndpointOptions{Verify: says(false, message.Message{Code: codes.Unauthorized, Payload: long.Payload})}, long, codes.Unauthorized, 0},
		{"everyone is there", EndpointOptions{Trusted: true}, long, codes.Content, 900},
		{"protected", EndpointOptions{}, message.Message{Code: codes.Changed, Options: message.Options{{ID: optionOSCORE}}, Payload: long.Payload}, codes.Changed, 900},
		{"short", EndpointOptions{Verify: func(*Request) (bool, message.Message) { panic("asked for a short answer") }}, message.Message{Code: codes.Content, Payload: []byte("ok")}, codes.Content, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := serve(t, loopback(t), HandlerFunc(func(context.Context, *Request) message.Message { return test.answer }), test.o)
				c := dial(t, server)
				for id, kind := range []func(int32, message.Message) message.Message{confirmable, nonConfirmable} {
					sent := c.sendMessage(kind(int32(id), request(codes.GET, "/log", nil)))
					data := c.receive()
					got := mustDecode(t, data)
					if got.Code != test.want || len(got.Payload) != test.length {
						t.Errorf("got %v with %d bytes, want %v with %d", &got, len(got.Payload), test.want, test.length)
					}
					if test.length < 900 && len(data) > maxAmplification*len(sent) {
						t.Errorf("got %d bytes for %d", len(data), len(sent))
					}
					if id == 0 { // the same again from memory
						c.send(sent)
						if again := c.receive(); !bytes.Equal(again, data) {
							t.Errorf("duplicate: got %x, want %x", again, data)
						}
					}
				}
			})
		})
	}
}

func TestVerifiedSeparateAnswerIsRepeatedInFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := quick
		o.Verify = func(*Request) (bool, message.Message) { return true, message.Message{} }
		server := serve(t, loopback(t), HandlerFunc(func(context.Context, *Request) message.Message {
			time.Sleep(50 * time.Millisecond)
			return message.Message{Code: codes.Content, Payload: make([]byte, 900)}
		}), o)
		c := dial(t, server)
		c.sendMessage(confirmable(1, request(codes.GET, "/log", nil)))
		c.receive() // acknowledgement
		for i := range maxTransmissions {
			if got := c.receiveMessage(); len(got.Payload) != 900 || got.Type != message.Confirmable {
				t.Fatalf("transmission %d: got %v", i, &got)
			}
		}
	})
}
