package coapsec

import (
	"context"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// The values of Observe in a request (RFC 7641 §2).
const (
	register   = 0
	deregister = 1
)

// watch is where the answers to a request with Observe go.
type watch struct {
	more chan struct{} // one place; something was added

	// Guarded by Endpoint.mu.
	results []result
	seen    bool
	newest  uint32 // the value of Observe in the newest one seen, and when it came
	at      time.Time
}

// take adds what has come, unless it is older than what came before, and says whether it is the last. OSCORE orders what it
// protects by Partial IV (RFC 8613 §7.4.1), so of that nothing is held back: the outer value is anyone's.
func (w *watch) take(r result, now time.Time) (last bool) {
	value, _ := observeOf(r.message.Options)
	last = r.last()
	if !last && !isProtected(r.message) {
		if w.seen && !fresher(w.newest, value) && now.Sub(w.at) <= maxReordering {
			return false
		}
		w.seen, w.newest, w.at = true, value, now
	}
	if len(w.results) == maxQueued {
		w.results = w.results[1:]
	}
	w.results = append(w.results, r)
	select {
	case w.more <- struct{}{}:
	default:
	}
	return last
}

// last says whether no more can follow in the observation.
func (r result) last() bool {
	return r.err != nil || !isSuccess(r.message.Code) || !r.message.Options.HasOption(message.Observe)
}

// fresher compares two values of Observe, of which the old one came less than maxReordering ago (RFC 7641 §3.4).
func fresher(old, value uint32) bool {
	const half = 1 << (observeBits - 1)
	return old < value && value-old < half || old > value && old-value > half
}

func isSuccess(c codes.Code) bool { return c>>5 == 2 }

// observeOf is the value of Observe, if there is one.
func observeOf(options message.Options) (value uint32, found bool) {
	for _, o := range options {
		if o.ID == message.Observe && len(o.Value) <= observeBits/8 {
			for _, b := range o.Value {
				value = value<<8 | uint32(b)
			}
			return value, true
		}
	}
	return 0, false
}

// withObserve copies options, with this value.
func withObserve(options message.Options, value uint32) message.Options {
	return without(options, message.Observe).Add(message.Option{ID: message.Observe, Value: uintOption(value)})
}

// Observe implements Observer. What it leaves it cancels in the background: a protected observation, for which it could make
// no valid request, by rejecting the next notification (RFC 7641 §3.6).
//
// Of notifications that come faster than each takes them the oldest are left out. Its errors are those of Exchange.
func (r *remote) Observe(ctx context.Context, request message.Message, each func(message.Message) error) error {
	w := &watch{more: make(chan struct{}, 1)}
	request.Options = withObserve(request.Options, register)
	x, err := r.ask(ctx, request, w)
	if err != nil {
		return err
	}
	over, err := r.endpoint.follow(ctx, x, each)
	r.endpoint.abandon(x)
	if !over && !isProtected(request) {
		r.deregister(x.key, request)
	}
	return err
}

// follow hands the results of an observation to each. over says that the server has nothing to be told.
func (e *Endpoint) follow(ctx context.Context, x *exchange, each func(message.Message) error) (over bool, err error) {
	patience := time.NewTimer(exchangeLifetime) // with the first answer
	defer patience.Stop()
	for {
		r, ok := e.nextResult(x.watch)
		if !ok {
			if x.flight.reset {
				return true, ErrReset
			}
			select {
			case <-x.watch.more:
				continue
			case <-ctx.Done():
				return false, ctx.Err()
			case <-e.done:
				return true, ErrClosed
			case <-patience.C:
				return false, ErrNoAnswer
			}
		}
		patience.Stop()
		if r.err != nil {
			return true, r.err
		}
		if err := each(r.message); err != nil || r.last() {
			return r.last(), err
		}
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
	}
}

func (e *Endpoint) nextResult(w *watch) (r result, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(w.results) == 0 {
		return result{}, false
	}
	r, w.results = w.results[0], w.results[1:]
	return r, true
}

// deregister cancels the observation that request began, as far as the peer can be reached (RFC 7641 §3.6).
func (r *remote) deregister(key exchangeKey, request message.Message) {
	e := r.endpoint
	request.Options = withObserve(without(request.Options, message.ETag), deregister)
	e.mu.Lock()
	defer e.mu.Unlock()
	patient, err := e.firstTimeout()
	if err != nil || e.isClosed() || e.pending[key] != nil {
		return
	}
	x := &exchange{key: key, patient: patient, answer: make(chan result, 1), flight: e.takeOff(key.peer)}
	e.pending[key] = x
	go func() {
		defer e.abandon(x)
		ctx, cancel := context.WithTimeout(context.Background(), maxTransmitWait)
		defer cancel()
		if e.takeTurn(ctx, key.peer) != nil {
			return
		}
		err := r.send(ctx, request, x)
		e.giveTurn(key.peer)
		if err == nil {
			_, _ = e.await(ctx, x) // whatever it says, nobody listens any more
		}
	}()
}
