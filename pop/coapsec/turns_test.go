package coapsec

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

func TestRequestsTakeTurns(t *testing.T) {
	for _, nstart := range []int{0, 1, 3} {
		t.Run(fmt.Sprint("NStart ", nstart), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scripted{t: t, conn: loopback(t)}
				x := serve(t, loopback(t), nil, EndpointOptions{NStart: nstart}).To(s.addr())
				const requests = 6
				var answered atomic.Int32
				var all sync.WaitGroup
				for i := range requests {
					all.Go(func() {
						if _, err := x.Exchange(t.Context(), request(codes.GET, fmt.Sprint("/", i), nil)); err != nil {
							t.Error(err)
						}
						answered.Add(1)
					})
				}
				atOnce := max(nstart, 1)
				for i := 0; i < requests; i += atOnce {
					var asked []message.Message
					for range atOnce {
						asked = append(asked, s.receive())
					}
					if more, ok := s.receiveWithin(30 * time.Millisecond); ok {
						t.Fatalf("got %v although %d are not answered", &more, atOnce)
					}
					if got := answered.Load(); got != int32(i) {
						t.Errorf("%d answered, want %d", got, i)
					}
					for _, m := range asked {
						s.send(mustEncode(t, answerTo(m, message.Acknowledgement, m.MessageID)))
					}
				}
				all.Wait()
			})
		})
	}
}

func TestAcknowledgedRequestLetsTheNextOneGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{t: t, conn: loopback(t)}
		x := serve(t, loopback(t), nil, quick).To(s.addr())
		done := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := x.Exchange(context.Background(), request(codes.GET, "/a", nil))
				done <- err
			}()
		}
		first := s.receive()
		s.send(encodeEmpty(message.Acknowledgement, uint16(first.MessageID)))
		second := s.receive()
		s.send(mustEncode(t, answerTo(second, message.Acknowledgement, second.MessageID)))
		s.send(mustEncode(t, answerTo(first, message.NonConfirmable, 77)))
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestWaitingForATurnIsBoundedAndCanBeLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := NewEndpoint(&sink{}, nil, EndpointOptions{})
		peer := peerNumber(1)
		if err := e.takeTurn(t.Context(), peer); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error, maxTurns)
		for range maxTurns {
			go func() { left <- e.takeTurn(ctx, peer) }()
		}
		waiting := func() int {
			e.mu.Lock()
			defer e.mu.Unlock()
			return len(e.turns[peer].waiting)
		}
		for waiting() < maxTurns {
			time.Sleep(time.Millisecond)
		}
		if err := e.takeTurn(t.Context(), peer); !errors.Is(err, ErrBusy) {
			t.Errorf("got %v, want ErrBusy", err)
		}
		if err := e.takeTurn(t.Context(), peerNumber(2)); err != nil {
			t.Errorf("another peer: %v", err)
		}
		e.giveTurn(peer) // to one that may be leaving
		cancel()
		got := 0
		for range maxTurns {
			if err := <-left; err == nil {
				got++
				e.giveTurn(peer)
			} else if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		if err := e.takeTurn(t.Context(), peer); err != nil {
			t.Errorf("after %d turns: %v", got, err)
		}
		e.giveTurn(peer)
		e.giveTurn(peerNumber(2))
		if len(e.turns) != 0 {
			t.Errorf("%d peers left behind", len(e.turns))
		}
		last := make(chan error, 1)
		_ = e.takeTurn(t.Context(), peer)
		go func() { last <- e.takeTurn(context.Background(), peer) }()
		time.Sleep(5 * time.Millisecond)
		_ = e.Close()
		if err := <-last; !errors.Is(err, ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
	})
}

func TestLateEmptyAcknowledgementChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, done := ask(t, ExchangeOptions{})
		m := s.receive()
		s.send(mustEncode(t, answerTo(m, message.NonConfirmable, 5)))
		if got := <-done; got.err != nil {
			t.Fatal(got.err)
		}
		for _, kind := range []message.Type{message.Acknowledgement, message.Reset} {
			s.send(encodeEmpty(kind, uint16(m.MessageID)))
		}
		s.send(mustEncode(t, answerTo(m, message.Acknowledgement, m.MessageID)))
		s.send(encodeEmpty(message.Confirmable, 6))
		if got := s.receive(); got.Type != message.Reset || got.MessageID != 6 {
			t.Errorf("got %v, want the answer to the ping", &got)
		}
	})
}
