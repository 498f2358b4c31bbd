package coapsec

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
)

var (
	// ErrNoAnswer is for a request sent as often as allowed without an answer. It may have been acted upon.
	ErrNoAnswer = errors.New("no answer")
	// ErrReset is for a request that the peer rejected without saying why.
	ErrReset = errors.New("rejected by the peer")
	// ErrClosed is for an exchange whose endpoint was closed. The request may have been acted upon.
	ErrClosed = errors.New("endpoint closed")
	// ErrBusy is for a request that was not sent because too many are under way.
	ErrBusy = errors.New("too many exchanges under way")
	// ErrUnknownOption is for a response with a critical option that must not be ignored (RFC 7252 §5.4.1). The request
	// was acted upon.
	ErrUnknownOption = errors.New("response with unknown critical option")
)

// ExchangeOptions adjusts the exchanges of one Exchanger.
type ExchangeOptions struct {
	MaxTransmissions int // how often a request is sent; 0 or more than 5 means 5, the first one and MAX_RETRANSMIT
}

// exchangeKey names an exchange of ours: only a response from the very address asked, with its token, is the answer.
type exchangeKey struct {
	peer  netip.AddrPort
	token [message.MaxTokenSize]byte
}

type exchange struct {
	key     exchangeKey
	flight  *flight
	patient time.Duration // first retransmission timeout
	answer  chan result   // one place, filled at most once
	watch   *watch        // set: there may be many answers, and they go there
}

type result struct {
	message message.Message
	err     error
}

// flight is a confirmable message of ours that is neither acknowledged nor rejected. reset is valid once settled is
// closed.
type flight struct {
	key     messageKey
	settled chan struct{}
	reset   bool
}

// To exchanges messages with addr: confirmable, sent up to five times until acknowledged (RFC 7252 §4.2), answered in
// the acknowledgement or separately. A separate answer is awaited for EXCHANGE_LIFETIME at most. A peer gets one request at
// a time (NSTART, §4.7): the next one goes when it has acknowledged or answered this one, or when that is given up.
//
// What To returns is an Observer as well.
func (e *Endpoint) To(addr netip.AddrPort) Exchanger { return e.ToWith(addr, ExchangeOptions{}) }

// ToWith is To with options.
func (e *Endpoint) ToWith(addr netip.AddrPort, o ExchangeOptions) Exchanger {
	if o.MaxTransmissions <= 0 || o.MaxTransmissions > maxTransmissions {
		o.MaxTransmissions = maxTransmissions
	}
	return &remote{endpoint: e, addr: canonical(addr), o: o}
}

type remote struct {
	endpoint *Endpoint
	addr     netip.AddrPort
	o        ExchangeOptions
}

// Exchange implements Exchanger. Beside ctx.Err() its errors are those declared in this file.
func (r *remote) Exchange(ctx context.Context, request message.Message) (message.Message, error) {
	x, err := r.ask(ctx, request, nil)
	if err != nil {
		return message.Message{}, err
	}
	defer r.endpoint.abandon(x)
	return r.endpoint.await(ctx, x)
}

// ask sends request until it is acknowledged or answered. The exchange is to be abandoned if there is no error.
func (r *remote) ask(ctx context.Context, request message.Message, w *watch) (*exchange, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e := r.endpoint
	if err := e.takeTurn(ctx, r.addr); err != nil {
		return nil, err
	}
	defer e.giveTurn(r.addr)
	x, err := e.open(r.addr, w)
	if err != nil {
		return nil, err
	}
	if err := r.send(ctx, request, x); err != nil {
		e.abandon(x)
		return nil, err
	}
	return x, nil
}

// send transmits request as the one that x is about.
func (r *remote) send(ctx context.Context, request message.Message, x *exchange) error {
	request.Type = message.Confirmable
	request.MessageID = int32(x.flight.key.id)
	request.Token = x.key.token[:]
	data, err := encodeDatagram(request)
	if err != nil {
		return err
	}
	return r.endpoint.transmit(ctx, x.flight, data, schedule{x.patient, r.o.MaxTransmissions})
}

// await waits for the answer of an exchange whose request was acknowledged.
func (e *Endpoint) await(ctx context.Context, x *exchange) (message.Message, error) {
	select {
	case r := <-x.answer:
		return r.message, r.err
	default:
	}
	if x.flight.reset {
		return message.Message{}, ErrReset
	}
	timer := time.NewTimer(exchangeLifetime)
	defer timer.Stop()
	select {
	case r := <-x.answer:
		return r.message, r.err
	case <-ctx.Done():
		return message.Message{}, ctx.Err()
	case <-e.done:
		return message.Message{}, ErrClosed
	case <-timer.C:
		return message.Message{}, ErrNoAnswer
	}
}

// open makes an exchange with a fresh token and Message-ID.
func (e *Endpoint) open(peer netip.AddrPort, w *watch) (*exchange, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.pending) >= maxPending {
		return nil, ErrBusy
	}
	x := &exchange{key: exchangeKey{peer: peer}, answer: make(chan result, 1), watch: w}
	if _, err := io.ReadFull(e.o.Rand, x.key.token[:]); err != nil {
		return nil, fmt.Errorf("make token: %w", err)
	}
	if e.pending[x.key] != nil {
		return nil, errors.New("make token: random source repeats itself")
	}
	var err error
	if x.patient, err = e.firstTimeout(); err != nil {
		return nil, err
	}
	e.pending[x.key] = x
	x.flight = e.takeOff(peer)
	return x, nil
}

