package ccm_test

import (
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/internal/ccm"
)

// AES-CCM-16-64-128, as OSCORE uses it: into a buffer that is there, without allocation.
func Example() {
	aead, err := ccm.New([]byte("sixteen byte key"), 8)
	if err != nil {
		fmt.Println(err)
		return
	}
	nonce, aad := make([]byte, ccm.NonceSize), []byte("associated data")
	buffer := make([]byte, 0, 64)
	sealed := aead.Seal(buffer, nonce, []byte("open the door"), aad)
	fmt.Printf("%x\n", sealed)

	opened, err := aead.Open(sealed[:0], nonce, sealed, aad)
	fmt.Printf("%s %v\n", opened, err)

	_, err = aead.Open(nil, nonce, make([]byte, 21), aad)
	fmt.Println(err)
	// Output:
	// dcdbbea27be7d7bd4d9fbd2eef27d5d81f0cfb6377
	// open the door <nil>
	// ccm: message authentication failed
}
