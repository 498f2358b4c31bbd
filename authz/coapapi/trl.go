package coapapi

import (
	"context"
	"errors"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/delivery"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/trl"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// revoked answers from the token revocation list (RFC 9770 §5): a device and a client see what concerns their own tokens, an
// administrator all. Whoever observes is told when that changes.
func (f *face) revoked(ctx context.Context, r *coapsec.Request, peer *delivery.Peer) message.Message {
	if r.Code != codes.GET {
		return message.Message{Code: codes.MethodNotAllowed}
	}
	if code := refuseConditions(r.Options, ace.FormatTRL); code != codes.Empty {
		return message.Message{Code: code}
	}
	if err := f.allow(peer); err != nil {
		return f.tokenError(err)
	}
	queries, err := r.Options.Queries()
	if err != nil && !errors.Is(err, message.ErrOptionNotFound) {
		return message.Message{Code: codes.BadOption}
	}
	o := &observer{peer: peer, queries: queries}
	answer := f.list(ctx, o, f.server.Store().Revoked)
	if r.Observation != nil && answer.Code == codes.Content && f.observers.add(r.Observation, o) {
		answer.Options = answer.Options.Add(message.Option{ID: message.Observe, Value: []byte{}}) // the transport counts
	}
	return answer
}

// look reads a requester's part of the list.
type look func(context.Context, authz.Requester) (trl.Collection, error)

// list is what o's query gives now; o remembers up to where.
func (f *face) list(ctx context.Context, o *observer, see look) message.Message {
	by, err := f.requester(ctx, o.peer)
	if errors.Is(err, authz.ErrNotFound) {
		return message.Message{Code: codes.Forbidden}
	}
	if err != nil {
		return f.fault("revocation list", err)
	}
	collection, err := see(ctx, by)
	if err != nil {
		return f.fault("revocation list", err)
	}
	o.last = newest(collection)
	query, err := collection.ParseQuery(o.queries)
	var answer trl.Answer
	if err == nil {
		answer, err = collection.Answer(query)
	}
	var refused *trl.Error
	if errors.As(err, &refused) {
		payload, err := refused.Encode()
		return f.encoded(codes.BadRequest, ace.FormatProblemDetails, payload, err)
	}
	if err != nil {
		return f.fault("revocation list", err)
	}
	payload, err := answer.Encode()
	return f.encoded(codes.Content, ace.FormatTRL, payload, err)
}

func (f *face) encoded(code codes.Code, format message.MediaType, payload []byte, err error) message.Message {
	if err != nil {
		return f.fault("revocation list", err)
	}
	return coapsec.Content(code, format, payload)
}

// requester is whose part of the list a peer may see. A suspended administrator is a client like others: of its own tokens it
// may know that they have ended.
func (f *face) requester(ctx context.Context, peer *delivery.Peer) (authz.Requester, error) {
	if peer.IsDevice() {
		return authz.Requester{Device: peer.Device}, nil
	}
	c, err := f.server.Store().Client(ctx, peer.Client)
	if err != nil {
		return authz.Requester{}, err
	}
	if c.Settings.Administrator && c.SuspendedAt.IsZero() {
		return authz.Requester{All: true}, nil
	}
	return authz.Requester{Client: c.ID}, nil
}

// newest is the index of the last update, 0 without one.
func newest(c trl.Collection) uint64 {
	if n := len(c.Updates); n > 0 {
		return c.Updates[n-1].Index
	}
	return 0
}
