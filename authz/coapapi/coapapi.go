// Package coapapi is the authorization server's CoAP face: /token (RFC 9200 §5.8) for registered clients, /register (D22) for
// devices, /introspect (RFC 9200 §5.9) and /revoke/trl (RFC 9770) for both, only under OSCORE or over DTLS (RFC 9203, RFC 9202),
// /keys for both,
// and /.well-known/core in the clear. It parses and writes; authz.Server decides. Start from New.
package coapapi

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"math"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/delivery"
	"github.com/latchkey-ace/latchkey/authz/throttle"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

type face struct {
	server *authz.Server
	engine *delivery.Engine
	log    *slog.Logger

	observers *observers
	index     uint64 // of the newest update of the revocation list that observers were told of; theirs alone
}

// New makes the handler of the server's CoAP sockets, with and without DTLS. Peers are found by engine and delivery.Keys, which is woken when tokens have ended.
func New(server *authz.Server, engine *delivery.Engine, log *slog.Logger) *coapsec.Security {
	f := &face{server: server, engine: engine, log: log, observers: newObservers()}
	f.observers.tell = f.tellObservers
	server.OnEnded(engine.Wake)
	server.OnEnded(f.observers.ring)
	protected := coapsec.Blockwise(coapsec.HandlerFunc(f.protected), coapsec.BlockwiseOptions{MaxBody: maxPayload, MaxAnswer: maxAnswer})
	return coapsec.NewSecurity(engine, coapsec.HandlerFunc(f.plain), protected, coapsec.SecurityOptions{Now: server.Now})
}

// plain tells a stranger what is here and nothing more.
func (f *face) plain(_ context.Context, r *coapsec.Request) message.Message {
	path, ok := r.Path()
	if !ok || path != "/.well-known/core" {
		return message.Message{Code: codes.Unauthorized}
	}
	if r.Code != codes.GET {
		return message.Message{Code: codes.MethodNotAllowed}
	}
	return coapsec.Content(codes.Content, ace.FormatLinks, []byte(`</token>;ct=19,</introspect>;ct=19`))
}

// resource is one of the protected resources.
type resource struct {
	format         message.MediaType // it takes and gives
	device, client bool              // who may come
	serve          func(*face, context.Context, *coapsec.Request, *delivery.Peer) message.Message
}

var resources = map[string]resource{
	ace.PathToken:      {ace.FormatACE, false, true, (*face).token},
	ace.PathIntrospect: {ace.FormatACE, true, true, (*face).introspect},
	ace.PathRegister:   {ace.FormatCBOR, true, false, (*face).register},
}

// protected serves peers that have shown their key.
func (f *face) protected(ctx context.Context, r *coapsec.Request) message.Message {
	path, _ := r.Path() // an unusable one is "", which is none of ours
	at, exists := resources[path]
	peer, known := speaker(r.Peer)
	if known && path == ace.PathTRL {
		return f.revoked(ctx, r, peer)
	}
	if known && path == ace.PathKeys {
		return f.keys(ctx, r, peer)
	}
	switch {
	case !exists:
		return message.Message{Code: codes.NotFound}
	case r.Code != codes.POST:
		return message.Message{Code: codes.MethodNotAllowed}
	case !known || peer.IsDevice() && !at.device || !peer.IsDevice() && !at.client:
		return message.Message{Code: codes.Forbidden}
	case path == ace.PathRegister && peer.Channel == nil: // the server calls devices over OSCORE, at another address
		return message.Message{Code: codes.Forbidden}
	}
	if code := refuseOptions(r.Options, at.format); code != codes.Empty {
		return message.Message{Code: code}
	}
	if err := f.allow(peer); err != nil {
		return f.tokenError(err)
	}
	return f.inWords(ctx, peer, at.serve(f, ctx, r, peer))
}

// speaker is who has shown his key: of an OSCORE context, or of a DTLS association.
func speaker(p coapsec.Peer) (*delivery.Peer, bool) {
	if session, ok := p.Session.(delivery.Session); ok {
		peer := session.Peer()
		return peer, peer != nil
	}
	peer, ok := p.Association.(*delivery.Peer)
	return peer, ok
}

// allow holds a peer to a rhythm.
func (f *face) allow(peer *delivery.Peer) error {
	if peer.IsDevice() {
		return f.server.Limits().Allow(throttle.Device, provision.Audience(peer.Device))
	}
	return f.server.Limits().Allow(throttle.Client, peer.Client)
}

// refuseOptions is the code for a request with options that this face would not heed, or in another format than the one it
// speaks.
func refuseOptions(options message.Options, format message.MediaType) codes.Code {
	if code := refuseConditions(options, format); code != codes.Empty {
		return code
	}
	if got, err := options.ContentFormat(); err != nil || got != format {
		return codes.UnsupportedMediaType
	}
	return codes.Empty
}

