package keyfile_test

import (
	"fmt"

	"github.com/latchkey-ace/latchkey/cmd/internal/keyfile"
	"github.com/latchkey-ace/latchkey/pop/oscore"
)

// The keys of RFC 8613 appendix C.1.
func ExampleParse() {
	keys, err := keyfile.Parse([]byte(`{
		"master_secret": "0102030405060708090a0b0c0d0e0f10", "master_salt": "9e7ca92223786340",
		"client_id": "", "server_id": "01"}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := oscore.New(keys.Client(), oscore.Options{})
	fmt.Println(keys, client, err)
	// Output: [redacted] oscore context  to 01 <nil>
}
