package dtls

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/plgd-dev/go-coap/v3/message"
)

// TestDrain: a request at work is answered, one that comes later is lost, and a handler that does not end holds up nobody for
// longer than asked.
func TestDrain(t *testing.T) {
	begun, finish := make(chan struct{}, 2), make(chan struct{})
	s := start(t, loopback(t), keys(), coapsec.HandlerFunc(func(ctx context.Context, r *coapsec.Request) message.Message {
		begun <- struct{}{}
		<-finish
		return answer(ctx, r)
	}), quiet)
	alice, bob := dial(t, s.LocalAddr(), aliceID, aliceKey), dial(t, s.LocalAddr(), bobID, bobKey)
	answered := make(chan error, 1)
	go func() {
		_, err := get(t.Context(), alice)
		answered <- err
	}()
	<-begun
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Drain(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v with a request at work", err)
	}
	late, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := get(late, bob); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a late request: %v", err)
	}
	close(finish)
	if err := <-answered; err != nil {
		t.Errorf("the request at work: %v", err)
	}
	if err := s.Drain(t.Context()); err != nil || len(begun) != 0 {
		t.Errorf("got %v, %d more have begun", err, len(begun))
	}
}
