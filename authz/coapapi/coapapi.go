// Package coapapi is the authorization server's CoAP face: /token (RFC 9200 §5.8) for registered clients and /register
// (D22) for devices, both only under OSCORE, and /.well-known/core in the clear. It parses and writes; authz.Server
// decides. Start from New.
package coapapi

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/delivery"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// Bounds of a registration's lifetime: a NAT binding lasts a minute or two, a battery lock calls once a day.
const (
	minLifetime = 5 * time.Second
	maxLifetime = 24 * time.Hour

	maxPayload = 4096 // bytes of an assembled request; the longest honest one has under 1 KiB
)

type face struct {
	server *authz.Server
	engine *delivery.Engine
	log    *slog.Logger
}

// New makes the handler of the server's CoAP socket. Peers are found by engine.
func New(server *authz.Server, engine *delivery.Engine, log *slog.Logger) *coapsec.Security {
	f := &face{server: server, engine: engine, log: log}
	protected := coapsec.Blockwise(coapsec.HandlerFunc(f.protected), coapsec.BlockwiseOptions{MaxBody: maxPayload})
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
	return coapsec.Content(codes.Content, ace.FormatLinks, []byte(`</token>;ct=19`))
}

// protected serves peers that have shown their key.
func (f *face) protected(ctx context.Context, r *coapsec.Request) message.Message {
	path, ok := r.Path()
	peer, known := r.Peer.Association.(*delivery.Peer)
	switch {
	case !ok || path != "/token" && path != "/register":
		return message.Message{Code: codes.NotFound}
	case r.Code != codes.POST:
		return message.Message{Code: codes.MethodNotAllowed}
	case !known || peer.IsDevice() != (path == "/register"):
		return message.Message{Code: codes.Forbidden}
	case path == "/register":
		return f.register(ctx, r, peer)
	}
	return f.token(ctx, r, peer)
}

// token answers a client whose security context is its authentication.
func (f *face) token(ctx context.Context, r *coapsec.Request, peer *delivery.Peer) message.Message {
	if format, err := r.Options.ContentFormat(); err != nil || format != ace.FormatACE {
		return message.Message{Code: codes.UnsupportedMediaType}
	}
	in, err := ace.ParseTokenRequestCBOR(r.Payload)
	if err != nil {
		return f.tokenError(err)
	}
	client, err := f.server.Store().Client(ctx, peer.Client)
	if err != nil {
		return f.tokenError(err)
	}
	if in.ClientID != "" && in.ClientID != client.ID {
		return f.tokenError(&ace.Error{Code: ace.InvalidClient, Description: "client_id is not who is speaking"})
	}
	out, err := f.server.Token(ctx, authz.Caller{Client: client, Encoding: authz.EncodingCBOR}, in)
	if err != nil {
		return f.tokenError(err)
	}
	payload, err := out.CBOR()
	if err != nil {
		return f.tokenError(err)
	}
	return coapsec.Content(codes.Created, ace.FormatACE, payload)
}

// tokenError is the one place where errors become bytes on this face (RFC 9200 §5.8.3).
func (f *face) tokenError(err error) message.Message {
	var wire *ace.Error
	if !errors.As(err, &wire) {
		f.log.Error("token", "err", err)
		return message.Message{Code: codes.InternalServerError}
	}
	code := codes.BadRequest
	if wire.Code == ace.InvalidClient {
		code = codes.Unauthorized
	}
	payload, err := wire.CBOR()
	if err != nil {
		f.log.Error("token error", "err", err)
		return message.Message{Code: codes.InternalServerError}
	}
	return coapsec.Content(code, ace.FormatACE, payload)
}

// register notes where a device is. A new address counts only once the device has answered from it (D5).
func (f *face) register(ctx context.Context, r *coapsec.Request, peer *delivery.Peer) message.Message {
	if format, err := r.Options.ContentFormat(); err != nil || format != ace.FormatCBOR {
		return message.Message{Code: codes.UnsupportedMediaType}
	}
	in, err := ace.ParseRegister(r.Payload)
	if err != nil {
		return message.Message{Code: codes.BadRequest}
	}
	device, err := f.server.Store().Device(ctx, peer.Device)
	if err != nil {
		return f.tokenError(err)
	}
	if !r.Peer.Fresh && r.Peer.Address != device.Registration.Address {
		return r.Peer.Security.Challenge(r.Peer)
	}
	if _, err := netip.ParseAddrPort(r.Peer.Address); err != nil {
		return message.Message{Code: codes.BadRequest}
	}
	now := f.server.Now()
	lifetime := min(max(in.Lifetime, minLifetime), maxLifetime)
	err = f.server.Store().Register(ctx, device.ID, authz.Registration{
		Address: r.Peer.Address, LocalURIs: in.LocalURIs, SeenAt: now, ExpiresAt: now.Add(lifetime),
	})
	if err != nil {
		return f.tokenError(err)
	}
	// Rounded up: a lock that is a fraction of a second ahead ends a token early, one that is behind would end it late.
	answer := ace.RegisterAnswer{Lifetime: lifetime, Time: now.Add(time.Second - 1).Truncate(time.Second), Epoch: device.Epoch}
	payload, err := answer.Encode()
	if err != nil {
		return f.tokenError(err)
	}
	go f.engine.Collect(context.WithoutCancel(ctx), device.ID)
	return coapsec.Content(codes.Changed, ace.FormatCBOR, payload)
}
