package coapsec

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"slices"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// job is one request at work.
type job struct {
	incoming
	key     messageKey
	entry   *received // only while it runs: what has been forgotten is used for others
	request Request   // as the handler sees it, who may keep it
	options [usualOptions]message.Option
	asks    *registration // nil: for no observation
}

func (j *job) peer() netip.AddrPort { return j.key.peer }

// receiveRequest starts the handler, unless the request was seen before or cannot be understood. data is only lent.
func (e *Endpoint) receiveRequest(ctx context.Context, key messageKey, data []byte) error {
	j := &job{key: key}
	var err error
	j.datagram = e.fingerprint(data)
	if j.Message, err = decodeDatagramInto(j.options[:0], slices.Clone(data)); err != nil {
		return err
	}
	if e.handler == nil {
		e.sendNotNil(key.peer, resetIf(j.Type == message.Confirmable, key))
		return nil
	}
	options, unknown := siftOptions(j.Options, criticalInRequests, e.o.Critical)
	if unknown != 0 {
		e.refuseOption(j, unknown)
		return nil
	}
	j.Options = options
	if reply, taken := e.begin(j); !taken {
		e.sendNotNil(key.peer, reply)
		return nil
	}
	select {
	case e.jobs <- j:
	default:
		go e.serveJobs(ctx, j)
	}
	return nil
}

// begin makes the entry of a new request. Of one that was seen before it returns the answer; without room the request is
// dropped like a datagram that was lost: the peer tries again, later each time.
func (e *Endpoint) begin(j *job) (reply []byte, taken bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if reply, seen := e.duplicates.seen(j.key, j.incoming, e.o.Now()); seen {
		return reply, false
	}
	if e.draining {
		return nil, false
	}
	j.entry = e.duplicates.begin(j.key, j.datagram)
	if j.entry == nil {
		return nil, false
	}
	j.request = Request{Message: j.Message, Peer: Peer{Address: j.entry.from.words()}}
	if j.Type == message.Confirmable {
		e.duplicates.wait(j.entry, time.Now())
		e.watchClock()
	}
	e.work.Add(1) // under the lock, so that Drain counts all of them
	return nil, true
}

// serveJobs runs j and then what comes while it rests. There are as many workers as handlers at work and responses being
// repeated, and at most maxResting more.
func (e *Endpoint) serveJobs(ctx context.Context, j *job) {
	for {
		e.run(ctx, j)
		e.work.Done()
		if e.resting.Add(1) > maxResting {
			e.resting.Add(-1)
			return
		}
		select {
		case j = <-e.jobs:
			e.resting.Add(-1)
		case <-e.done:
			return
		}
	}
}

// watchClock makes acknowledgeLate run when the first of those waiting has waited long enough. One timer serves all, and
// is left alone while it runs: setting one for each request would cost more than the rest of it. e.mu is held.
func (e *Endpoint) watchClock() {
	switch {
	case e.clockSet:
		return
	case e.clock == nil:
		e.clock = time.AfterFunc(e.o.AckDelay, e.acknowledgeLate)
	default:
		e.clock.Reset(time.Until(e.duplicates.waiting.first.at.Add(e.o.AckDelay)))
	}
	e.clockSet = true
}

// acknowledgeLate tells the peers that have waited AckDelay for an answer to go on waiting (RFC 7252 §5.2.2), unless it is
// on its way.
func (e *Endpoint) acknowledgeLate() {
	var late []messageKey
	e.mu.Lock()
	e.clockSet = false
	waiting := &e.duplicates.waiting
	for due := time.Now().Add(-e.o.AckDelay); waiting.first != nil && !waiting.first.at.After(due); {
		late = append(late, waiting.first.key)
		e.duplicates.acknowledge(waiting.first)
	}
	if waiting.first != nil {
		e.watchClock()
	}
	e.mu.Unlock()
	for _, key := range late {
		e.send(key.peer, encodeEmpty(message.Acknowledgement, key.id))
	}
}

// refuseOption answers 4.02 or 5.05 (RFC 7252 §5.4.1 and §5.7.2) without remembering it: the same request gets the same
// answer. A non-confirmable one is ignored.
func (e *Endpoint) refuseOption(j *job, unknown message.OptionID) {
	if j.Type != message.Confirmable {
		return
	}
	response := message.Message{Code: codes.BadOption, Payload: fmt.Appendf(nil, "critical option %d", unknown)}
	if unknown == message.ProxyURI || unknown == message.ProxyScheme {
		response = message.Message{Code: codes.ProxyingNotSupported}
	}
	response = addressed(response, j, outgoing{kind: message.Acknowledgement, id: j.key.id})
	if a, err := limited(response, maxAmplification*j.size); err == nil {
		e.send(j.peer(), a.data)
	}
}

