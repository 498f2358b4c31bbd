package oscore_test

import (
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// A phone asks a lock, which knows many phones, to unlock. Errors are left out.
func Example() {
	secret := []byte("sixteen bytes or more")
	phone, _ := oscore.New(oscore.Params{MasterSecret: secret, SenderID: []byte("phone"), RecipientID: []byte("lock")}, oscore.Options{})
	lock, _ := oscore.New(oscore.Params{MasterSecret: secret, SenderID: []byte("lock"), RecipientID: []byte("phone")}, oscore.Options{})
	var phones oscore.Contexts
	_ = phones.Add(lock)

	request := message.Message{Code: codes.POST, Options: message.Options{{ID: message.URIPath, Value: []byte("unlock")}}}
	outer, asked, _ := phone.ProtectRequest(request)
	fmt.Println("on the wire:", outer.Code, "with", len(outer.Options), "option and", len(outer.Payload), "bytes")

	inner, x, _ := phones.UnprotectRequest(outer)
	path, _ := inner.Options.Path()
	fmt.Println("the lock reads:", inner.Code, path)
	answer, _ := x.Context().ProtectResponse(x, message.Message{Code: codes.Changed, Payload: []byte("open")}, false)

	inner, err := phone.UnprotectResponse(asked, answer)
	fmt.Println("the phone reads:", inner.Code, string(inner.Payload), err)
	_, _, err = phones.UnprotectRequest(outer)
	fmt.Println("a replay:", err)
	// Output:
	// on the wire: POST with 1 option and 16 bytes
	// the lock reads: POST /unlock
	// the phone reads: Changed open <nil>
	// a replay: oscore: replay detected
}

// A server that works in one place of memory: no message allocates.
func ExampleBuffer() {
	secret := []byte("sixteen bytes or more")
	client, _ := oscore.New(oscore.Params{MasterSecret: secret, SenderID: []byte{1}}, oscore.Options{})
	server, _ := oscore.New(oscore.Params{MasterSecret: secret, RecipientID: []byte{1}}, oscore.Options{})

	var in, out oscore.Buffer // the answer is made of the request, so it needs a place of its own
	var x oscore.Exchange
	for _, name := range []string{"Ann", "Bob"} {
		request, asked, _ := client.ProtectRequest(message.Message{Code: codes.POST, Payload: []byte(name)})
		inner, _ := server.UnprotectRequestIn(&in, &x, request)
		answer, _ := server.ProtectResponseIn(&out, &x, message.Message{Code: codes.Content, Payload: inner.Payload}, false)
		echoed, _ := client.UnprotectResponse(asked, answer)
		fmt.Println(string(echoed.Payload))
	}
	// Output:
	// Ann
	// Bob
}
