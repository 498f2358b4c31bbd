// Package coapsec puts OSCORE (RFC 8613) under any CoAP handler and client, and owns the transports that carry it.
//
// A server starts from NewEndpoint, one UDP socket in both roles, with a Security as its handler: that unprotects requests,
// finds who the Peer is and protects the answers. Blockwise around the handlers behind it puts bodies together and divides
// them (RFC 7959). The Endpoint sees to it that long answers in the clear go only to those who are at the address they ask
// from (RFC 9175); Reachability is how.
//
// A client starts from Endpoint.To, with Secure around it under a security context or Reachable in the clear, and Blocks
// around either. Channel is the association between a device and its authorization server, whose contexts are made fresh by
// RFC 8613 appendix B.2. The folders dtls and gocoap are other transports.
//
// It decides nothing about rights. Not covered are multicast and Group OSCORE, forward proxies, Q-Block (RFC 9177), and the
// blocks above 1024 bytes of CoAP over TCP (RFC 8323 §6).
package coapsec

import (
	"context"
	"time"

	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message"
)

// Exchanger sends one CoAP request and waits for its response. The request carries Code, Options and Payload; the
// transport sets token, message id and type. Implementations are safe for concurrent use.
//
// When ctx ends first the error is ctx.Err() and the outcome is unknown: the request may have been acted upon.
type Exchanger interface {
	Exchange(ctx context.Context, request message.Message) (message.Message, error)
}

// Observer is an Exchanger that can also observe (RFC 7641 §3).
type Observer interface {
	Exchanger
	// Observe sends request with Observe 0 and calls each with the first answer and with every newer notification, one at a
	// time and in order, until ctx ends, each returns an error, or an answer without Observe or with an error code ends the
	// observation. What older notifications said is never told after newer ones. It cancels what it leaves. The error is nil
	// when the server has ended it, and else ctx.Err(), that of each or that of the exchange.
	Observe(ctx context.Context, request message.Message, each func(message.Message) error) error
}

// Observation is the server's end of an observation. It is safe for concurrent use.
type Observation interface {
	// Notify sends the next notification; the transport sets token, message id, type and the value of Observe. One that is
	// no success, or that the handler gives without Observe, ends the observation. The error says that it is over.
	Notify(ctx context.Context, m message.Message) error
	// Done is closed when the observation is over: cancelled, replaced, rejected, unanswered or ended.
	Done() <-chan struct{}
}

// Handler answers one request with Code, Options and Payload. It may be called concurrently.
type Handler interface {
	ServeCoAP(ctx context.Context, request *Request) message.Message
}

// HandlerFunc is a Handler.
type HandlerFunc func(ctx context.Context, request *Request) message.Message

// ServeCoAP calls f.
func (f HandlerFunc) ServeCoAP(ctx context.Context, request *Request) message.Message {
	return f(ctx, request)
}

// Request is a request as the handler sees it: for a protected one the inner message.
type Request struct {
	message.Message
	Peer Peer
	// Observation is set when the client asks to observe and the transport can notify it. It begins when the handler's
	// answer is a success that carries Observe, and is Done otherwise.
	Observation Observation
}

// Peer says where a request came from and, if it was protected, under which security context.
type Peer struct {
	Address     string          // transport address, e.g. "192.0.2.1:5683" or "gatt:1"; a claim, not an identity
	Context     *oscore.Context // nil: the request was not protected
	Association Association     // what Contexts found for it; callers compare it to know who speaks. nil: not protected
	Fresh       bool            // it carried an unused Echo, made at most 5 s ago for this context or session and address, or Since is at most 5 s ago
	Echo        string          // that Echo, which counts no more now; "" without
	Security    *Security       // makes challenges; nil for an unprotected request
	Session     any             // whose key protects the transport, as its key table says (coapsec/dtls); comparable. nil: nobody's, or Context is set
	Since       time.Time       // when that key was last shown in a handshake; zero without Session
}

// Path is the request's Uri-Path, "/" joined, always starting with "/". Segments are not normalised: one that is
// empty, "." or ".." or contains "/" makes the path unusable and ok false.
func (r *Request) Path() (path string, ok bool) {
	for _, o := range r.Options {
		if o.ID != message.URIPath {
			continue
		}
		segment := string(o.Value)
		if segment == "" || segment == "." || segment == ".." || containsSlash(segment) {
			return "", false
		}
		path += "/" + segment
	}
	if path == "" {
		path = "/"
	}
	return path, true
}

func containsSlash(s string) bool {
	for i := range len(s) {
		if s[i] == '/' {
			return true
		}
	}
	return false
}
