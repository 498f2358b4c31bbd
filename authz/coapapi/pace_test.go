package coapapi_test

import (
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz/throttle"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// TestPeersHaveARhythm: a peer that asks too often is answered 4.29 with the time to wait (RFC 8516), under its protection.
func TestPeersHaveARhythm(t *testing.T) {
	for kind, wait := range map[throttle.Kind]uint32{throttle.Client: 300, throttle.Device: 20} {
		t.Run(string(kind), func(t *testing.T) {
			w := newWorld(t)
			_ = w.endpoint.Close()
			w.limits = map[throttle.Kind]throttle.Rule{kind: {Burst: 2, Every: time.Duration(wait) * time.Second}}
			w.serve("", w.store)
			hub := w.caller(w.client)
			for range 2 {
				if answer := hub.ask(tokenRequest(encoded(t, ace.TokenRequest{Audience: "front-door"}))); answer.Code != codes.Created {
					t.Fatalf("got %v", answer.Code)
				}
			}
			answer := hub.ask(tokenRequest(encoded(t, ace.TokenRequest{Audience: "front-door"})))
			age, err := answer.Options.GetUint32(message.MaxAge)
			if answer.Code != codes.TooManyRequests || err != nil || age < wait-1 || age > wait || len(answer.Payload) != 0 {
				t.Errorf("got %v, Max-Age %d (%v), want 4.29 for %d s", answer.Code, age, err, wait)
			}
		})
	}
}
