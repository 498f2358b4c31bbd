package coapapi

import (
	"context"

	"github.com/latchkey-ace/latchkey/authz/delivery"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// inWords puts an OAuth error of an answer as problem details, for a client that is registered to read them so (workflow draft,
// docs/wire.md §5). All else passes as it is. An error that cannot be put so is still an error in the old form.
func (f *face) inWords(ctx context.Context, peer *delivery.Peer, answer message.Message) message.Message {
	format, err := answer.Options.ContentFormat()
	if answer.Code < codes.BadRequest || err != nil || format != ace.FormatACE || peer.IsDevice() {
		return answer
	}
	client, err := f.server.Store().Client(ctx, peer.Client)
	if err != nil || !client.Settings.ProblemDetails {
		return answer
	}
	refused, err := ace.ParseErrorCBOR(answer.Payload)
	if err != nil {
		return answer
	}
	payload, err := refused.ProblemDetails()
	if err != nil {
		return answer
	}
	return coapsec.Content(answer.Code, ace.FormatProblemDetails, payload)
}
