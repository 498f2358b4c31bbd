package coapapi

import (
	"context"
	"strconv"
	"strings"

	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/resource"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// Paths that exist for the authorization server alone (D22).
const (
	PathNews = "/lk/news"
	PathLog  = "/lk/log"
)

// Protected answers the inner requests of the server's channel and of sessions.
func (a *API) Protected() coapsec.Handler { return coapsec.HandlerFunc(a.protected) }

func (a *API) protected(ctx context.Context, r *coapsec.Request) message.Message {
	if code := refuseOptions(r.Options); code != codes.Empty {
		return message.Message{Code: code}
	}
	switch peer := r.Peer.Association.(type) {
	case phone:
		return a.phone(ctx, r, peer.session)
	case *coapsec.Channel:
		if peer == a.channel {
			return a.fromServer(ctx, r)
		}
	case nil:
		if session, ok := r.Peer.Session.(*resource.Session); ok {
			return a.phone(ctx, r, session)
		}
	}
	return message.Message{Code: codes.Unauthorized}
}

// phone is a request of a session.
func (a *API) phone(ctx context.Context, r *coapsec.Request, session *resource.Session) message.Message {
	path, _ := r.Path() // an unusable one is "", which no right covers
	if path == ace.PathAuthzInfo {
		return a.update(ctx, r, session)
	}
	path = target(path, r.Options)
	d := a.server.Decide(ctx, resource.Request{
		Session: session, Code: r.Code, Path: path, Fresh: r.Peer.Fresh, Echo: []byte(r.Peer.Echo), Token: coapsec.Integrity(r.Message),
	})
	if d.Challenge {
		m := r.Peer.Security.Challenge(r.Peer)
		if d.Wanted && m.Code == codes.Unauthorized {
			m.Payload = []byte(coapsec.IntegrityWanted)
		}
		return m
	}
	if !d.Allowed() {
		return refused(d)
	}
	answer := a.server.Act(ctx, d, resource.Call{Code: r.Code, Path: path, Payload: r.Payload})
	if len(answer.Payload) == 0 {
		return message.Message{Code: answer.Code}
	}
	if answer.Code >= codes.BadRequest {
		return message.Message{Code: answer.Code, Payload: answer.Payload} // a diagnostic has no format (RFC 7252 §5.5.2)
	}
	return coapsec.Content(answer.Code, answer.Format, answer.Payload)
}

// update takes the next token for a session's key through the session itself (RFC 9202 §4, RFC 9203 §4.4). What it costs is
// counted as if it came in clear.
func (a *API) update(ctx context.Context, r *coapsec.Request, session *resource.Session) message.Message {
	if !a.rate.allow(r.Peer.Address) {
		return message.Message{Code: codes.TooManyRequests}
	}
	return a.upload(ctx, r, resource.Origin{Address: r.Peer.Address, Session: session})
}

// refused gives a token holder the one word he can do something with.
func refused(d resource.Decision) message.Message {
	m := message.Message{Code: d.Code}
	if d.Used() {
		m.Payload = []byte("used")
	}
	return m
}

// fromServer is a request over the channel with the authorization server.
func (a *API) fromServer(ctx context.Context, r *coapsec.Request) message.Message {
	path, _ := r.Path()
	switch {
	case path == ace.PathAuthzInfo:
		return a.upload(ctx, r, resource.Origin{Server: true, Address: r.Peer.Address})
	case path == PathNews && r.Code == codes.POST:
		return a.news(ctx, r)
	case path == PathLog && r.Code == codes.GET:
		return a.log(r)
	case path == PathNews || path == PathLog:
		return message.Message{Code: codes.MethodNotAllowed}
	}
	return message.Message{Code: codes.NotFound}
}

// news takes sealed news and answers with the sealed receipt.
func (a *API) news(ctx context.Context, r *coapsec.Request) message.Message {
	receipt, err := a.server.Apply(ctx, r.Payload, resource.Origin{Server: true, Address: r.Peer.Address})
	if err != nil {
		return a.refusal(err, resource.Origin{Server: true})
	}
	return coapsec.Content(codes.Changed, ace.FormatCBOR, receipt)
}

// log answers with entries after a number.
func (a *API) log(r *coapsec.Request) message.Message {
	n, ok := after(r.Options)
	if !ok {
		return message.Message{Code: codes.BadRequest}
	}
	payload, err := a.server.LogCBOR(n)
	if err != nil {
		return message.Message{Code: codes.InternalServerError}
	}
	return coapsec.Content(codes.Content, ace.FormatCBOR, payload)
}

// after reads the query after=n.
func after(options message.Options) (uint64, bool) {
	for _, o := range options {
		if o.ID != message.URIQuery {
			continue
		}
		value, ok := strings.CutPrefix(string(o.Value), "after=")
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(value, 10, 64)
		return n, err == nil
	}
	return 0, true
}