// firstTimeout is between ACK_TIMEOUT and ACK_TIMEOUT * ACK_RANDOM_FACTOR (1.5). e.mu is held.
func (e *Endpoint) firstTimeout() (time.Duration, error) {
	var random [2]byte
	if _, err := io.ReadFull(e.o.Rand, random[:]); err != nil {
		return 0, fmt.Errorf("make timeout: %w", err)
	}
	return e.o.AckTimeout + e.o.AckTimeout/2*time.Duration(binary.BigEndian.Uint16(random[:]))>>16, nil
}

// takeOff registers a confirmable message with a new Message-ID. e.mu is held.
func (e *Endpoint) takeOff(peer netip.AddrPort) *flight {
	key := messageKey{peer, e.nextMessageID(peer)}
	for e.flights[key] != nil { // there are fewer flights than Message-IDs
		key.id = e.nextMessageID(peer)
	}
	f := &flight{key: key, settled: make(chan struct{})}
	e.flights[key] = f
	return f
}

// settle ends the flight that key names, if any. e.mu is held.
func (e *Endpoint) settle(key messageKey, reset bool) {
	f := e.flights[key]
	if f == nil {
		return
	}
	f.reset = reset
	delete(e.flights, key)
	close(f.settled)
}

func (e *Endpoint) abandon(x *exchange) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.pending[x.key] == x {
		delete(e.pending, x.key)
	}
	e.land(x.flight)
}

// land forgets a flight without settling it. e.mu is held.
func (e *Endpoint) land(f *flight) {
	if e.flights[f.key] == f {
		delete(e.flights, f.key)
	}
}

// schedule says when a confirmable message is sent again: after timeout, then after twice as long each time.
type schedule struct {
	timeout       time.Duration
	transmissions int
}

// transmit sends data until f is settled. It ends with ctx, with the endpoint, or with ErrNoAnswer one timeout after
// the last transmission.
func (e *Endpoint) transmit(ctx context.Context, f *flight, data []byte, s schedule) error {
	timer := time.NewTimer(s.timeout)
	defer timer.Stop()
	for sent := 1; ; sent++ {
		e.send(f.key.peer, data)
		select {
		case <-f.settled:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-e.done:
			return ErrClosed
		case <-timer.C:
		}
		if sent == s.transmissions {
			return ErrNoAnswer
		}
		s.timeout *= 2
		timer.Reset(s.timeout)
	}
}

// receiveResponse hands a response to the exchange that waits for it (RFC 7252 §5.3.2). data is only lent.
func (e *Endpoint) receiveResponse(key messageKey, data []byte) error {
	m, err := decodeDatagram(slices.Clone(data))
	if err != nil {
		return err
	}
	e.mu.Lock()
	reply := e.match(key, incoming{m, e.fingerprint(data)})
	e.mu.Unlock()
	e.sendNotNil(key.peer, reply)
	return nil
}

// match returns the datagram that the response is to be answered with, nil for none. e.mu is held.
func (e *Endpoint) match(key messageKey, in incoming) (reply []byte) {
	confirmable := in.Type == message.Confirmable
	now := e.o.Now()
	if confirmable {
		if again, seen := e.duplicates.seen(key, in, now); seen {
			return again
		}
	}
	x := e.waiting(key.peer, in.Token)
	if in.Type == message.Acknowledgement && (x == nil || x.flight.key != key) {
		return nil
	}
	if x == nil {
		// RFC 7641 §3.6: it may be a notification of what is observed no more.
		return resetIf(confirmable || in.Options.HasOption(message.Observe), key)
	}
	var err error
	if in.Options, err = siftResponse(in.Options, e.o.Critical); err != nil {
		reply = resetIf(confirmable || x.watch != nil && in.Type == message.NonConfirmable, key)
	} else if confirmable {
		reply = encodeEmpty(message.Acknowledgement, key.id)
	}
	if confirmable {
		e.duplicates.note(key, in.datagram, reply, now)
	}
	e.settle(x.flight.key, false)
	if x.watch == nil {
		delete(e.pending, x.key)
		x.answer <- result{in.Message, err}
	} else if x.watch.take(result{in.Message, err}, now) {
		delete(e.pending, x.key)
	}
	return reply
}

func (e *Endpoint) waiting(peer netip.AddrPort, token message.Token) *exchange {
	if len(token) != message.MaxTokenSize {
		return nil
	}
	return e.pending[exchangeKey{peer, [message.MaxTokenSize]byte(token)}]
}

func siftResponse(options message.Options, declared []message.OptionID) (message.Options, error) {
	kept, unknown := siftOptions(options, criticalInResponses, declared)
	if unknown != 0 {
		return nil, fmt.Errorf("%w: %d", ErrUnknownOption, unknown)
	}
	return kept, nil
}

func resetIf(confirmable bool, key messageKey) []byte {
	if !confirmable {
		return nil
	}
	return encodeEmpty(message.Reset, key.id)
}
