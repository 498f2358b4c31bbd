package gatt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/plgd-dev/go-coap/v3/message"
)

var (
	errNotRequest = errors.New("only a request can be exchanged")
	errHungUp     = errors.New("closed by this end")
)

// Central is the phone's end of a link. It is safe for concurrent use; close it when it is no longer needed. A link that
// has ended stays ended: dial again.
type Central struct {
	client  *client
	session *session
	slots   chan struct{} // one for each exchange under way
	running sync.WaitGroup
}

// Dial connects to the peripheral that listens on the unix socket path, agrees on the MTU and turns indications on. ctx
// bounds only that. A peripheral that has no free link closes this one at once, which is ErrClosed.
func Dial(ctx context.Context, path string, o Options) (*Central, error) {
	o, err := o.withDefaults(DefaultMTU)
	if err != nil {
		return nil, err
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	c := newCentral(conn, o)
	stop := context.AfterFunc(ctx, func() { c.client.end(ctx.Err()) })
	err = c.client.start()
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("open gatt link: %w", err)
	}
	return c, nil
}

func newCentral(conn net.Conn, o Options) *Central {
	c := &Central{
		client: newClient(newRadio(conn, o.Timeout), o.MTU),
		slots:  make(chan struct{}, MaxRequests),
	}
	c.session = newSession(c.client.radio, c.client, nil, func(value []byte) { o.Tap(Downstream, value) })
	c.client.deliver = func(value []byte) error {
		o.Tap(Upstream, value)
		return c.session.receive(context.Background(), value) // without a handler nothing runs under it
	}
	c.running.Go(c.client.readPDUs)
	c.running.Go(c.client.takeIndications)
	c.running.Go(c.session.run)
	return c
}

// Exchange sends request under a random token and waits for its response; it implements coapsec.Exchanger. At most
// MaxRequests are under way, further ones wait.
//
// A request that does not fit one attribute value is ErrTooLong and was not sent. ctx.Err() and ErrClosed leave the
// outcome unknown.
func (c *Central) Exchange(ctx context.Context, request message.Message) (message.Message, error) {
	if !isRequest(request.Code) {
		return message.Message{}, errNotRequest
	}
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return message.Message{}, ctx.Err()
	case <-c.client.done:
		return message.Message{}, c.client.closed()
	}
	defer func() { <-c.slots }()
	return c.session.exchange(ctx, request)
}

// Close ends the link and every exchange on it.
func (c *Central) Close() error {
	c.client.end(errHungUp)
	c.running.Wait()
	return nil
}
