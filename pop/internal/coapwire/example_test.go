package coapwire_test

import (
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/internal/coapwire"
	"github.com/plgd-dev/go-coap/v3/message"
)

func Example() {
	data, err := coapwire.Append(nil, message.Options{
		{ID: message.URIPath, Value: []byte("door")},
		{ID: message.URIPath, Value: []byte("unlock")},
	}, []byte("now"))
	if err != nil {
		panic(err)
	}
	fmt.Printf("%x\n", data)
	options, payload, err := coapwire.Decode(data)
	fmt.Printf("%s %s %s %v\n", options[0].Value, options[1].Value, payload, err)
	// Output:
	// b4646f6f7206756e6c6f636bff6e6f77
	// door unlock now <nil>
}
