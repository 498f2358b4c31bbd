package coapsec

import (
	"bytes"
	"context"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// protectedObservation is an observation begun by a protected request (RFC 8613 §4.1.3.5): each notification has a Partial
// IV of its own. It is over when its context is.
type protectedObservation struct {
	Observation // the transport's
	security    *Security
	option      oscore.Option // of the request that began it
	association Association
	accepted    Accepted
}

// observation is what the handler of a protected request notifies by. The option outside, without which the transport has
// none, may come from anyone; the inner one must ask too.
func (s *Security) observation(r *Request, option oscore.Option, association Association, a Accepted) Observation {
	if r.Observation == nil {
		return nil
	}
	if value, asked := observeOf(a.Inner.Options); !asked || value != register {
		return nil
	}
	option.KID, option.KIDContext = bytes.Clone(option.KID), bytes.Clone(option.KIDContext)
	a.Inner = message.Message{} // it refers to the datagram
	return &protectedObservation{r.Observation, s, option, association, a}
}

// Notify implements Observation. When the context has been replaced or is not found any more, or its numbers are used up,
// the client gets what it would get for a request, unprotected, and the error is oscore.ErrNoContext or oscore.ErrExhausted.
func (o *protectedObservation) Notify(ctx context.Context, m message.Message) error {
	if err := o.holds(); err != nil {
		return o.end(ctx, err)
	}
	if m.Code >= codes.BadRequest {
		m.Options = withoutObserve(m.Options)
	}
	outer, err := protectUnder(o.accepted, m, true)
	if err != nil {
		return o.end(ctx, err)
	}
	return o.Observation.Notify(ctx, outer)
}

func (o *protectedObservation) end(ctx context.Context, why error) error {
	_ = o.Observation.Notify(ctx, oscore.ErrorResponse(why)) // why tells the caller more
	return fmt.Errorf("observation is over: %w", why)
}

func (o *protectedObservation) holds() error {
	association, err := o.security.find(o.option)
	if err != nil {
		return err
	}
	if association != o.association || o.accepted.Holds != nil && !o.accepted.Holds() {
		return oscore.ErrNoContext
	}
	return nil
}

// withoutObserve returns options without Observe, and options themselves where there is none.
func withoutObserve(options message.Options) message.Options {
	for i := range options {
		if options[i].ID == message.Observe {
			return without(options, message.Observe)
		}
	}
	return options
}
