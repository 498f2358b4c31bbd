package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
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

const (
	maxPeerData = 64 << 10 // bytes of --data and of what /echo keeps
	maxPeerTime = 2 * time.Minute
	coapPort    = "5683" // RFC 7252 §12.6, §12.7
	coapsPort   = "5684"
)

// peerFlags are the flags of peer get, put and post.
type peerFlags struct {
	keys    string
	data    string
	non     bool
	observe uint
	renew   bool
}

// peerCommand tries this implementation against any other, with keys that both have and without an authorization server.
func (p *phone) peerCommand() *cobra.Command {
	const example = "  phone peer serve --import keys.json --listen 127.0.0.1:5683\n" +
		"  phone peer get coap://127.0.0.1:5683/hello --import keys.json"
	all := []*cobra.Command{p.peerServeCommand()}
	for name, code := range map[string]codes.Code{"get": codes.GET, "put": codes.PUT, "post": codes.POST} {
		all = append(all, p.peerRequestCommand(name, code))
	}
	c := command.Group("peer", "Try another implementation of OSCORE or DTLS by hand", example, all...)
	c.Long = "Try another implementation of OSCORE or DTLS by hand, with keys that both have: no server and no token.\n" +
		"FILE is JSON that only you can read (chmod 600), in hex: master_secret, master_salt, client_id, server_id and, if there\n" +
		"is one, id_context; or for coaps:// psk_identity (text) and psk. Beside it lies FILE.client.seq or FILE.server.seq, the\n" +
		"sequence numbers used. Never delete that, never copy FILE without it and never use keys that were used elsewhere in the\n" +
		"same role: numbers would repeat, and whoever listens could read both messages."
	return c
}

func (p *phone) peerRequestCommand(name string, code codes.Code) *cobra.Command {
	var f peerFlags
	c := &cobra.Command{
		Use: name + " URI", Short: "Send a " + strings.ToUpper(name) + " with the keys of a file",
		Example: "  phone peer " + name + " coap://127.0.0.1:5683/echo --import keys.json",
		Args:    command.One,
		RunE:    func(cmd *cobra.Command, args []string) error { return p.peerRequest(cmd, code, args[0], f) },
	}
	flags := c.Flags()
	flags.StringVar(&f.keys, "import", "", "the keys: a 0600 JSON file")
	flags.BoolVar(&f.non, "non", false, "send it non-confirmable and once (coap:// only)")
	flags.BoolVar(&f.renew, "b2", false, "make a fresh context first (RFC 8613 appendix B.2), as latchkey serve demands of its clients")
	if code == codes.GET {
		flags.UintVar(&f.observe, "observe", 0, "observe, and leave after so many answers")
	} else {
		flags.StringVar(&f.data, "data", "", "text to send")
	}
	return c
}

func (p *phone) peerRequest(cmd *cobra.Command, code codes.Code, uri string, f peerFlags) error {
	target, err := parsePeerURI(uri)
	if err != nil {
		return err
	}
	if err := f.check(target.secure); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), maxPeerTime)
	defer cancel()
	x, done, err := p.peerWay(ctx, cmd, target, f)
	if err != nil {
		return err
	}
	defer done()
	request := target.request(code, f.data)
	p.trace(cmd).inner("phone → peer, protected:", request)
	if f.observe > 0 {
		return p.peerObserve(ctx, cmd, x, request, f.observe)
	}
	response, err := x.Exchange(ctx, request)
	if unknown(err) && code != codes.GET {
		return fmt.Errorf("%w: it may or may not have happened", err)
	}
	if err != nil {
		return err
	}
	return p.peerAnswer(cmd, response)
}

func (f peerFlags) check(secure bool) error {
	switch {
	case f.keys == "":
		return errors.New("say where the keys are: --import FILE")
	case len(f.data) > maxPeerData:
		return fmt.Errorf("--data: %d bytes, at most %d", len(f.data), maxPeerData)
	case secure && f.non:
		return errors.New("--non goes with coap://, not with coaps://")
	case secure && f.renew:
		return errors.New("--b2 goes with coap://: DTLS makes fresh keys by itself")
	case f.renew && f.observe > 0:
		return errors.New("--b2 and --observe do not go together")
	}
	return nil
}

func (f peerFlags) read(secure bool) (keyfile.Keys, error) {
	keys, err := keyfile.Read(f.keys)
	switch {
	case err != nil:
		return keys, err
	case secure && keys.PSK == nil:
		return keys, fmt.Errorf("%s: coaps:// needs psk_identity and psk", f.keys)
	case !secure && keys.PSK != nil:
		return keys, fmt.Errorf("%s: a psk is for coaps://", f.keys)
	case f.renew && keys.IDContext != nil:
		return keys, fmt.Errorf("%s: --b2 makes the ID context itself: leave out id_context", f.keys)
	}
	return keys, nil
}

