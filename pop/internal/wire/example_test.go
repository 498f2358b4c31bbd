package wire_test

import (
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

func Example() {
	type hints struct {
		Server string `cbor:"1,keyasint"`
		Nonce  []byte `cbor:"39,keyasint,omitempty"`
	}
	data, _ := wire.Marshal(hints{Server: "coap://as.example/token", Nonce: []byte{0xe0}})
	fmt.Println(wire.Diagnose(data))

	var h hints
	fmt.Println(wire.Unmarshal(data, &h), h.Server)

	twice := []byte{0xa2, 24, 39, 0x41, 1, 24, 39, 0x41, 2} // {39: h'01', 39: h'02'}
	fmt.Println(wire.Unmarshal(twice, &h))
	// Output:
	// {1: "coap://as.example/token", 39: h'e0'}
	// <nil> coap://as.example/token
	// cbor: duplicate map key
}
