package coapsec

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
)

// TestLibcoapObserves has libcoap's client observe for a second and leave.
func TestLibcoapObserves(t *testing.T) {
	observed := make(chan Observation, 1)
	server := serve(t, udp(t), HandlerFunc(func(_ context.Context, r *Request) message.Message {
		if r.Observation != nil {
			observed <- r.Observation
		}
		return told("closed")
	}), EndpointOptions{})
	go func() {
		o := <-observed
		for i := 0; ; i++ {
			select {
			case <-o.Done():
				close(observed)
				return
			case <-time.After(200 * time.Millisecond):
				_ = o.Notify(context.Background(), told(fmt.Sprintf(" open %d", i)))
			}
		}
	}()
	got := coapClient(t, "-s", "1", "-m", "get", "coap://"+server.LocalAddr().String()+"/door")
	if !strings.HasPrefix(got, "closed") || !strings.Contains(got, "open 0") || !strings.Contains(got, "open 1") {
		t.Errorf("got %q, want the state and its changes", got)
	}
	select {
	case <-observed:
	case <-time.After(3 * time.Second):
		t.Error("the observation goes on after the client has left")
	}
}
