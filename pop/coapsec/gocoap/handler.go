package gocoap

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/message/pool"
	"github.com/plgd-dev/go-coap/v3/mux"
	"github.com/plgd-dev/go-coap/v3/net/responsewriter"
)

// Handler lets h, as a rule a *mux.Router, answer requests of this kit. h sees the inner message; Peer tells from its
// context whose request it is.
//
// An observation goes as in go-coap: h answers with Observe and keeps Conn and Token of the request, and every message
// with that token that it gives to Conn's WriteMessage is a notification. The value of Observe is the transport's. Beside
// that the Conn can only be asked about the peer: it sends no requests, which are for Endpoint.To or a dtls.Conn.
func Handler(h mux.Handler) coapsec.Handler { return routed{h} }

type routed struct{ handler mux.Handler }

// ServeCoAP implements coapsec.Handler. What h does not answer is answered 5.00.
func (h routed) ServeCoAP(ctx context.Context, r *coapsec.Request) message.Message {
	ctx = context.WithValue(ctx, peerKey{}, r.Peer)
	request := pool.NewMessage(ctx)
	fill(request, r.Message)
	request.SetToken(r.Token)
	request.SetType(r.Type)
	request.SetMessageID(r.MessageID)
	peer := &conn{ctx: ctx, token: bytes.Clone(r.Token), address: address(r.Peer.Address), observation: r.Observation}
	w := responsewriter.New[mux.Conn](pool.NewMessage(ctx), peer, r.Options...)
	h.handler.ServeCOAP(w, &mux.Message{Message: request, RouteParams: new(mux.RouteParams)})
	response, err := copyOf(w.Message())
	if err != nil || response.Code == codes.Empty {
		return message.Message{Code: codes.InternalServerError}
	}
	if r.Observation == nil { // nobody could notify: the client shall not wait for it
		response.Options = response.Options.Remove(message.Observe)
	}
	return response
}

type peerKey struct{}

// Peer is who made the request, if ctx is the context of a request that came through Handler. That ok is true says nothing
// about keys: a peer without Context and Session, as behind Security's plain handler, is anybody.
func Peer(ctx context.Context) (peer coapsec.Peer, ok bool) {
	peer, ok = ctx.Value(peerKey{}).(coapsec.Peer)
	return peer, ok
}

// ErrOnlyAnswers is for everything that the Conn of a request cannot do.
var ErrOnlyAnswers = errors.New("gocoap: the connection of a request carries its notifications and nothing else")

// address is a net.Addr for what Peer.Address says.
type address string

func (address) Network() string  { return "coap" }
func (a address) String() string { return string(a) }

// conn is the mux.Conn of one request.
type conn struct {
	ctx         context.Context
	token       message.Token
	address     address
	observation coapsec.Observation
}

var _ mux.Conn = (*conn)(nil)

// WriteMessage sends a notification, while the client observes.
func (c *conn) WriteMessage(m *pool.Message) error {
	if c.observation == nil || len(c.token) == 0 || !bytes.Equal(c.token, m.Token()) {
		return ErrOnlyAnswers
	}
	notification, err := copyOf(m)
	if err != nil {
		return err
	}
	return c.observation.Notify(m.Context(), message.Message{Code: notification.Code, Options: notification.Options, Payload: notification.Payload})
}

// Done is closed when nothing can be written any more.
func (c *conn) Done() <-chan struct{} {
	if c.observation == nil {
		return closed
	}
	return c.observation.Done()
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// AddOnClose calls f when Done is closed.
func (c *conn) AddOnClose(f func()) {
	go func() {
		<-c.Done()
		f()
	}()
}

func (c *conn) AcquireMessage(ctx context.Context) *pool.Message { return pool.NewMessage(ctx) }
func (c *conn) ReleaseMessage(*pool.Message)                     {}
func (c *conn) RemoteAddr() net.Addr                             { return c.address }
func (c *conn) NetConn() net.Conn                                { return nil }
func (c *conn) Context() context.Context                         { return c.ctx }
func (c *conn) SetContextValue(key, value any)                   { c.ctx = context.WithValue(c.ctx, key, value) }
func (c *conn) Close() error                                     { return ErrOnlyAnswers }
func (c *conn) Sequence() uint64                                 { return 0 }
func (c *conn) Ping(context.Context) error                       { return ErrOnlyAnswers }
func (c *conn) Do(*pool.Message) (*pool.Message, error)          { return nil, ErrOnlyAnswers }

func (c *conn) Get(context.Context, string, ...message.Option) (*pool.Message, error) {
	return nil, ErrOnlyAnswers
}

func (c *conn) Delete(context.Context, string, ...message.Option) (*pool.Message, error) {
	return nil, ErrOnlyAnswers
}

func (c *conn) Post(context.Context, string, message.MediaType, io.ReadSeeker, ...message.Option) (*pool.Message, error) {
	return nil, ErrOnlyAnswers
}

func (c *conn) Put(context.Context, string, message.MediaType, io.ReadSeeker, ...message.Option) (*pool.Message, error) {
	return nil, ErrOnlyAnswers
}

func (c *conn) Observe(context.Context, string, func(*pool.Message), ...message.Option) (mux.Observation, error) {
	return nil, ErrOnlyAnswers
}

func (c *conn) DoObserve(*pool.Message, func(*pool.Message)) (mux.Observation, error) {
	return nil, ErrOnlyAnswers
}

func (c *conn) NewGetRequest(context.Context, string, ...message.Option) (*pool.Message, error) {
	return nil, ErrOnlyAnswers
}

func (c *conn) NewObserveRequest(context.Context, string, ...message.Option) (*pool.Message, error) {
	return nil, ErrOnlyAnswers
}

func (c *conn) NewPutRequest(context.Context, string, message.MediaType, io.ReadSeeker, ...message.Option) (*pool.Message, error) {
	return nil, ErrOnlyAnswers
}

func (c *conn) NewPostRequest(context.Context, string, message.MediaType, io.ReadSeeker, ...message.Option) (*pool.Message, error) {
	return nil, ErrOnlyAnswers
}

func (c *conn) NewDeleteRequest(context.Context, string, ...message.Option) (*pool.Message, error) {
	return nil, ErrOnlyAnswers
}