// refuseConditions is the code for options that this face would not heed (RFC 7252 §5.4.1): conditions, which Security lets pass
// for handlers that know them, and the wish for another format than the answer's.
func refuseConditions(options message.Options, format message.MediaType) codes.Code {
	for i, o := range options {
		repeated := i > 0 && options[i-1].ID == o.ID
		if o.ID == message.IfMatch || o.ID == message.IfNoneMatch || o.ID == message.Accept && repeated {
			return codes.BadOption
		}
	}
	if accept, err := options.Accept(); err == nil && accept != format {
		return codes.NotAcceptable
	}
	return codes.Empty
}

// token answers a client whose security context is its authentication.
func (f *face) token(ctx context.Context, r *coapsec.Request, peer *delivery.Peer) message.Message {
	in, err := parseToken(r, peer.Client)
	if err != nil {
		return f.tokenError(err)
	}
	if ctx, err = f.server.Store().Recall(ctx); err != nil {
		return f.tokenError(err)
	}
	client, err := f.client(ctx, peer)
	if err != nil {
		return f.tokenError(err)
	}
	out, err := f.server.Token(ctx, authz.Caller{Client: client, Encoding: authz.EncodingCBOR}, in)
	if err != nil {
		return f.tokenError(err)
	}
	payload, err := out.CBOR()
	if err != nil {
		return f.tokenError(err)
	}
	return aged(coapsec.Content(codes.Created, ace.FormatACE, payload), out.ExpiresIn)
}

// aged says how old an answer may become (RFC 7252 §5.10.5): no older than the token in it (RFC 9202 §3.1). Without the option it
// would be a minute.
func aged(m message.Message, age time.Duration) message.Message {
	value := make([]byte, 4)
	binary.BigEndian.PutUint32(value, uint32(min(age/time.Second, math.MaxUint32)))
	m.Options = m.Options.Set(message.Option{ID: message.MaxAge, Value: bytes.TrimLeft(value, "\x00")})
	return m
}

// client finds the record of the client whose channel this is.
func (f *face) client(ctx context.Context, peer *delivery.Peer) (authz.Client, error) {
	client, err := f.server.Store().Client(ctx, peer.Client)
	if errors.Is(err, authz.ErrNotFound) {
		err = &ace.Error{Code: ace.InvalidClient, Description: "this client is not registered any more"}
	}
	return client, err
}

func errQuery() error {
	return &ace.Error{Code: ace.InvalidRequest, Description: "parameters belong in the payload, not in the address"}
}

func errTwice() error {
	return &ace.Error{Code: ace.InvalidRequest, Description: "client credentials in two places"}
}

// parseToken reads the payload. Parameters in the address are refused (RFC 9200 §5.8), and so is a second word on who
// speaks (RFC 6749 §2.3), as on the HTTP face.
func parseToken(r *coapsec.Request, speaker string) (*ace.TokenRequest, error) {
	if r.Options.HasOption(message.URIQuery) {
		return nil, errQuery()
	}
	in, err := ace.ParseTokenRequestCBOR(r.Payload)
	if err == nil && (in.ClientSecret != "" || in.ClientID != "" && in.ClientID != speaker) {
		err = errTwice()
	}
	return in, err
}

// tooMany is a 4.29 with the time to wait in Max-Age (RFC 8516 §3).
func tooMany(e *throttle.Error) message.Message {
	age := make([]byte, 4)
	n, _ := message.EncodeUint32(age, uint32(e.Seconds())) // four bytes hold any
	return message.Message{Code: codes.TooManyRequests, Options: message.Options{{ID: message.MaxAge, Value: age[:n]}}}
}

// tokenError is the one place where errors become bytes on this face (RFC 9200 §5.8.3).
func (f *face) tokenError(err error) message.Message {
	var wire *ace.Error
	var limited *throttle.Error
	if errors.As(err, &limited) {
		return tooMany(limited)
	}
	if busy := new(authz.BusyError); errors.As(err, &busy) {
		return message.Message{Code: codes.ServiceUnavailable, Options: message.Options{{ID: message.MaxAge, Value: []byte{byte(busy.Wait / time.Second)}}}}
	}
	if !errors.As(err, &wire) {
		return f.fault("token", err)
	}
	if wire.Code <= 0 { // without a number (RFC 9200 §8.4)
		wire = &ace.Error{Code: ace.InvalidRequest, Description: wire.Error()}
	}
	code := codes.BadRequest
	if wire.Code == ace.InvalidClient {
		code = codes.Unauthorized
	}
	payload, err := wire.CBOR()
	if err != nil {
		return f.fault("token error", err)
	}
	return coapsec.Content(code, ace.FormatACE, payload)
}
