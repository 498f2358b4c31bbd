// Package gocoap joins this kit and go-coap (github.com/plgd-dev/go-coap/v3): it puts OSCORE (RFC 8613) under go-coap's
// handlers and clients, over every transport that go-coap has.
//
// Start from what you have. A mux.Router that shall be reached under OSCORE is a Handler; NewSecurity goes around it.
// What serves it is coapsec.NewEndpoint (UDP, or any other net.PacketConn; one socket in both roles), a
// dtls.Server of coapsec/dtls, or, with Serve around the Security, any server of go-coap: UDP, DTLS, TCP and TLS. Client
// makes a connection of go-coap an Exchanger, to be wrapped by coapsec.Secure.
//
//	server: options.WithMux(gocoap.Serve(coapsec.NewSecurity(contexts, plain, gocoap.Handler(router), coapsec.SecurityOptions{})))
//	client: coapsec.Blocks(coapsec.Secure(gocoap.Client(conn), context), coapsec.BlocksOptions{})
//
// Give go-coap's servers and clients options.WithBlockwise(false, 0, 0): transfers go by token there, and this kit's
// coapsec.Blockwise and coapsec.Blocks work inside the protection, where nobody can mix blocks up.
//
// Importing this package tells go-coap of the OSCORE option, which it would else refuse as unknown before any handler.
//
// Not covered: what go-coap's own transports lack. They do not hold an answer to three times its request (RFC 9175 §2.6), do
// not check critical options of non-confirmable requests, and drop options of unlawful length before this package sees
// them; under OSCORE the inner options are checked in any case. Notifications go out through Endpoint and dtls.Server only,
// and Client does not observe: go-coap keeps the first answer of an observation to itself. DTLS and TLS of go-coap prove
// nothing here (Peer.Session is nil): the OSCORE context does, or a key of coapsec/dtls.
package gocoap

import (
	"bytes"
	"fmt"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/pool"
	"github.com/plgd-dev/go-coap/v3/mux"
)

// optionOSCORE is critical, so go-coap answers 4.02 unless its table has it (RFC 8613 §2).
const optionOSCORE message.OptionID = 9

// The table is read by every server without a lock; so it is written once, before there are any.
func init() {
	message.CoapOptionDefs[optionOSCORE] = message.OptionDef{ValueFormat: message.ValueOpaque, MinLen: 0, MaxLen: 255}
}

// maxBody is what a message of go-coap may hold for us, in bytes: go-coap itself takes 64 KiB.
const maxBody = 1 << 16

var errBody = fmt.Errorf("body longer than %d bytes", maxBody)

// copyOf takes a message out of go-coap's hands, which uses its memory again.
func copyOf(m *pool.Message) (message.Message, error) {
	size, err := m.BodySize()
	if err != nil {
		return message.Message{}, fmt.Errorf("body: %w", err)
	}
	if size > maxBody {
		return message.Message{}, errBody
	}
	body, err := m.ReadBody()
	if err != nil {
		return message.Message{}, fmt.Errorf("body: %w", err)
	}
	out := message.Message{Code: m.Code(), Token: bytes.Clone(m.Token()), Payload: bytes.Clone(body), Type: m.Type(), MessageID: m.MessageID()}
	for _, o := range m.Options() {
		out.Options = append(out.Options, message.Option{ID: o.ID, Value: bytes.Clone(o.Value)})
	}
	return out, nil
}

// fill writes code, options and payload of m; token, type and Message-ID are the transport's.
func fill(to *pool.Message, m message.Message) {
	to.SetCode(m.Code)
	to.ResetOptionsTo(m.Options)
	to.SetBody(nil)
	if len(m.Payload) > 0 {
		to.SetBody(bytes.NewReader(m.Payload))
	}
}

// addressOf names a peer as coapsec does.
func addressOf(c mux.Conn) string {
	if at := c.RemoteAddr(); at != nil {
		return at.String()
	}
	return ""
}
