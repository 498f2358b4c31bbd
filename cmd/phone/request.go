package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/cmd/internal/command"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/client"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/coapsec/dtls"
	"github.com/latchkey-ace/latchkey/pop/gatt"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/spf13/cobra"
)

const (
	requestTime = 15 * time.Second
	gattBlock   = 256 // bytes; one attribute value holds 512
	udpBlock    = 1024
	maxData     = 200 // bytes of --data: a protected request is one message on every link
	coapScheme  = "coap://"
)

// answer is what a device said, in JSON.
type answer struct {
	Code    string `json:"code"`
	Text    string `json:"text"`
	Unknown bool   `json:"unknown,omitempty"`
}

func (p *phone) requestCommands() []*cobra.Command {
	methods := []struct {
		name string
		code codes.Code
	}{{"get", codes.GET}, {"put", codes.PUT}, {"post", codes.POST}}
	var all []*cobra.Command
	for _, m := range methods {
		var data string
		c := &cobra.Command{
			Use: m.name + " PATH", Short: "Send a protected " + strings.ToUpper(m.name), Example: "  phone " + m.name + " /door",
			Args: command.One,
			RunE: func(cmd *cobra.Command, args []string) error { return p.request(cmd, m.code, args[0], data) },
		}
		c.Flags().StringVar(&p.to, "to", "", "the device: coap://ADDRESS:PORT, coaps://ADDRESS:PORT or gatt:PATH (default: what the server said)")
		if m.code != codes.GET {
			c.Flags().StringVar(&data, "data", "", "text to send")
		}
		all = append(all, c)
	}
	return all
}

func (p *phone) request(cmd *cobra.Command, code codes.Code, path, data string) error {
	if len(data) > maxData {
		return fmt.Errorf("--data: %d bytes, at most %d", len(data), maxData)
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), requestTime)
	defer cancel()
	if !strings.HasPrefix(path, "/") {
		return fmt.Errorf("path %q: it begins with /, like /door", path)
	}
	s, _, err := p.restore()
	if err != nil {
		return err
	}
	x, err := p.enter(ctx, cmd, s)
	if err != nil {
		return err
	}
	defer x.Close()
	format := coapsec.NoFormat
	if data != "" {
		format = message.TextPlain
	}
	inner := coapsec.NewRequest(code, path, format, []byte(data))
	p.trace(cmd).inner("phone → device, protected:", inner)
	response, err := s.Do(ctx, x.Exchanger, inner)
	if unknown(err) && code != codes.GET {
		_ = p.say(cmd.OutOrStdout(), answer{Unknown: true, Text: "no answer"}, "no answer: it may or may not have happened – go and look")
		return err
	}
	var refused *client.AnswerError
	if errors.As(err, &refused) && p.json {
		_ = p.say(cmd.OutOrStdout(), answer{Code: refused.Code.String(), Text: refused.Text}, "")
	}
	if err != nil {
		return err
	}
	p.trace(cmd).inner("device → phone, protected:", response)
	return p.say(cmd.OutOrStdout(), answer{Code: response.Code.String(), Text: string(response.Payload)}, "%v %s", response.Code, response.Payload)
}

// unknown reports whether a request may or may not have been acted upon.
func unknown(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, coapsec.ErrNoAnswer) || errors.Is(err, dtls.ErrLost)
}

// enter opens the way on which a session's requests go.
func (p *phone) enter(ctx context.Context, cmd *cobra.Command, s *client.Session) (way, error) {
	if s.Profile() == pop.ProfileCoAPDTLS {
		return p.associate(ctx, cmd, s)
	}
	if !s.Ready() {
		return way{}, errors.New("no device has accepted this token yet: run phone deliver")
	}
	return p.reach(ctx, cmd, s.Saved().URIs)
}

// way is the way to a device.
type way struct {
	coapsec.Exchanger
	block int // bytes of payload that one message carries; longer uploads go in blocks
	Close func() error
}

// reach opens the unprotected way to the device: --to, or the first address that the server named and a phone can dial.
func (p *phone) reach(ctx context.Context, cmd *cobra.Command, uris []string) (way, error) {
	to := p.to
	for _, uri := range uris {
		if to == "" && strings.HasPrefix(uri, coapScheme) {
			to = uri
		}
	}
	if path, ok := strings.CutPrefix(to, "gatt:"); ok {
		c, err := gatt.Dial(ctx, path, gatt.Options{Tap: p.trace(cmd).frames()})
		if err != nil {
			return way{}, fmt.Errorf("link: %w", err)
		}
		return way{Exchanger: c, block: gattBlock, Close: c.Close}, nil
	}
	address, err := netip.ParseAddrPort(strings.TrimPrefix(to, coapScheme))
	if err != nil {
		return way{}, fmt.Errorf("device address %q: give --to coap://ADDRESS:PORT or --to gatt:PATH", to)
	}
	conn, err := net.ListenPacket("udp", ":0")
	if err != nil {
		return way{}, err
	}
	endpoint := coapsec.NewEndpoint(conn, nil, coapsec.EndpointOptions{Tap: p.trace(cmd).messages("on the air")})
	go func() { _ = endpoint.Serve(context.WithoutCancel(ctx)) }() // ends with Close
	return way{Exchanger: endpoint.To(address), block: udpBlock, Close: endpoint.Close}, nil
}
