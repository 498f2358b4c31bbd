// Package coapsec puts OSCORE (RFC 8613) under any CoAP handler and client, and owns the transports that carry it.
//
// Endpoint is one UDP socket in both roles. Security unprotects requests, finds who the Peer is and protects the
// answers; Secure does the same for a client. Channel is the association between a device and its authorization
// server, whose contexts are made fresh by RFC 8613 appendix B.2. It decides nothing about rights.
package coapsec

import (
	"context"

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
}

// Peer says where a request came from and, if it was protected, under which security context.
type Peer struct {
	Address     string          // transport address, e.g. "192.0.2.1:5683" or "gatt:1"; a claim, not an identity
	Context     *oscore.Context // nil: the request was not protected
	Association Association     // what Contexts found for it; callers compare it to know who speaks. nil: not protected
	Fresh       bool            // the request carried an unused inner Echo, made at most 5 s ago for this context and address
	Security    *Security       // makes challenges; nil for an unprotected request
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
