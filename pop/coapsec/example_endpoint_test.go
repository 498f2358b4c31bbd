package coapsec_test

import (
	"context"
	"fmt"
	"net"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// A lock tells whoever observes its door when that opens.
func ExampleEndpoint_observe() {
	state := func(text string) message.Message {
		m := coapsec.Content(codes.Content, message.TextPlain, []byte(text))
		m.Options = m.Options.Set(message.Option{ID: message.Observe}) // the value is the transport's
		return m
	}
	lock := listen(coapsec.HandlerFunc(func(ctx context.Context, r *coapsec.Request) message.Message {
		if r.Observation != nil {
			_ = r.Observation.Notify(ctx, state("open")) // later, when the door opens; it says if nobody observes any more
		}
		return state("closed")
	}))
	defer lock.Close()
	phone := listen(nil)
	defer phone.Close()

	toLock := phone.To(lock.LocalAddr()).(coapsec.Observer)
	ctx, leave := context.WithCancel(context.Background())
	err := toLock.Observe(ctx, coapsec.NewRequest(codes.GET, "/door", coapsec.NoFormat, nil), func(m message.Message) error {
		fmt.Printf("%s\n", m.Payload)
		if string(m.Payload) == "open" {
			leave()
		}
		return nil
	})
	fmt.Println(err)
	// Output:
	// closed
	// open
	// context canceled
}

func listen(h coapsec.Handler) *coapsec.Endpoint {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	e := coapsec.NewEndpoint(conn, h, coapsec.EndpointOptions{})
	go func() { _ = e.Serve(context.Background()) }() // ends with Close
	return e
}
