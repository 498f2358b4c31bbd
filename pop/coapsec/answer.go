package coapsec

import (
	"context"
	"fmt"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// job is one request at work.
type job struct {
	incoming
	entry *received
}

func (j *job) peer() netip.AddrPort { return j.entry.key.peer }

// receiveRequest starts the handler, unless the request was seen before or cannot be understood.
func (e *Endpoint) receiveRequest(ctx context.Context, key messageKey, in incoming) {
	if e.handler == nil {
		if in.Type == message.Confirmable {
			e.send(key.peer, encodeEmpty(message.Reset, key.id))
		}
		return
	}
	options, unknown := siftOptions(in.Options, criticalInRequests, e.o.Critical)
	if unknown != 0 {
		e.refuseOption(key, in, unknown)
		return
	}
	in.Options = options
	e.mu.Lock()
	known := e.duplicates.find(key, e.o.Now())
	if known != nil {
		reply := known.replyTo(in)
		e.mu.Unlock()
		if reply != nil {
			e.send(key.peer, reply)
		}
		return
	}
	entry := e.duplicates.begin(key, in.size)
	e.mu.Unlock()
	if entry == nil {
		// Dropped like a datagram that was lost: the peer tries again, later each time.
		return
	}
	j := &job{in, entry}
	e.work.Add(1)
	select {
	case e.jobs <- j:
	default:
		go e.serveJobs(ctx, j)
	}
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

// refuseOption answers 4.02 or 5.05 (RFC 7252 §5.4.1 and §5.7.2) without remembering it: the same request gets the same answer.
func (e *Endpoint) refuseOption(key messageKey, in incoming, unknown message.OptionID) {
	if in.Type != message.Confirmable {
		return
	}
	response := message.Message{Code: codes.BadOption, Payload: fmt.Appendf(nil, "critical option %d", unknown)}
	if unknown == message.ProxyURI || unknown == message.ProxyScheme {
		response = message.Message{Code: codes.ProxyingNotSupported}
	}
	j := &job{in, &received{key: key}}
	if data, err := e.encodeAnswer(j, response, outgoing{kind: message.Acknowledgement, id: key.id}); err == nil {
		e.send(key.peer, data)
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
	if j.Type == message.Confirmable {
		timer := time.AfterFunc(e.o.AckDelay, func() { e.acknowledge(j) })
		defer timer.Stop()
	}
	response := e.call(ctx, j)
	out := e.route(j, response.Code)
	data := e.finalAnswer(j, response, out)
	e.finish(j, data)
	switch {
	case out.f != nil:
		e.sendSeparate(ctx, j, out.f, separate{data, response.Options.HasOption(optionOSCORE)})
	case data != nil:
		e.send(j.peer(), data)
	}
}

// route chooses how the response leaves. From then on acknowledge does nothing.
func (e *Endpoint) route(j *job, code codes.Code) outgoing {
	e.mu.Lock()
	defer e.mu.Unlock()
	j.entry.answering = true
	switch {
	case j.Type == message.NonConfirmable:
		return outgoing{kind: message.NonConfirmable, id: e.nextMessageID(j.peer())}
	case j.entry.acked && code != codes.Empty:
		f := e.takeOff(j.peer())
		return outgoing{kind: message.Confirmable, id: f.key.id, f: f}
	}
	return outgoing{kind: message.Acknowledgement, id: j.entry.key.id}
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
}

// call asks the handler. A panic concerns only the request that caused it.
func (e *Endpoint) call(ctx context.Context, j *job) (response message.Message) {
	defer func() {
		if cause := recover(); cause != nil {
			e.o.Log.Error("handler panicked", "peer", j.peer(), "cause", cause, "stack", string(debug.Stack()))
			response = message.Message{Code: codes.InternalServerError}
		}
	}()
	return e.handler.ServeCoAP(ctx, &Request{Message: j.Message, Peer: Peer{Address: j.peer().String()}})
}

// acknowledge tells the peer to wait (RFC 7252 §5.2.2), unless the answer is on its way.
func (e *Endpoint) acknowledge(j *job) {
	empty := encodeEmpty(message.Acknowledgement, j.entry.key.id)
	e.mu.Lock()
	late := j.entry.answering
	if !late {
		j.entry.acked = true
		j.entry.answer = empty
	}
	e.mu.Unlock()
	if !late {
		e.send(j.peer(), empty)
	}
}

// finalAnswer is the datagram for what the handler returned, nil for none. A response without a code rejects a
// confirmable request with a Reset; one that cannot be sent becomes 5.00.
func (e *Endpoint) finalAnswer(j *job, response message.Message, out outgoing) []byte {
	if response.Code == codes.Empty {
		return resetIf(j.Type == message.Confirmable && !j.entry.acked, j.entry.key)
	}
	data, err := e.encodeAnswer(j, response, out)
	if err == nil {
		return data
	}
	e.o.Log.Error("answer not sent", "peer", j.peer(), "code", response.Code, "error", err)
	data, _ = e.encodeAnswer(j, message.Message{Code: codes.InternalServerError}, out)
	return data
}

// encodeAnswer encodes a response with the token of its request. An unprotected one that would be too long for its
// request (maxAmplification) loses its payload, and its options if that is not enough.
func (e *Endpoint) encodeAnswer(j *job, response message.Message, out outgoing) ([]byte, error) {
	if !isResponse(response.Code) {
		return nil, fmt.Errorf("handler returned %v", response.Code)
	}
	response.Token, response.Type, response.MessageID = j.Token, out.kind, int32(out.id)
	data, err := encodeDatagram(response)
	limit := maxAmplification * j.size
	if err != nil || len(data) <= limit || response.Options.HasOption(optionOSCORE) {
		return data, err
	}
	if response.Code == codes.Content {
		// Content without its payload would be believed.
		return nil, fmt.Errorf("answer of %d bytes to an unprotected request of %d", len(data), j.size)
	}
	response.Payload = nil
	response.Options = without(response.Options, message.ETag, message.ContentFormat)
	if data, err = encodeDatagram(response); err != nil || len(data) <= limit {
		return data, err
	}
	response.Options = nil
	return encodeDatagram(response)
}

// separate is an encoded response that goes in a message of its own.
type separate struct {
	data      []byte
	protected bool
}

// sendSeparate sends a response in a confirmable message of its own until the peer acknowledges it. The transmissions
// of an unprotected one count together against maxAmplification, but there is at least one.
func (e *Endpoint) sendSeparate(ctx context.Context, j *job, f *flight, r separate) {
	s, ok := e.beginSeparate(f)
	if !ok {
		e.send(j.peer(), r.data)
		return
	}
	defer e.endSeparate(f)
	if !r.protected {
		s.transmissions = max(1, min(s.transmissions, (maxAmplification*j.size-headerLength)/len(r.data)))
	}
	if err := e.transmit(ctx, f, r.data, s); err != nil {
		e.o.Log.Debug("separate response not acknowledged", "peer", j.peer(), "error", err)
	}
}

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
