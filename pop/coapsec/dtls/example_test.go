package dtls_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/coapsec/dtls"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// guests is a key table.
type guests map[string][]byte

func (g guests) Find(identity []byte, _ netip.AddrPort) (key []byte, session any, err error) {
	if key, ok := g[string(identity)]; ok {
		return key, string(identity), nil
	}
	return nil, nil, errors.New("no such guest")
}

// A lock that knows its guests by their keys.
func Example() {
	ctx := context.Background()
	key := []byte("sixteen byte key")
	conn, _ := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	lock := coapsec.HandlerFunc(func(_ context.Context, r *coapsec.Request) message.Message {
		return message.Message{Code: codes.Changed, Payload: fmt.Appendf(nil, "welcome, %v", r.Peer.Session)}
	})
	server := dtls.NewServer(conn, guests{"alice": key}, lock, dtls.Options{})
	go func() { _ = server.Serve(ctx) }()
	defer func() { _ = server.Close() }()

	alice, err := dtls.Dial(ctx, server.LocalAddr(), []byte("alice"), key, dtls.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	response, err := alice.Exchange(ctx, coapsec.NewRequest(codes.POST, "/door/unlock", coapsec.NoFormat, nil))
	fmt.Printf("%s %v\n", response.Payload, err)

	server.End("alice") // her key was withdrawn
	_, err = alice.Exchange(ctx, coapsec.NewRequest(codes.POST, "/door/unlock", coapsec.NoFormat, nil))
	fmt.Println(err)
	// Output:
	// welcome, alice <nil>
	// dtls association lost, outcome unknown
}
