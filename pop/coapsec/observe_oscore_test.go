package coapsec

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// oneContext finds one association, whatever the kid.
type oneContext struct{ Association }

func (c oneContext) Find([]byte, []byte, bool) (Association, bool) { return c.Association, true }

// TestProtectedObservationOverLossyUDP has a client observe under OSCORE, on a socket that loses every third datagram.
func TestProtectedObservationOverLossyUDP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := oscore.Params{MasterSecret: make([]byte, 16), SenderID: []byte{1}, RecipientID: []byte{2}}
		ours, err := oscore.New(p, oscore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		p.SenderID, p.RecipientID = p.RecipientID, p.SenderID
		theirs, err := oscore.New(p, oscore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		n := newNews()
		o := quick
		o.AckTimeout = 15 * time.Millisecond
		server := serve(t, loopback(t), NewSecurity(oneContext{Static(theirs)}, nil, n, SecurityOptions{}), o)
		x := Secure(serve(t, &thirdLost{PacketConn: loopback(t)}, nil, o).To(server.LocalAddr()), ours).(Observer)
		var last atomic.Int64
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		done := make(chan error, 1)
		go func() {
			done <- x.Observe(ctx, request(codes.GET, "/door/state", nil), func(m message.Message) error {
				var value int64
				if _, err := fmt.Sscan(string(m.Payload), &value); err != nil {
					return err
				}
				if before := last.Swap(value); value < before {
					t.Errorf("told %d after %d", value, before)
				}
				return nil
			})
		}()
		seen := <-n.observed
		const states = 100
		for i := range states {
			if err := seen.Notify(ctx, told(fmt.Sprint(i+1))); err != nil {
				t.Fatalf("notification %d: %v", i+1, err)
			}
			time.Sleep(time.Millisecond)
		}
		for began := time.Now(); last.Load() != states && time.Since(began) < 5*time.Second; {
			time.Sleep(5 * time.Millisecond)
		}
		if last.Load() != states {
			t.Errorf("the client knows state %d of %d", last.Load(), states)
		}
		leave()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Observe: got %v, want the context's error", err)
		}
		if err := seen.Notify(t.Context(), told("101")); err != nil {
			t.Fatal(err) // the client has left without a word, and rejects this
		}
		select {
		case <-seen.Done():
		case <-time.After(3 * time.Second):
			t.Error("the observation goes on")
		}
	})
}
