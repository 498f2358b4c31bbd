package coapsec_test

import (
	"bytes"
	"context"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// A server has long answers for strangers, and gives them only to whoever is at the address that his request came from.
func ExampleReachable() {
	news := coapsec.HandlerFunc(func(context.Context, *coapsec.Request) message.Message {
		return coapsec.Content(codes.Content, message.TextPlain, bytes.Repeat([]byte("news "), 600))
	})
	server := listen(coapsec.Blockwise(news, coapsec.BlockwiseOptions{}))
	defer server.Close()
	phone := listen(nil)
	defer phone.Close()

	request := coapsec.NewRequest(codes.GET, "/news", coapsec.NoFormat, nil)
	ask := func(x coapsec.Exchanger) {
		answer, err := x.Exchange(context.Background(), request)
		fmt.Println(answer.Code, len(answer.Payload), err)
	}
	ask(phone.To(server.LocalAddr()))
	ask(coapsec.Blocks(coapsec.Reachable(phone.To(server.LocalAddr())), coapsec.BlocksOptions{}))
	// Output:
	// Unauthorized 0 <nil>
	// Content 3000 <nil>
}
