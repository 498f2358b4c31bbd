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

// upload is POST /authz-info: token, nonce and id for coap_oscore (RFC 9203 §4.1), the token alone for coap_dtls (RFC 9202
// §3.3.1). The server's channel protects it, or a session, or nothing.
func (a *API) upload(ctx context.Context, r *coapsec.Request, origin resource.Origin) message.Message {
	code, bare := a.checkUpload(r)
	if code != codes.Empty {
		return message.Message{Code: code}
	}
	if bare {
		return a.uploadToken(ctx, r.Payload, origin)
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
	if origin.Session != nil {
		return message.Message{Code: codes.Created} // RFC 9203 §4.4: without a payload
	}
	payload, err := answer.Encode()
	if err != nil {
		return message.Message{Code: codes.InternalServerError}
	}
	return coapsec.Content(codes.Created, ace.FormatACE, payload)
}

// uploadToken answers without a payload, for there is nothing more to agree on.
func (a *API) uploadToken(ctx context.Context, token []byte, origin resource.Origin) message.Message {
	if !origin.Server && !a.rate.allowUpload() {
		return message.Message{Code: codes.TooManyRequests}
	}
	if _, err := a.server.AcceptToken(ctx, token, origin); err != nil {
		return a.refusal(err, origin)
	}
	return message.Message{Code: codes.Created}
}

// checkUpload gives the code of a refusal, and whether the token comes alone. A bare CWT (61) has no place for nonce and id,
// so devices that speak OSCORE only take the map alone.
func (a *API) checkUpload(r *coapsec.Request) (code codes.Code, bare bool) {
	if r.Code != codes.POST {
		return codes.MethodNotAllowed, false
	}
	format, err := r.Options.ContentFormat()
	bare = err == nil && format == ace.FormatCWT && a.server.DTLS()
	if !bare && (err != nil || format != ace.FormatACE) {
		return codes.UnsupportedMediaType, false
	}
	if accept, err := r.Options.Accept(); err == nil && accept != ace.FormatACE && !bare {
		return codes.NotAcceptable, false
	}
	if len(r.Payload) > MaxUpload {
		return codes.RequestEntityTooLarge, false
	}
	return codes.Empty, bare
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