// outgoing is how a response leaves: in the acknowledgement, as a non-confirmable message, or, if f is set, separately
// until it is acknowledged (RFC 7252 §5.2).
type outgoing struct {
	kind message.Type
	id   uint16
	f    *flight
}

// run calls the handler and sends its answer.
func (e *Endpoint) run(ctx context.Context, j *job) {
	e.offer(j)
	response := e.enroll(j, e.call(ctx, j))
	out := e.route(j, response.Code)
	a := e.finalAnswer(j, response, out)
	e.finish(j, a.data)
	var err error
	switch {
	case out.f != nil:
		err = e.sendSeparate(ctx, j, out.f, a)
	case a.data != nil:
		e.send(j.peer(), a.data)
	}
	if j.asks != nil {
		j.asks.open(a, out.f != nil && err == nil, err)
	}
}

// route chooses how the response leaves. From then on acknowledgeLate does nothing.
func (e *Endpoint) route(j *job, code codes.Code) outgoing {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.duplicates.choose(j.entry)
	switch {
	case j.Type == message.NonConfirmable:
		return outgoing{kind: message.NonConfirmable, id: e.nextMessageID(j.peer())}
	case j.entry.acked && code != codes.Empty:
		f := e.takeOff(j.peer())
		return outgoing{kind: message.Confirmable, id: f.key.id, f: f}
	}
	return outgoing{kind: message.Acknowledgement, id: j.key.id}
}

// finish remembers what retransmissions of the request are answered with: of a non-confirmable one, nothing (RFC 7252
// §4.3).
func (e *Endpoint) finish(j *job, data []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case j.Type == message.NonConfirmable:
		data = nil
	case j.entry.acked:
		data = j.entry.answer
	}
	e.duplicates.end(j.entry, data, e.o.Now())
	j.entry = nil
}

// call asks the handler. A panic concerns only the request that caused it.
func (e *Endpoint) call(ctx context.Context, j *job) (response message.Message) {
	defer func() {
		if cause := recover(); cause != nil {
			e.o.Log.Error("handler panicked", "peer", j.peer(), "cause", cause, "stack", string(debug.Stack()))
			response = message.Message{Code: codes.InternalServerError}
		}
	}()
	return e.handler.ServeCoAP(ctx, &j.request)
}

// finalAnswer is the datagram for what the handler returned. A response without a code rejects a confirmable request with
// a Reset; one that cannot be sent becomes 5.00.
func (e *Endpoint) finalAnswer(j *job, response message.Message, out outgoing) answer {
	if response.Code == codes.Empty {
		return answer{data: resetIf(j.Type == message.Confirmable && !j.entry.acked, j.key), other: true}
	}
	a, err := e.encodeAnswer(j, response, out)
	if err == nil {
		return a
	}
	level := slog.LevelError
	if errors.Is(err, errTooMuch) {
		level = slog.LevelDebug // strangers can bring it about as often as they like
	}
	e.o.Log.Log(context.Background(), level, "answer not sent", "peer", j.peer(), "code", response.Code, "error", err)
	a, _ = limited(addressed(message.Message{Code: codes.InternalServerError}, j, out), j.allowance(out))
	a.other = true
	return a
}

// addressed is a response with what the transport sets.
func addressed(response message.Message, j *job, out outgoing) message.Message {
	response.Token, response.Type, response.MessageID = j.Token, out.kind, int32(out.id)
	return response
}

// sendSeparate sends a response in a confirmable message of its own until the peer acknowledges it. The transmissions
// of one that is not free count together against maxAmplification, but there is at least one.
func (e *Endpoint) sendSeparate(ctx context.Context, j *job, f *flight, a answer) error {
	s, ok := e.beginSeparate(f)
	if !ok {
		e.send(j.peer(), a.data)
		return errOnce
	}
	defer e.endSeparate(f)
	if !a.free {
		s.transmissions = affordable(maxAmplification*j.size-headerLength, len(a.data)) // allowance leaves at least one
	}
	err := e.transmit(ctx, f, a.data, s)
	if err == nil && f.reset {
		err = ErrReset
	}
	if err != nil {
		e.o.Log.Debug("separate response not acknowledged", "peer", j.peer(), "error", err)
	}
	return err
}

// errOnce is for a message that was not repeated, so that nothing is known of it.
var errOnce = errors.New("sent once")

// beginSeparate reports whether there is room to retransmit; if not, f is given up.
func (e *Endpoint) beginSeparate(f *flight) (schedule, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	timeout, err := e.firstTimeout()
	if err != nil || e.separate >= maxSeparate {
		e.settle(f.key, false)
		return schedule{}, false
	}
	e.separate++
	return schedule{timeout, maxTransmissions}, true
}

func (e *Endpoint) endSeparate(f *flight) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.separate--
	e.settle(f.key, false)
}
