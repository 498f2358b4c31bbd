package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/latchkey-ace/latchkey/cmd/internal/command"
	"github.com/latchkey-ace/latchkey/cmd/internal/keyfile"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/coapsec/dtls"
	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/spf13/cobra"
)

// nonTimeout is how long the answer to a non-confirmable request is awaited; a second copy is not sent.
const nonTimeout = 10 * time.Second

// nonConfirmable is a socket from which requests leave as NON. The endpoint makes confirmable ones only, because a request
// that moves a bolt must be acknowledged.
type nonConfirmable struct{ net.PacketConn }

// WriteTo implements net.PacketConn.
func (c nonConfirmable) WriteTo(data []byte, to net.Addr) (int, error) {
	return c.PacketConn.WriteTo(asNon(data), to)
}

// asNon makes a confirmable request non-confirmable: the type is in bits 4 and 5 of the first byte, the code is the second
// (RFC 7252 §3).
func asNon(data []byte) []byte {
	const con, non, versionAndType, lastMethod = 0x40, 0x10, 0xf0, 0x1f
	if len(data) < 2 || data[0]&versionAndType != con || data[1] == 0 || data[1] > lastMethod {
		return data
	}
	data = slices.Clone(data)
	data[0] |= non
	return data
}

func (p *phone) peerServeCommand() *cobra.Command {
	var keys, listen string
	c := &cobra.Command{
		Use: "serve", Short: "Answer another implementation: /hello, /echo and /time",
		Long: "Answer another implementation, until it is stopped: GET /hello is a text, PUT /echo keeps up to 64 KiB that GET /echo\n" +
			"returns, and /time can be observed and changes each second. What is not protected with the keys of FILE gets 4.01.",
		Example: "  phone peer serve --import keys.json --listen 127.0.0.1:5683",
		Args:    command.None,
		RunE:    func(cmd *cobra.Command, _ []string) error { return p.peerServe(cmd, keys, listen) },
	}
	c.Flags().StringVar(&keys, "import", "", "the keys: a 0600 JSON file")
	c.Flags().StringVar(&listen, "listen", "", "ADDRESS:PORT to answer on; DTLS if the keys are a psk (default 127.0.0.1 and the port of the scheme)")
	return c
}

// server is an Endpoint or a DTLS server.
type server interface {
	Serve(ctx context.Context) error
	Close() error
	LocalAddr() netip.AddrPort
}

// serving is what peer serve says, in JSON.
type serving struct {
	Address string `json:"address"`
}

func (p *phone) peerServe(cmd *cobra.Command, path, listen string) error {
	if path == "" {
		return errors.New("say where the keys are: --import FILE")
	}
	keys, err := keyfile.Read(path)
	if err != nil {
		return err
	}
	scheme, port := "coap://", coapPort
	if keys.PSK != nil {
		scheme, port = "coaps://", coapsPort
	}
	if listen == "" {
		listen = net.JoinHostPort("127.0.0.1", port)
	}
	known, done, err := peerContexts(path, keys)
	if err != nil {
		return err
	}
	defer done()
	conn, err := net.ListenPacket("udp", listen)
	if err != nil {
		return err
	}
	s := p.peerServer(cmd, conn, keys, known)
	defer s.Close()
	uri := scheme + s.LocalAddr().String()
	if err := p.say(cmd.OutOrStdout(), serving{uri}, "listening on %s", uri); err != nil {
		return err
	}
	return s.Serve(cmd.Context())
}

// peerContexts are the contexts of the keys: one, or none for DTLS.
func peerContexts(path string, keys keyfile.Keys) (known oneContext, done func(), err error) {
	if keys.PSK != nil {
		return oneContext{}, func() {}, nil
	}
	journal, err := keyfile.OpenJournal(path, keyfile.AsServer)
	if err != nil {
		return oneContext{}, nil, err
	}
	done = func() { _ = journal.Close() }
	c, err := oscore.New(keys.Server(), oscore.Options{Sequence: journal, Next: journal.Next(), WindowLost: !journal.New})
	if err != nil {
		done()
		return oneContext{}, nil, err
	}
	return oneContext{c, coapsec.Static(c)}, done, nil
}

