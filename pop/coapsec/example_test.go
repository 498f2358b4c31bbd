package coapsec_test

import (
	"context"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// table is who may speak to the lock: by the kid of their requests.
type table map[string]coapsec.Association

func (t table) Find(kid, _ []byte, _ bool) (coapsec.Association, bool) {
	a, ok := t[string(kid)]
	return a, ok
}

func Example() {
	secret := []byte("sixteen secret b")
	ours, _ := oscore.New(oscore.Params{MasterSecret: secret, SenderID: []byte{2}, RecipientID: []byte{1}}, oscore.Options{})
	theirs, _ := oscore.New(oscore.Params{MasterSecret: secret, SenderID: []byte{1}, RecipientID: []byte{2}}, oscore.Options{})

	door := coapsec.HandlerFunc(func(_ context.Context, r *coapsec.Request) message.Message {
		if !r.Peer.Fresh { // a bolt moves only for who has just said so
			return r.Peer.Security.Challenge(r.Peer)
		}
		return coapsec.Content(codes.Changed, message.TextPlain, fmt.Appendf(nil, "%d bytes", len(r.Payload)))
	})
	stranger := coapsec.HandlerFunc(func(context.Context, *coapsec.Request) message.Message {
		return message.Message{Code: codes.Unauthorized}
	})
	lock := listen(coapsec.NewSecurity(table{"\x01": coapsec.Static(ours)}, stranger,
		coapsec.Blockwise(door, coapsec.BlockwiseOptions{}), coapsec.SecurityOptions{}))
	defer lock.Close()
	phone := listen(nil)
	defer phone.Close()

	x := coapsec.Blocks(coapsec.Secure(phone.To(lock.LocalAddr()), theirs), coapsec.BlocksOptions{})
	answer, err := x.Exchange(context.Background(), coapsec.NewRequest(codes.POST, "/door", coapsec.NoFormat, make([]byte, 3000)))
	fmt.Println(answer.Code, string(answer.Payload), err)
	// Output: Changed 3000 bytes <nil>
}
