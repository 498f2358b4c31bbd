package coapapi

import (
	"context"
	"errors"

	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/resource"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

const (
	pathCore = "/.well-known/core"
	// coreLinks names the one resource that everyone may know. What else the device has, its token holders know.
	coreLinks = "<" + ace.PathAuthzInfo + `>;rt="` + ace.ResourceType + `"`
)

// Plain answers requests without protection.
func (a *API) Plain() coapsec.Handler { return coapsec.HandlerFunc(a.plain) }

func (a *API) plain(ctx context.Context, r *coapsec.Request) message.Message {
	if !a.rate.allow(r.Peer.Address) {
		return message.Message{Code: codes.TooManyRequests}
	}
	if code := refuseOptions(r.Options); code != codes.Empty {
		return message.Message{Code: code}
	}
	switch path, _ := r.Path(); path {
	case ace.PathAuthzInfo:
		return a.upload(ctx, r, resource.Origin{Address: r.Peer.Address})
	case pathCore:
		if r.Code != codes.GET {
			return message.Message{Code: codes.MethodNotAllowed}
		}
		return coapsec.Content(codes.Content, ace.FormatLinks, []byte(coreLinks))
	}
	if answer, ok := a.unproven(ctx, r); ok {
		return answer
	}
	// Paths that exist and paths that do not get the same answer, or the device could be mapped without a token.
	return a.hints()
}

// hints say where to get a token (RFC 9200 §5.3).
func (a *API) hints() message.Message {
	hints := ace.CreationHints{AS: a.tokenURI, Audience: a.server.Audience()}
	if a.server.NonceWanted() {
		nonce, err := a.server.NewNonce()
		if err != nil {
			return message.Message{Code: codes.ServiceUnavailable}
		}
		hints.CNonce = nonce
	}
	payload, err := hints.Encode()
	if err != nil {
		return message.Message{Code: codes.Unauthorized}
	}
	return coapsec.Content(codes.Unauthorized, ace.FormatACE, payload)
}

// upload is POST /authz-info (RFC 9203 §4.1), protected by the server's channel or not at all.
func (a *API) upload(ctx context.Context, r *coapsec.Request, origin resource.Origin) message.Message {
	if code := checkUpload(r); code != codes.Empty {
		return message.Message{Code: code}
	}
	in, err := ace.ParseAuthzInfo(r.Payload)
	if err != nil {
		return message.Message{Code: codes.BadRequest}
	}
	if !origin.Server && !a.rate.allowUpload() {
		return message.Message{Code: codes.TooManyRequests}
	}
	answer, err := a.server.Accept(ctx, in, origin)
	if err != nil {
		return a.refusal(err, origin)
	}
	payload, err := answer.Encode()
	if err != nil {
		return message.Message{Code: codes.InternalServerError}
	}
	return coapsec.Content(codes.Created, ace.FormatACE, payload)
}

// checkUpload: a bare CWT (61) has no place for nonce and id, so OSCORE devices take the map alone.
func checkUpload(r *coapsec.Request) codes.Code {
	if r.Code != codes.POST {
		return codes.MethodNotAllowed
	}
	if format, err := r.Options.ContentFormat(); err != nil || format != ace.FormatACE {
		return codes.UnsupportedMediaType
	}
	if accept, err := r.Options.Accept(); err == nil && accept != ace.FormatACE {
		return codes.NotAcceptable
	}
	if len(r.Payload) > MaxUpload {
		return codes.RequestEntityTooLarge
	}
	return codes.Empty
}

// refusal tells a stranger the code and nothing of the token; who lacks a nonce of ours gets one.
func (a *API) refusal(err error, origin resource.Origin) message.Message {
	refused := new(resource.RefusedError)
	if !errors.As(err, &refused) {
		return message.Message{Code: codes.InternalServerError}
	}
	curable := errors.Is(err, resource.ErrNoCNonce) || errors.Is(err, resource.ErrStep)
	if curable && !origin.Server {
		return a.hints()
	}
	return message.Message{Code: refused.Code}
}
