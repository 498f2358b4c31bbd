package gatt

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// bearer moves whole attribute values to the peer. This is what a Bluetooth stack offers an application, and the seam
// where BlueZ takes the place of client and server.
type bearer interface {
	// send returns when the peer's stack has confirmed value, or with the reason why it never will. Values arrive in
	// the order in which they were sent; one call at a time.
	send(value []byte) error
}

// outgoing is a message that waits for its turn.
type outgoing struct {
	body    []byte // a frame without M, C and A
	token   string
	request bool   // sent by exchange, which may give up
	leave   func() // called, session locked, as the message leaves the queue; may be nil
}

// session is CoAP over one link, the same for both ends: the sublayer's turns, tokens and running handlers.
// Start from newSession, run run in a goroutine of its own, and hand it every value that arrives.
type session struct {
	radio  *radio
	bearer bearer
	handle Handle // nil: requests are answered with 5.01
	sent   func(value []byte)

	handlers sync.WaitGroup
	wake     chan struct{}

	mu       sync.Mutex
	layer    sublayer
	queue    []outgoing
	handling int // requests being handled, or answered but not sent
	refusals int // 5.0x answers in the queue
	waiting  map[string]chan message.Message
}

func newSession(r *radio, b bearer, handle Handle, sent func(value []byte)) *session {
	return &session{
		radio: r, bearer: b, handle: handle, sent: sent,
		wake:    make(chan struct{}, 1),
		layer:   newSublayer(),
		waiting: make(map[string]chan message.Message),
	}
}

// run sends until the link ends.
func (s *session) run() {
	var unanswered time.Time // when the message sent last must be acknowledged
	for {
		value, confirm := s.next()
		if value == nil {
			if !s.pause(unanswered) {
				return
			}
			continue
		}
		s.sent(value)
		if err := s.bearer.send(value); err != nil {
			s.radio.end(err)
			return
		}
		if confirm {
			unanswered = time.Now().Add(s.radio.timeout)
		}
	}
}

// next chooses what to send now: a message if the one before was acknowledged (it carries an acknowledgement that is due),
// else a due acknowledgement, else nothing.
func (s *session) next() (value []byte, confirm bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.layer.awaiting && len(s.queue) > 0 {
		out := s.queue[0]
		s.queue = slices.Delete(s.queue, 0, 1)
		if out.leave != nil {
			out.leave()
		}
		return s.layer.stamp(out.body), true
	}
	if s.layer.owes {
		return s.layer.acknowledge(), false
	}
	return nil, false
}

// pause waits for something to do; false means that the link has ended.
func (s *session) pause(unanswered time.Time) bool {
	s.mu.Lock()
	awaiting := s.layer.awaiting
	s.mu.Unlock()
	var late <-chan time.Time
	if awaiting {
		timer := time.NewTimer(time.Until(unanswered))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-s.wake:
		return true
	case <-late:
		s.radio.end(fmt.Errorf("%w: message without acknowledgement", ErrTimeout))
		return false
	case <-s.radio.done:
		return false
	}
}

func (s *session) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// receive takes a value from the peer and never blocks; value is kept. An error means that the peer does not speak this
// protocol, and ends the link. ctx is for the handler.
func (s *session) receive(ctx context.Context, value []byte) error {
	s.mu.Lock()
	f, ok, err := s.layer.receive(value)
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("frame: %w", err)
	}
	if !ok {
		return nil
	}
	defer s.poke()
	switch {
	case f.empty():
	case isRequest(f.message.Code):
		s.serve(ctx, f.message)
	default:
		s.deliver(f.message)
	}
	return nil
}

func (s *session) serve(ctx context.Context, request message.Message) {
	if s.handle == nil {
		s.refuse(request.Token, codes.NotImplemented)
		return
	}
	s.mu.Lock()
	full := s.handling == MaxRequests
	if !full {
		s.handling++
	}
	s.mu.Unlock()
	if full {
		s.refuse(request.Token, codes.ServiceUnavailable)
		return
	}
	s.handlers.Go(func() { s.answer(request.Token, s.handle(ctx, request)) })
}

// answer queues the response to a handled request. The request counts until its response leaves, so that a peer that never
// acknowledges cannot fill the memory with responses.
func (s *session) answer(token message.Token, response message.Message) {
	done := func() { s.handling-- }
	if response.Code == codes.Empty {
		s.mu.Lock()
		defer s.mu.Unlock()
		done()
		return
	}
	response.Token = token
	body, err := encodeMessage(response)
	if err != nil || !isResponse(response.Code) {
		body = bare(token, codes.InternalServerError)
	}
	s.enqueue(outgoing{body: body, leave: done})
}

// refuse answers a request that nobody handles, as long as the peer takes the answers.
func (s *session) refuse(token message.Token, code codes.Code) {
	s.mu.Lock()
	full := s.refusals == maxRefusals
	if !full {
		s.refusals++
	}
	s.mu.Unlock()
	if !full {
		s.enqueue(outgoing{body: bare(token, code), leave: func() { s.refusals-- }})
	}
}

// bare is a response without options and payload; it always fits.
func bare(token message.Token, code codes.Code) []byte {
	return append([]byte{byte(len(token)), byte(code)}, token...)
}

func (s *session) enqueue(out outgoing) {
	s.mu.Lock()
	s.queue = append(s.queue, out)
	s.mu.Unlock()
	s.poke()
}

// deliver hands a response to the exchange that waits for its token. One that nobody waits for is dropped.
func (s *session) deliver(response message.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	token := string(response.Token)
	if waiting, ok := s.waiting[token]; ok {
		delete(s.waiting, token)
		waiting <- response
	}
}

// exchange sends request under a new token and waits for the response.
func (s *session) exchange(ctx context.Context, request message.Message) (message.Message, error) {
	token, waiting := s.expect()
	defer s.forget(token)
	request.Token = message.Token(token)
	body, err := encodeMessage(request)
	if err != nil {
		return message.Message{}, err
	}
	s.enqueue(outgoing{body: body, token: token, request: true})
	select {
	case response := <-waiting:
		return response, nil
	case <-ctx.Done():
		return message.Message{}, ctx.Err()
	case <-s.radio.done:
	}
	select {
	case response := <-waiting: // it came before the link ended
		return response, nil
	default:
		return message.Message{}, s.radio.closed()
	}
}

func (s *session) expect() (token string, response <-chan message.Message) {
	waiting := make(chan message.Message, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		var random [tokenSize]byte
		rand.Read(random[:]) // never fails
		token = string(random[:])
		if _, taken := s.waiting[token]; !taken {
			s.waiting[token] = waiting
			return token, waiting
		}
	}
}

// forget gives the token back; a request that did not leave yet never will.
func (s *session) forget(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, token)
	s.queue = slices.DeleteFunc(s.queue, func(o outgoing) bool { return o.request && o.token == token })
}
