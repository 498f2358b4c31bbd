package coapsec

import (
	"context"
	"errors"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// UnprotectedError is an answer without protection to a protected request. Anyone on the way may have sent it: it is a
// hint, and the request may have been acted upon.
type UnprotectedError struct {
	Code       codes.Code
	Diagnostic string // at most 64 bytes, of unknown origin
}

// Error implements error.
func (e *UnprotectedError) Error() string {
	return fmt.Sprintf("unprotected answer %d.%02d %q", e.Code>>5, e.Code&0x1f, e.Diagnostic)
}

func unprotected(answer message.Message) *UnprotectedError {
	text := answer.Payload
	return &UnprotectedError{Code: answer.Code, Diagnostic: string(text[:min(len(text), maxDiagnostic)])}
}

// Secure protects requests with c and verifies the responses. A protected 4.01 with an Echo makes it repeat the request
// with that Echo, MaxEchoRepeats times at most and only while ctx lives; the last 4.01 is returned like any response. An
// unprotected one, by which a server or proxy asks whether the address is ours, is answered as by Reachable.
//
// It is an Observer if x is one. Notifications that do not verify, or are older than one told before, are dropped.
//
// Errors: *UnprotectedError, those of oscore.Context's ProtectRequest and UnprotectResponse, and those of x. After each
// but those of ProtectRequest the request may have been acted upon.
func Secure(x Exchanger, c *oscore.Context) Exchanger {
	s := newSecured(x, c)
	if observer, ok := s.next.(Observer); ok {
		return &observingSecured{s, observer}
	}
	return s
}

func newSecured(x Exchanger, c *oscore.Context) *secured {
	return &secured{next: Reachable(x), context: c}
}

// secured is an Exchanger under one context.
type secured struct {
	next     Exchanger
	context  *oscore.Context
	verified func() // called for every response that verifies; may be nil
}

// Exchange implements Exchanger.
func (s *secured) Exchange(ctx context.Context, request message.Message) (message.Message, error) {
	for repeats := 0; ; repeats++ {
		response, err := s.once(ctx, request)
		if err != nil {
			return message.Message{}, err
		}
		echo := challengeOf(response)
		if echo == nil || repeats == MaxEchoRepeats || ctx.Err() != nil {
			return response, nil
		}
		request.Options = withEcho(request.Options, echo)
	}
}

func (s *secured) once(ctx context.Context, request message.Message) (message.Message, error) {
	outer, x, err := s.context.ProtectRequest(request)
	if err != nil {
		return message.Message{}, err
	}
	answer, err := s.next.Exchange(ctx, outer)
	if err != nil {
		return message.Message{}, err
	}
	response, err := s.context.UnprotectResponse(x, answer)
	if errors.Is(err, oscore.ErrNotProtected) {
		return message.Message{}, unprotected(answer)
	}
	if err != nil {
		return message.Message{}, fmt.Errorf("response: %w", err)
	}
	if s.verified != nil {
		s.verified()
	}
	return response, nil
}

type observingSecured struct {
	*secured
	observer Observer
}

// Observe implements Observer.
func (s *observingSecured) Observe(ctx context.Context, request message.Message, each func(message.Message) error) error {
	request.Options = withObserve(request.Options, register)
	for repeats := 0; ; repeats++ {
		o := securedObservation{context: s.context, each: each}
		err := o.run(ctx, s.observer, request)
		if o.echo == nil {
			return err
		}
		if repeats == MaxEchoRepeats || ctx.Err() != nil {
			return each(o.last)
		}
		request.Options = withEcho(request.Options, o.echo)
	}
}

// securedObservation is one observation under a context.
type securedObservation struct {
	context *oscore.Context
	x       *oscore.Exchange
	each    func(message.Message) error
	began   bool            // a response has verified
	echo    []byte          // the observation did not begin: it wants this
	last    message.Message // the 4.01 with echo
	hint    error           // what the last message was that did not verify; nil if it did
}

// errObservationEnded makes the transport leave an observation whose end has been proven.
var errObservationEnded = errors.New("observation ended")

func (o *securedObservation) run(ctx context.Context, observer Observer, request message.Message) error {
	outer, x, err := o.context.ProtectRequest(request)
	if err != nil {
		return err
	}
	o.x = x
	err = observer.Observe(ctx, outer, o.take)
	switch {
	case errors.Is(err, errObservationEnded):
		return nil
	case err == nil:
		return o.hint // the transport took it for the end
	}
	return err
}

// take gets what the transport got. What does not verify may be anyone's, and says nothing but, at the end, why there is
// nothing more.
func (o *securedObservation) take(outer message.Message) error {
	inner, err := o.context.UnprotectNotification(o.x, outer)
	switch {
	case errors.Is(err, oscore.ErrReplay):
		return nil
	case errors.Is(err, oscore.ErrNotProtected):
		o.hint = unprotected(outer)
		return nil
	case err != nil:
		o.hint = fmt.Errorf("notification: %w", err)
		return nil
	}
	began := o.began
	o.began, o.hint = true, nil
	if echo := challengeOf(inner); echo != nil && !began {
		o.echo, o.last = echo, inner
		return errObservationEnded
	}
	if err := o.each(inner); err != nil {
		return err
	}
	if inner.Code >= codes.BadRequest || !inner.Options.HasOption(message.Observe) {
		return errObservationEnded
	}
	return nil
}
