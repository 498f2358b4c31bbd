package attacks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

const rawTime = 2 * time.Second // for an answer to one datagram

// thief speaks CoAP with the lock and has no key.
type thief struct {
	*coapsec.Endpoint
	lock coapsec.Exchanger
}

func newThief(ctx context.Context, lock string) (*thief, error) {
	address, err := netip.ParseAddrPort(lock)
	if err != nil {
		return nil, err
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	nothing := coapsec.HandlerFunc(func(context.Context, *coapsec.Request) message.Message {
		return message.Message{Code: codes.NotFound}
	})
	e := coapsec.NewEndpoint(conn, nothing, coapsec.EndpointOptions{})
	go func() { _ = e.Serve(ctx) }() // ends with Close
	return &thief{Endpoint: e, lock: e.To(address)}, nil
}

// show uploads a token, which is no secret.
func (t *thief) show(ctx context.Context, token []byte) error {
	payload, err := ace.AuthzInfo{Token: token, Nonce1: []byte("thief's!"), ClientRecipientID: []byte{7}}.Encode()
	if err != nil {
		return err
	}
	response, err := t.lock.Exchange(ctx, coapsec.NewRequest(codes.POST, ace.PathAuthzInfo, ace.FormatACE, payload))
	if err == nil && response.Code != codes.Created {
		err = fmt.Errorf("the token itself was answered %v", response.Code)
	}
	return err
}

// plainUnlock asks without any protection.
func (t *thief) plainUnlock(ctx context.Context) (codes.Code, error) {
	response, err := t.lock.Exchange(ctx, coapsec.NewRequest(codes.POST, "/door/unlock", coapsec.NoFormat, nil))
	return response.Code, err
}

// sendRaw sends one datagram from a new socket and returns the code of the answer.
func sendRaw(ctx context.Context, lock string, datagram []byte) (codes.Code, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", lock)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if _, err := conn.Write(datagram); err != nil {
		return 0, err
	}
	if err := conn.SetReadDeadline(time.Now().Add(rawTime)); err != nil {
		return 0, err
	}
	answer := make([]byte, 2048)
	n, err := conn.Read(answer)
	if err != nil {
		return 0, fmt.Errorf("no answer: %w", err)
	}
	if n < 4 {
		return 0, errors.New("the answer is not CoAP")
	}
	return codes.Code(answer[1]), nil
}
