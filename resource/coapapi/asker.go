package coapapi

import (
	"context"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/resource"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// Asker asks the authorization server about tokens over the device's own channel (RFC 9200 §5.9). Its method is an
// Introspect of resource.Options. It keeps no answers.
type Asker struct {
	Channel *coapsec.Channel
	Peers   []coapsec.Exchanger // the server's addresses, in order of preference
}

// Introspect asks the first peer that answers.
func (a *Asker) Introspect(ctx context.Context, token []byte) (*pop.Claims, error) {
	in := ace.IntrospectionRequest{Token: token}
	payload, err := in.CBOR()
	if err != nil {
		return nil, fmt.Errorf("introspect: %w", err)
	}
	failed := errNoPeer
	for _, peer := range a.Peers {
		claims, err := a.with(ctx, peer, payload)
		if err == nil {
			return claims, nil
		}
		failed = err
	}
	return nil, fmt.Errorf("introspect: %w", failed)
}

func (a *Asker) with(ctx context.Context, peer coapsec.Exchanger, payload []byte) (*pop.Claims, error) {
	response, err := a.Channel.Exchange(ctx, peer, coapsec.NewRequest(codes.POST, ace.PathIntrospect, ace.FormatACE, payload))
	if err != nil {
		return nil, err
	}
	if response.Code != codes.Created {
		return nil, fmt.Errorf("the server answered %v", response.Code)
	}
	answer, err := ace.ParseIntrospectionResponseCBOR(response.Payload)
	switch {
	case err != nil:
		return nil, err
	case !answer.Active:
		return nil, resource.ErrInactive
	}
	return &answer.Claims, nil
}
