package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/latchkey-ace/latchkey/pop/client"
	"github.com/latchkey-ace/latchkey/pop/coapsec/dtls"
	"github.com/spf13/cobra"
)

const coapsScheme = "coaps://"

// associate makes a DTLS association with the device: under the key id if it has the token, and else with the token. A device
// that does not know the key id any more is shown the token again, if there is one.
func (p *phone) associate(ctx context.Context, cmd *cobra.Command, s *client.Session) (way, error) {
	address, err := p.secureAddress(s.Saved().URIs)
	if err != nil {
		return way{}, err
	}
	a, err := p.handshake(ctx, cmd, s, address)
	if err != nil && ctx.Err() == nil && s.Ready() && len(s.Saved().Token) > 0 {
		s.Forget()
		a, err = p.handshake(ctx, cmd, s, address)
	}
	switch at := coapsScheme + address.String(); {
	case ctx.Err() != nil:
		return way{}, fmt.Errorf("the device at %s made no association with us: %w", at, ctx.Err())
	case err != nil:
		return way{}, fmt.Errorf("the device at %s does not know our key, or refuses the token: %w", at, err)
	}
	return way{Exchanger: a, block: udpBlock, Close: a.Close}, nil
}

func (p *phone) handshake(ctx context.Context, cmd *cobra.Command, s *client.Session, address netip.AddrPort) (*client.Association, error) {
	shown := "the token"
	if s.Ready() {
		shown = "the key's id"
	}
	p.trace(cmd).words("phone → device  a DTLS handshake with %s", shown)
	return s.Dial(ctx, func(ctx context.Context, identity, key []byte) (client.Conn, error) {
		p.trace(cmd).decoded("psk_identity: %d bytes h'%x'", len(identity), identity)
		return dtls.Dial(ctx, address, identity, key, dtls.Options{Tap: p.trace(cmd).messages("in DTLS")})
	})
}

// secureAddress is --to, or the first address that the server named for DTLS.
func (p *phone) secureAddress(uris []string) (netip.AddrPort, error) {
	to := p.to
	for _, uri := range uris {
		if to == "" && strings.HasPrefix(uri, coapsScheme) {
			to = uri
		}
	}
	host, secure := strings.CutPrefix(to, coapsScheme)
	address, err := netip.ParseAddrPort(host)
	if err != nil || !secure {
		return address, fmt.Errorf("device address %q: this device speaks coap_dtls, give --to coaps://ADDRESS:PORT", to)
	}
	return address, nil
}

// show shows the token to a device of coap_dtls: within a handshake where its address is for DTLS, or else bare (RFC 9202
// §3.3).
func (p *phone) show(ctx context.Context, cmd *cobra.Command, s *client.Session) error {
	if p.plainWanted(s.Saved().URIs) {
		return p.post(ctx, cmd, s)
	}
	if len(s.Saved().Token) == 0 {
		return errors.New("the server delivered this token; there is nothing to show")
	}
	s.Forget()
	x, err := p.associate(ctx, cmd, s)
	if err != nil {
		return err
	}
	return x.Close()
}

func (p *phone) plainWanted(uris []string) bool {
	if p.to != "" || len(uris) == 0 {
		return !strings.HasPrefix(p.to, coapsScheme)
	}
	return !strings.HasPrefix(uris[0], coapsScheme)
}