func (p *phone) peerServer(cmd *cobra.Command, conn net.PacketConn, keys keyfile.Keys, known oneContext) server {
	t := p.trace(cmd)
	handler := coapsec.Blockwise(&peerThings{trace: t, stopping: cmd.Context().Done()},
		coapsec.BlockwiseOptions{MaxBody: maxPeerData, MaxAnswer: maxPeerData})
	security := coapsec.NewSecurity(known, coapsec.HandlerFunc(unprotected), handler, coapsec.SecurityOptions{
		Refused: func(address string, why error) { t.words("refused a message from %s: %v", address, why) },
	})
	if keys.PSK != nil {
		return dtls.NewServer(conn, onePSK{keys, t}, security, dtls.Options{Tap: t.messages("inside DTLS")})
	}
	return coapsec.NewEndpoint(conn, security, coapsec.EndpointOptions{Tap: t.messages("on the air")})
}

func unprotected(context.Context, *coapsec.Request) message.Message {
	return coapsec.Content(codes.Unauthorized, message.TextPlain, []byte("OSCORE only"))
}

// oneContext is a table of one OSCORE context, or of none.
type oneContext struct {
	context     *oscore.Context
	association coapsec.Association
}

// Find implements coapsec.Contexts.
func (o oneContext) Find(kid, kidContext []byte, hasContext bool) (coapsec.Association, bool) {
	option := oscore.Option{KID: kid, HasKID: true, KIDContext: kidContext, HasKIDContext: hasContext}
	if o.context == nil || !o.context.Matches(option) {
		return nil, false
	}
	return o.association, true
}

// onePSK is a table of one pre-shared key.
type onePSK struct {
	keyfile.Keys
	trace trace
}

// Find implements dtls.Keys. The identity is no secret: it crosses the network in clear.
func (o onePSK) Find(identity []byte, peer netip.AddrPort) (key []byte, session any, err error) {
	if string(identity) != o.Identity {
		o.trace.words("refused a handshake from %s: unknown psk_identity", peer)
		return nil, nil, errors.New("unknown psk_identity")
	}
	return o.PSK, o.Identity, nil
}

// peerThings are the resources of peer serve.
type peerThings struct {
	trace    trace
	stopping <-chan struct{}

	mu   sync.Mutex
	echo []byte
}

// ServeCoAP implements coapsec.Handler, for protected requests.
func (h *peerThings) ServeCoAP(_ context.Context, r *coapsec.Request) message.Message {
	h.trace.inner("peer → phone, protected:", r.Message)
	m := h.answer(r)
	h.trace.inner("phone → peer, protected:", m)
	return m
}

func (h *peerThings) answer(r *coapsec.Request) message.Message {
	path, ok := r.Path()
	get := r.Code == codes.GET
	switch {
	case !ok:
		return message.Message{Code: codes.BadRequest}
	case path == "/hello" && get:
		return coapsec.Content(codes.Content, message.TextPlain, []byte("hello from latchkey"))
	case path == "/echo" && get:
		h.mu.Lock()
		defer h.mu.Unlock()
		return coapsec.Content(codes.Content, message.TextPlain, h.echo)
	case path == "/echo" && r.Code == codes.PUT:
		h.mu.Lock()
		defer h.mu.Unlock()
		h.echo = append([]byte(nil), r.Payload...)
		return coapsec.Content(codes.Changed, message.TextPlain, fmt.Appendf(nil, "%d bytes", len(h.echo)))
	case path == "/time" && get:
		if r.Observation != nil {
			go h.tick(r.Observation)
		}
		return now(r.Observation != nil)
	case path == "/hello", path == "/echo", path == "/time":
		return message.Message{Code: codes.MethodNotAllowed}
	}
	return message.Message{Code: codes.NotFound}
}

// tick notifies each second until the observation is over. The transport bounds how many there are.
func (h *peerThings) tick(o coapsec.Observation) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-o.Done():
			return
		case <-h.stopping:
			return
		case <-ticker.C:
			ctx, cancel := context.WithTimeout(context.Background(), maxPeerTime)
			err := o.Notify(ctx, now(true))
			cancel()
			if err != nil {
				return
			}
		}
	}
}

func now(observed bool) message.Message {
	m := coapsec.Content(codes.Content, message.TextPlain, time.Now().UTC().AppendFormat(nil, time.RFC3339))
	if observed {
		m.Options = m.Options.Set(message.Option{ID: message.Observe}) // the value is the transport's
	}
	return m
}
