package pop_test

import (
	"fmt"

	"github.com/latchkey-ace/latchkey/pop"
)

// Client and resource server compute the same OSCORE Master Salt from what the token says and their two nonces.
func ExampleMasterSalt() {
	m := pop.InputMaterial{ID: []byte{1}, MasterSecret: []byte("never printed !!"), Salt: nil}
	salt := pop.MasterSalt(m.Salt, []byte{0x01, 0x8a, 0x27, 0x8f, 0x7f, 0xaa, 0xb5, 0x5a}, []byte{0x25, 0xa8, 0x99, 0x1c, 0xd7, 0x00, 0xac, 0x01})
	fmt.Printf("%x\n%v\n", salt, m)
	// Output:
	// 4048018a278f7faab55a4825a8991cd700ac01
	// [redacted]
}