// peerWay opens the protected way to a peer. done ends it.
func (p *phone) peerWay(ctx context.Context, cmd *cobra.Command, to peerURI, f peerFlags) (x coapsec.Exchanger, done func(), err error) {
	keys, err := f.read(to.secure)
	if err != nil {
		return nil, nil, err
	}
	if to.secure {
		conn, err := dtls.Dial(ctx, to.address, []byte(keys.Identity), keys.PSK, dtls.Options{Tap: p.trace(cmd).messages("inside DTLS")})
		if err != nil {
			return nil, nil, err
		}
		return coapsec.Blocks(coapsec.Reachable(conn), coapsec.BlocksOptions{}), func() { _ = conn.Close() }, nil
	}
	endpoint, way, err := p.peerEndpoint(cmd, to.address, f.non)
	if err != nil {
		return nil, nil, err
	}
	go func() { _ = endpoint.Serve(context.WithoutCancel(ctx)) }() // ends with Close
	x, journal, err := f.protect(way, keys)
	done = func() {
		_ = endpoint.Close()
		if journal != nil {
			_ = journal.Close()
		}
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	return coapsec.Blocks(x, coapsec.BlocksOptions{}), done, nil
}

// peerEndpoint opens a socket for requests to one address.
func (p *phone) peerEndpoint(cmd *cobra.Command, to netip.AddrPort, non bool) (*coapsec.Endpoint, coapsec.Exchanger, error) {
	conn, err := net.ListenPacket("udp", ":0")
	if err != nil {
		return nil, nil, err
	}
	options, exchange := coapsec.EndpointOptions{Tap: p.trace(cmd).messages("on the air")}, coapsec.ExchangeOptions{}
	if non {
		conn, options.AckTimeout, exchange.MaxTransmissions = nonConfirmable{conn}, nonTimeout, 1
		if tap := options.Tap; tap != nil {
			options.Tap = func(direction string, peer netip.AddrPort, data []byte) { tap(direction, peer, asNon(data)) }
		}
	}
	endpoint := coapsec.NewEndpoint(conn, nil, options)
	return endpoint, endpoint.ToWith(to, exchange), nil
}

// protect puts the keys' context around way, or a channel that makes contexts.
func (f peerFlags) protect(way coapsec.Exchanger, keys keyfile.Keys) (coapsec.Exchanger, *keyfile.Journal, error) {
	if f.renew {
		return renewed{coapsec.NewChannel(keys.Client(), coapsec.ChannelOptions{Device: true}), coapsec.Reachable(way)}, nil, nil
	}
	journal, err := keyfile.OpenJournal(f.keys, keyfile.AsClient)
	if err != nil {
		return nil, nil, err
	}
	c, err := oscore.New(keys.Client(), oscore.Options{Sequence: journal, Next: journal.Next()})
	if err != nil {
		return nil, journal, err
	}
	return coapsec.Secure(way, c), journal, nil
}

// renewed sends everything through a channel whose contexts are made anew (RFC 8613 appendix B.2).
type renewed struct {
	channel *coapsec.Channel
	way     coapsec.Exchanger
}

// Exchange implements coapsec.Exchanger.
func (r renewed) Exchange(ctx context.Context, request message.Message) (message.Message, error) {
	return r.channel.Exchange(ctx, r.way, request)
}

func (p *phone) peerObserve(ctx context.Context, cmd *cobra.Command, x coapsec.Exchanger, request message.Message, count uint) error {
	enough := errors.New("enough")
	observer, ok := x.(coapsec.Observer)
	if !ok {
		return errors.New("nothing can be observed on this way")
	}
	seen := uint(0)
	err := observer.Observe(ctx, request, func(m message.Message) error {
		if err := p.peerAnswer(cmd, m); err != nil {
			return err
		}
		if seen++; seen == count {
			return enough
		}
		return nil
	})
	switch {
	case errors.Is(err, enough):
		return nil
	case err == nil:
		return fmt.Errorf("the peer ended the observation after %d answers", seen)
	}
	return err
}

// peerAnswer shows an answer; an error code is an error too.
func (p *phone) peerAnswer(cmd *cobra.Command, m message.Message) error {
	p.trace(cmd).inner("peer → phone, protected:", m)
	err := p.say(cmd.OutOrStdout(), answer{Code: m.Code.String(), Text: string(m.Payload)}, "%v %s", m.Code, m.Payload)
	if err == nil && m.Code >= codes.BadRequest {
		err = fmt.Errorf("the peer refused, under the key: %v", m.Code)
	}
	return err
}

// peerURI is where a request goes (RFC 7252 §6).
type peerURI struct {
	secure  bool
	address netip.AddrPort
	path    string
	query   []string
}

// parsePeerURI looks the host up. Uri-Host is not sent: the other end is meant to have one name.
func parsePeerURI(uri string) (peerURI, error) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "coap" && u.Scheme != "coaps" || u.Hostname() == "" || u.Fragment != "" || u.User != nil {
		return peerURI{}, fmt.Errorf("address %q: write coap://HOST:PORT/PATH or coaps://HOST:PORT/PATH", uri)
	}
	if strings.Contains(strings.ToLower(u.EscapedPath()), "%2f") {
		return peerURI{}, fmt.Errorf("address %q: a segment of the path cannot hold /", uri)
	}
	to, port := peerURI{secure: u.Scheme == "coaps", path: u.Path}, coapPort
	if to.secure {
		port = coapsPort
	}
	if u.Port() != "" {
		port = u.Port()
	}
	address, err := net.ResolveUDPAddr("udp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return peerURI{}, err
	}
	to.address = address.AddrPort()
	for part := range strings.SplitSeq(u.RawQuery, "&") {
		value, err := url.PathUnescape(part)
		if err != nil {
			return peerURI{}, fmt.Errorf("address %q: %w", uri, err)
		}
		if value != "" {
			to.query = append(to.query, value)
		}
	}
	return to, nil
}

func (u peerURI) request(code codes.Code, data string) message.Message {
	format := coapsec.NoFormat
	if data != "" {
		format = message.TextPlain
	}
	m := coapsec.NewRequest(code, u.path, format, []byte(data))
	for _, q := range u.query {
		m.Options = m.Options.Add(message.Option{ID: message.URIQuery, Value: []byte(q)})
	}
	return m
}
