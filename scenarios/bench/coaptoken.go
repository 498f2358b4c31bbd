package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

const coapTokenPart = "Token endpoint over CoAP and OSCORE, 16 clients, durable on SQLite; the floors are a bare UDP loop and one ES256 signature"

// caller is a client on CoAP: one socket, one security context.
type caller struct {
	endpoint *coapsec.Endpoint
	channel  *coapsec.Channel
	to       netip.AddrPort
}

func (s *stand) caller(ctx context.Context, by bridge) (*caller, error) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &caller{endpoint: coapsec.NewEndpoint(conn, nil, coapsec.EndpointOptions{})}
	go func() { _ = c.endpoint.Serve(ctx) }() // ends with Close
	c.channel = coapsec.NewChannel(oscore.Params{MasterSecret: by.secret, SenderID: by.id, RecipientID: by.server}, coapsec.ChannelOptions{Device: true})
	c.to, err = netip.ParseAddrPort(s.coap)
	return c, err
}

// token asks for a token of a device.
func (c *caller) token(ctx context.Context, device string) error {
	payload, err := (&ace.TokenRequest{GrantType: ace.GrantClientCredentials, Audience: device}).CBOR()
	if err != nil {
		return err
	}
	answer, err := c.channel.Exchange(ctx, c.endpoint.To(c.to), coapsec.NewRequest(codes.POST, ace.PathToken, ace.FormatACE, payload))
	if err == nil && answer.Code != codes.Created {
		err = fmt.Errorf("token: got %s", coapsec.Describe(answer))
	}
	return err
}

// called keeps a request of each client under way.
func (b *bench) called(ctx context.Context, s *stand, device string) (load, error) {
	free := make(chan *caller, len(s.bridges))
	for _, by := range s.bridges {
		c, err := s.caller(ctx, by)
		if err != nil {
			return load{}, err
		}
		defer c.endpoint.Close()
		if err := c.token(ctx, device); err != nil { // and with it the security context
			return load{}, err
		}
		free <- c
	}
	before, err := s.cpu()
	if err != nil {
		return load{}, err
	}
	got, err := b.busy(len(s.bridges), func() error {
		c := <-free
		defer func() { free <- c }()
		return c.token(ctx, device)
	})
	if err != nil {
		return load{}, err
	}
	after, err := s.cpu()
	got.cpu = float64((after - before).Microseconds()) / float64(len(got.took))
	return got, err
}

// loop is the bare UDP loop, for as many.
func (b *bench) loop(ctx context.Context) (round, error) {
	var s coapStand
	defer s.close()
	if err := s.start(ctx, coapBare, coapLoad{peers: coapWindow, path: coapPath}); err != nil {
		return round{}, err
	}
	return s.drivers[0].round(ctx, b.span)
}

// coapToken measures POST /token of the real program over CoAP. What the store alone uses for each token is named, because it
// bounds the rest.
func (b *bench) coapToken(ctx context.Context) error {
	s, err := b.newStand(ctx, "coap", "")
	if err != nil {
		return err
	}
	defer s.stop()
	bare, err := b.loop(ctx)
	if err != nil {
		return err
	}
	sign, err := bareSign()
	if err != nil {
		return err
	}
	m, err := b.newMinter(ctx, "sqlite:"+b.dir+"/coapshare.db")
	if err != nil {
		return err
	}
	defer m.store.Close()
	alone, err := b.mints(ctx, m, coapWindow)
	if err != nil {
		return err
	}
	hidden, err := b.called(ctx, s, "door")
	if err != nil {
		return err
	}
	signed, err := b.called(ctx, s, "monitor")
	if err != nil {
		return err
	}
	loopRate := float64(bare.requests) / bare.took.Seconds()
	b.table.add(
		row{Part: coapTokenPart, What: "Encrypt0 token", Figure: hidden.rate, Unit: "/s", Floor: loopRate, Bare: "loop"}.atLeastTimes(0.25),
		row{Part: coapTokenPart, What: "Encrypt0 token, server CPU", Figure: hidden.cpu, Unit: "µs", More: "store alone " + short(alone.cpu) + " µs", Floor: bare.cpu(), Bare: "loop"},
		row{Part: coapTokenPart, What: "Encrypt0 token, server CPU less the store's", Figure: hidden.cpu - alone.cpu, Unit: "µs", Floor: bare.cpu(), Bare: "loop"}.atMostTimes(4),
		row{Part: coapTokenPart, What: "signed token, server CPU", Figure: signed.cpu, Unit: "µs", More: short(signed.rate) + "/s", Floor: sign, Bare: "sign"}.atMostTimes(1.8),
		row{Part: coapTokenPart, What: "signed token, server CPU less the store's", Figure: signed.cpu - alone.cpu, Unit: "µs", Floor: sign, Bare: "sign"}.atMostTimes(1.8),
		row{Part: coapTokenPart, What: "what bounds it: loop + sign + store alone", Figure: bare.cpu() + sign + alone.cpu, Unit: "µs", Floor: sign, Bare: "sign"},
		row{Part: coapTokenPart, What: "what bounds the rate: store alone", Figure: alone.rate, Unit: "/s", Floor: loopRate, Bare: "loop"},
	)
	return nil
}
