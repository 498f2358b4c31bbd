package coapsec

import (
	"context"
	"sync"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// Reachable repeats over x what is answered by an unprotected 4.01 with an Echo, with that Echo: so a client shows a server
// that it is at its address (RFC 9175 §2.4, item 3), or that its request is fresh where the transport itself protects it. It
// does so MaxEchoRepeats times at most and only while ctx lives; the last 4.01 is returned like any response. The newest Echo
// goes into later requests too, unless they bring their own. Use one for each server.
//
// It is an Observer if x is one.
func Reachable(x Exchanger) Exchanger {
	switch x := x.(type) {
	case *reachable:
		return x
	case *observingReachable:
		return x
	case Observer:
		return &observingReachable{reachable{next: x}, x}
	}
	return &reachable{next: x}
}

type reachable struct {
	next Exchanger

	mu   sync.Mutex
	echo []byte // the newest; nil: none yet
}

// Exchange implements Exchanger.
func (r *reachable) Exchange(ctx context.Context, request message.Message) (message.Message, error) {
	request = r.echoed(request)
	for repeats := 0; ; repeats++ {
		response, err := r.next.Exchange(ctx, request)
		if err != nil {
			return message.Message{}, err
		}
		echo := r.challenged(response)
		if echo == nil || repeats == MaxEchoRepeats || ctx.Err() != nil {
			return response, nil
		}
		request.Options = withEcho(request.Options, echo)
	}
}

// echoed adds what the server gave last.
func (r *reachable) echoed(request message.Message) message.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.echo != nil && !request.Options.HasOption(OptionEcho) {
		request.Options = withEcho(request.Options, r.echo)
	}
	return request
}

// challenged returns and remembers the Echo that a response asks for, nil if it asks for none.
func (r *reachable) challenged(response message.Message) []byte {
	echo := challengeOf(response)
	if echo == nil || response.Options.HasOption(optionOSCORE) {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.echo = echo
	return echo
}

type observingReachable struct {
	reachable
	observer Observer
}

// Observe implements Observer. What is too long for an address that is not known ends the observation with a 4.01 as well, also
// later on: then it begins again.
func (r *observingReachable) Observe(ctx context.Context, request message.Message, each func(message.Message) error) error {
	request = r.echoed(request)
	for repeats := 0; ; repeats++ {
		var again []byte
		err := r.observer.Observe(ctx, request, func(m message.Message) error {
			if repeats < MaxEchoRepeats && ctx.Err() == nil {
				again = r.challenged(m)
			}
			if again != nil {
				return errObservationEnded
			}
			if isSuccess(m.Code) {
				repeats = 0
			}
			return each(m)
		})
		if again == nil {
			return err
		}
		request.Options = withEcho(request.Options, again)
	}
}

// challengeOf returns the Echo of a 4.01 that asks to repeat the request with it, nil for any other response, also for one that
// asks for more.
func challengeOf(response message.Message) []byte {
	if response.Code != codes.Unauthorized || string(response.Payload) == IntegrityWanted {
		return nil
	}
	return echoOf(response)
}
