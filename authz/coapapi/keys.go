package coapapi

import (
	"context"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/delivery"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// keys gives the published keys as a COSE_KeySet. It is no secret, but only a peer whose channel is protected can know that it is
// ours: in the clear it would be whoever answers first.
func (f *face) keys(ctx context.Context, r *coapsec.Request, peer *delivery.Peer) message.Message {
	if r.Code != codes.GET {
		return message.Message{Code: codes.MethodNotAllowed}
	}
	if code := refuseConditions(r.Options, ace.FormatCOSEKeySet); code != codes.Empty {
		return message.Message{Code: code}
	}
	if err := f.allow(peer); err != nil {
		return f.tokenError(err)
	}
	set, err := f.server.COSEKeySet(ctx)
	if err != nil {
		return f.fault("key set", err)
	}
	return aged(coapsec.Content(codes.Content, ace.FormatCOSEKeySet, set), authz.KeySetLife)
}
