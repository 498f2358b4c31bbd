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

// TestShutdownFinishesWhatHasBegun: a request at work is answered, its repetition gets the same answer, a new one is lost.
func TestShutdownFinishesWhatHasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, finish := make(chan struct{}, 2), make(chan struct{})
		server := serve(t, loopback(t), HandlerFunc(func(context.Context, *Request) message.Message {
			begun <- struct{}{}
			<-finish
			return message.Message{Code: codes.Changed}
		}), EndpointOptions{AckDelay: time.Hour})
		c, late := dial(t, server), dial(t, server)
		first := c.sendMessage(confirmable(1, request(codes.POST, "/door", nil)))
		<-begun
		ended := make(chan error, 1)
		go func() { ended <- server.Shutdown(t.Context()) }()
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
		late.nothing()
	})
}

// TestShutdownGivesUp: a handler that does not end holds up nobody for longer than asked.
func TestShutdownGivesUp(t *testing.T) {
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
		if err := server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want context.DeadlineExceeded", err)
		}
		if took := time.Since(start); took != 30*time.Second {
			t.Errorf("it took %v, want 30s", took)
		}
	})
}

func TestShutdownOfAnIdleEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := serve(t, loopback(t), HandlerFunc(parrot), EndpointOptions{})
		for range 2 {
			if err := server.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}
