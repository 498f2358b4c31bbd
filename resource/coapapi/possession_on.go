//go:build !nocheck_possession

package coapapi

import (
	"context"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/plgd-dev/go-coap/v3/message"
)

// unproven never answers: who has shown no key gets no further than hints (RFC 9200 §5.10.2).
func (a *API) unproven(context.Context, *coapsec.Request) (message.Message, bool) {
	return message.Message{}, false
}
