package coapsec

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// TestDrainFinishesWhatHasBegun: a request at work is answered, its repetition gets the same answer, a new one is lost, and
// this side can still ask.
func TestDrainFinishesWhatHasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, finish := make(chan struct{}, 2), make(chan struct{})
		server := serve(t, loopback(t), HandlerFunc(func(context.Context, *Request) message.Message {
			begun <- struct{}{}
			<-finish
			return message.Message{Code: codes.Changed}
		}), EndpointOptions{AckDelay: time.Hour})
		c, late, device := dial(t, server), dial(t, server), serve(t, loopback(t), HandlerFunc(parrot), EndpointOptions{})
		first := c.sendMessage(confirmable(1, request(codes.POST, "/door", nil)))
		<-begun
		ended := make(chan error, 1)
		go func() { ended <- server.Drain(t.Context()) }()
		synctest.Wait()
		late.sendMessage(confirmable(2, request(codes.POST, "/door", nil)))
		synctest.Wait()
		if len(begun) != 0 {
			t.Error("a request that came later has begun")
		}
		select {
		case err := <-ended:
			t.Fatalf("it ended with a request at work: %v", err)
		default:
		}
		c.send(first)
		close(finish)
		if got := c.receiveMessage(); got.Code != codes.Changed {
			t.Errorf("got %v, want 2.04", got)
		}
		if err := <-ended; err != nil {
			t.Errorf("it ended with %v", err)
		}
		c.send(first)
		if got := c.receiveMessage(); got.Code != codes.Changed {
			t.Errorf("repeated after the drain: got %v, want 2.04 again", got)
		}
		late.nothing()
		if got, err := server.To(device.LocalAddr()).Exchange(t.Context(), request(codes.POST, "/authz-info", nil)); err != nil || got.Code != codes.Changed {
			t.Errorf("a request of its own: %v (%v)", got, err)
		}
	})
}

// TestDrainGivesUp: a handler that does not end holds up nobody for longer than asked.
func TestDrainGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := make(chan struct{})
		server := serve(t, loopback(t), HandlerFunc(func(ctx context.Context, _ *Request) message.Message {
			close(begun)
			<-ctx.Done()
			return message.Message{Code: codes.Changed}
		}), EndpointOptions{})
		dial(t, server).sendMessage(confirmable(1, request(codes.POST, "/door", nil)))
		<-begun
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		start := time.Now()
		if err := server.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want context.DeadlineExceeded", err)
		}
		if took := time.Since(start); took != 30*time.Second {
			t.Errorf("it took %v, want 30s", took)
		}
	})
}

func TestDrainOfAnIdleEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := serve(t, loopback(t), HandlerFunc(parrot), EndpointOptions{})
		for range 2 {
			if err := server.Drain(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}
