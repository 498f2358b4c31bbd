package dtls

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

func state(text string) message.Message {
	m := message.Message{Code: codes.Content, Payload: []byte(text)}
	m.Options = message.Options{{ID: message.Observe}}
	return m
}

// watched hands out what is to be notified.
func watched(observations chan<- coapsec.Observation) coapsec.Handler {
	return coapsec.HandlerFunc(func(_ context.Context, r *coapsec.Request) message.Message {
		if r.Observation == nil || r.Peer.Session != string(aliceID) {
			return message.Message{Code: codes.Content, Payload: []byte("not watched")}
		}
		observations <- r.Observation
		return state("locked")
	})
}

// observing is an observation under way.
type observing struct {
	*Conn
	at   coapsec.Observation // the server's end
	seen chan string
	over chan error
}

func observe(t *testing.T, ctx context.Context) observing {
	t.Helper()
	observations := make(chan coapsec.Observation, 1)
	o := quiet
	o.Endpoint.AckTimeout = 20 * time.Millisecond
	s := start(t, loopback(t), keys(), watched(observations), o)
	w := observing{Conn: dial(t, s.LocalAddr(), aliceID, aliceKey), seen: make(chan string, 8), over: make(chan error, 1)}
	go func() {
		w.over <- w.Observe(ctx, coapsec.NewRequest(codes.GET, "/door", coapsec.NoFormat, nil), func(m message.Message) error {
			w.seen <- string(m.Payload)
			return nil
		})
	}()
	w.sees(t, "locked")
	w.at = <-observations
	return w
}

func (o observing) sees(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-o.seen:
		if got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	case <-time.After(5 * time.Second):
		t.Fatalf("got nothing, want %q", want)
	}
}

func (o observing) ends(t *testing.T, want error) {
	t.Helper()
	select {
	case err := <-o.over:
		if !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the observation goes on")
	}
}

func TestObserve(t *testing.T) {
	o := observe(t, t.Context())
	for _, text := range []string{"open", "locked again"} {
		if err := o.at.Notify(t.Context(), state(text)); err != nil {
			t.Fatal(err)
		}
		o.sees(t, text)
	}
	if err := o.at.Notify(t.Context(), message.Message{Code: codes.Unauthorized}); err != nil {
		t.Fatal(err)
	}
	o.sees(t, "")
	o.ends(t, nil)
	<-o.at.Done()
	if err := o.at.Notify(t.Context(), state("open")); err == nil {
		t.Error("notified after the end")
	}
}

func TestObserveIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	o := observe(t, ctx)
	cancel()
	o.ends(t, context.Canceled)
	select {
	case <-o.at.Done():
	case <-time.After(5 * time.Second):
		t.Error("the server still notifies")
	}
}

// TestObserveEndsWithTheAssociation: who has hung up gets no more, and the server knows without trying.
func TestObserveEndsWithTheAssociation(t *testing.T) {
	o := observe(t, t.Context())
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	o.ends(t, ErrLost)
	select {
	case <-o.at.Done():
	case <-time.After(5 * time.Second):
		t.Error("the server still notifies")
	}
}
