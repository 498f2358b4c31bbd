package gocoap_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/coapsec/gocoap"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/mux"
	coapnet "github.com/plgd-dev/go-coap/v3/net"
	"github.com/plgd-dev/go-coap/v3/options"
	"github.com/plgd-dev/go-coap/v3/tcp"
)

// A router of go-coap, reached under OSCORE over TCP.
func Example() {
	door := mux.NewRouter()
	door.HandleFunc("/door", func(w mux.ResponseWriter, _ *mux.Message) {
		_ = w.SetResponse(codes.Content, message.TextPlain, strings.NewReader("locked"))
	})
	phone, lock := contexts() // two ends of one security context
	refuse := coapsec.HandlerFunc(func(context.Context, *coapsec.Request) message.Message {
		return message.Message{Code: codes.Unauthorized}
	})
	security := coapsec.NewSecurity(one{lock}, refuse, gocoap.Handler(door), coapsec.SecurityOptions{})

	listener, _ := coapnet.NewTCPListener("tcp4", "127.0.0.1:0")
	defer listener.Close()
	server := tcp.NewServer(options.WithMux(gocoap.Serve(security)), options.WithBlockwise(false, 0, 0))
	defer server.Stop()
	go func() { _ = server.Serve(listener) }()

	conn, _ := tcp.Dial(listener.Addr().String(), options.WithBlockwise(false, 0, 0))
	defer conn.Close()
	x := coapsec.Secure(gocoap.Client(conn), phone)
	answer, err := x.Exchange(context.Background(), coapsec.NewRequest(codes.GET, "/door", coapsec.NoFormat, nil))
	fmt.Println(answer.Code, string(answer.Payload), err)
	// Output: Content locked <nil>
}
