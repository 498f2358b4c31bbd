package coapapi

import (
	"context"
	"errors"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/delivery"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// introspect answers a device, or a client, about a token (RFC 9200 §5.9).
func (f *face) introspect(ctx context.Context, r *coapsec.Request, peer *delivery.Peer) message.Message {
	in, err := parseInquiry(r, peer)
	if err != nil {
		return f.tokenError(err)
	}
	if ctx, err = f.server.Store().Recall(ctx); err != nil {
		return f.tokenError(err)
	}
	by := authz.Asker{Device: peer.Device, Encoding: authz.EncodingCBOR}
	if !peer.IsDevice() {
		if by.Client, err = f.client(ctx, peer); err != nil {
			return f.tokenError(err)
		}
	}
	out, err := f.server.Introspect(ctx, by, in.Token)
	if errors.Is(err, authz.ErrNotEntitled) {
		return message.Message{Code: codes.Forbidden} // RFC 9200 §5.9.3: and nothing more
	}
	if err != nil {
		return f.tokenError(err)
	}
	payload, err := out.CBOR()
	if err != nil {
		return f.tokenError(err)
	}
	return aged(coapsec.Content(codes.Created, ace.FormatACE, payload), 0)
}

// parseInquiry reads the payload, by the rules of parseToken.
func parseInquiry(r *coapsec.Request, peer *delivery.Peer) (*ace.IntrospectionRequest, error) {
	if r.Options.HasOption(message.URIQuery) {
		return nil, errQuery()
	}
	in, err := ace.ParseIntrospectionRequestCBOR(r.Payload)
	if err == nil && (in.ClientSecret != "" || in.ClientID != "" && in.ClientID != peer.Client) {
		err = errTwice()
	}
	return in, err
}
