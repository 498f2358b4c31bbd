// Package coapapi is the CoAP face of a resource server: /authz-info and creation hints for strangers (RFC 9200 §5.3,
// §5.10), actions for the holders of tokens (RFC 9203, RFC 9202), and uploads, news and the log for the authorization server (D22).
//
// It turns messages into calls of resource.Server and its decisions into messages; it decides nothing and opens no socket.
// API is also the table of security contexts, and Keys that of DTLS keys. Start from New; Registrar keeps the device known to
// its server.
package coapapi

import (
	"bytes"
	"context"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/latchkey-ace/latchkey/resource"
	"github.com/plgd-dev/go-coap/v3/message"
)

// Options of an API. The zero value is that of a device without a network.
type Options struct {
	Channel   *coapsec.Channel // with the authorization server; nil: there is none
	ChannelID []byte           // the kid of the server's requests: the channel's recipient id
	TokenURI  string           // the token endpoint for creation hints; "": the issuer's /token
	Now       func() time.Time // for the rate limit; nil: the system's

	// Refused, if set, is told of each handshake that found no key, and why. It must be quick: strangers can make it run as
	// often as they can send.
	Refused func(address string, why error)
}

// API serves one resource.Server. It is safe for concurrent use.
type API struct {
	server    *resource.Server
	channel   *coapsec.Channel
	channelID []byte
	tokenURI  string
	refused   func(address string, why error)
	rate      rate
}

var _ coapsec.Contexts = (*API)(nil)

// New makes the face.
func New(s *resource.Server, o Options) *API {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Refused == nil {
		o.Refused = func(string, error) {}
	}
	if o.TokenURI == "" {
		o.TokenURI = strings.TrimRight(s.Issuer(), "/") + ace.PathToken
	}
	return &API{
		server: s, channel: o.Channel, channelID: o.ChannelID, tokenURI: o.TokenURI, refused: o.Refused,
		rate: rate{now: o.Now, sources: make(map[string]*bucket)},
	}
}

// Security puts the face behind OSCORE and block-wise transfer: what an Endpoint or a GATT link serves.
func (a *API) Security(o coapsec.SecurityOptions) *coapsec.Security {
	whole := coapsec.BlockwiseOptions{MaxBody: MaxUpload}
	news := coapsec.BlockwiseOptions{}
	return coapsec.NewSecurity(a, coapsec.Blockwise(a.Plain(), whole), coapsec.Blockwise(a.Protected(), news), o)
}

// phone is the association of one session. Two of the same session are equal.
type phone struct{ session *resource.Session }

// Accept implements coapsec.Association.
func (p phone) Accept(ctx context.Context, outer message.Message, option oscore.Option) (coapsec.Accepted, error) {
	return coapsec.Static(p.session.Context()).Accept(ctx, outer, option)
}

// Find implements coapsec.Contexts: the channel for the server's kid, else the session for a phone's. What has expired or
// was revoked is not found, so that its owner hears an unprotected 4.01 (RFC 9203 §4.3).
func (a *API) Find(kid, _ []byte, _ bool) (coapsec.Association, bool) {
	if a.channel != nil && bytes.Equal(kid, a.channelID) {
		return a.channel, true
	}
	session, ok := a.server.Session(kid)
	if !ok {
		return nil, false
	}
	return phone{session}, true
}
