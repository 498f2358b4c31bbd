package coapapi_test

import (
	"fmt"
	"testing"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// TestStoreAway: a peer learns that it may ask again, and when (RFC 7252 §5.9.3.4).
func TestStoreAway(t *testing.T) {
	w := newWorld(t)
	_ = w.endpoint.Close()
	w.serve("", &partial{w.store, fmt.Errorf("find client: %w", authz.ErrUnavailable)})
	answer := w.caller(w.client).ask(tokenRequest(encoded(t, ace.TokenRequest{Audience: "front-door"})))
	wait, err := answer.Options.GetUint32(message.MaxAge)
	if answer.Code != codes.ServiceUnavailable || err != nil || wait != 5 || len(answer.Payload) != 0 {
		t.Errorf("got %v, Max-Age %d (%v), want 5.03 for 5 s", answer.Code, wait, err)
	}
}
