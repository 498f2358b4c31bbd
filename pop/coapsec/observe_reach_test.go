package coapsec

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// TestLongNotificationsGoToWhoIsThere: a stranger may be sent three times his bytes, and to whom they went and who wanted
// nothing rejects even the question.
func TestLongNotificationsGoToWhoIsThere(t *testing.T) {
	long := told(string(make([]byte, 400)))
	for _, test := range []struct {
		name   string
		verify bool
		want   codes.Code
	}{{"nobody to ask", false, codes.InternalServerError}, {"who can be asked", true, codes.Unauthorized}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, sent := newNews(), 0
				o := quick
				if !test.verify {
					o.Verify = nobody
				}
				o.Tap = func(direction string, _ netip.AddrPort, data []byte) {
					if direction == "out" {
						sent += len(data)
					}
				}
				c := dial(t, serve(t, loopback(t), n, o))
				seen := c.observe(n)
				if err := seen.Notify(t.Context(), long); err != nil {
					t.Fatal(err)
				}
				got := c.receiveMessage()
				if got.Code != test.want || got.Options.HasOption(OptionEcho) != test.verify || got.Options.HasOption(message.Observe) {
					t.Errorf("got %v, want %v", &got, test.want)
				}
				c.send(encodeEmpty(message.Reset, uint16(got.MessageID)))
				ended(t, seen)
				c.nothing()
				if limit := maxAmplification * len(mustEncode(t, confirmable(1, asking(register)))); sent > limit {
					t.Errorf("got %d bytes, want at most %d", sent, limit)
				}
				if !test.verify {
					return
				}
				again := confirmable(2, asking(register))
				again.Options = withEcho(again.Options, echoOf(got))
				c.sendMessage(again)
				c.receive()
				if err := (<-n.observed).Notify(t.Context(), long); err != nil {
					t.Fatal(err)
				}
				if got := c.receiveMessage(); len(got.Payload) != len(long.Payload) {
					t.Errorf("got %v, want the notification", &got)
				}
			})
		})
	}
}

// TestLongNotificationReachesOurOwnClient: it answers the question by itself, and misses nothing.
func TestLongNotificationReachesOurOwnClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNews()
		server := serve(t, loopback(t), n, quick)
		x := Reachable(serve(t, loopback(t), nil, quick).To(server.LocalAddr())).(Observer)
		heard := make(chan string, 8)
		ctx, leave := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- x.Observe(ctx, request(codes.GET, "/door/state", nil), func(m message.Message) error {
				heard <- string(m.Payload)
				return nil
			})
		}()
		first := <-n.observed
		long := string(body(400))
		n.mu.Lock()
		n.answer = told(long)
		n.mu.Unlock()
		notify(t, first, long)
		second := <-n.observed // it is asked once more, for the first answer is too long to be sent unasked
		if got := []string{<-heard, <-heard}; got[0] != "0" || got[1] != long {
			t.Errorf("got %q", got)
		}
		notify(t, second, long+"er")
		if got := <-heard; got != long+"er" {
			t.Errorf("got %q", got)
		}
		leave()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
