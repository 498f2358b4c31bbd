package gocoap

import (
	"context"
	"errors"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/mux"
)

// Client sends requests over a connection of go-coap: a *client.Conn of its udp, dtls or tcp package, or the one that a
// handler got, to call the peer back. The caller closes the connection. Errors are ctx.Err() and those of go-coap; after
// either the request may have been acted upon.
func Client(c mux.Conn) coapsec.Exchanger { return client{c} }

type client struct{ conn mux.Conn }

var (
	_         coapsec.Exchanger = client{}
	errNoCode                   = errors.New("response without a code")
)

// Exchange implements coapsec.Exchanger.
func (c client) Exchange(ctx context.Context, request message.Message) (message.Message, error) {
	if err := ctx.Err(); err != nil {
		return message.Message{}, err
	}
	token, err := message.GetToken()
	if err != nil {
		return message.Message{}, fmt.Errorf("make token: %w", err)
	}
	m := c.conn.AcquireMessage(ctx)
	defer c.conn.ReleaseMessage(m)
	fill(m, request)
	m.SetToken(token)
	answer, err := c.conn.Do(m)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return message.Message{}, err
	}
	defer c.conn.ReleaseMessage(answer)
	response, err := copyOf(answer)
	if err == nil && response.Code == codes.Empty {
		err = errNoCode
	}
	return response, err
}
