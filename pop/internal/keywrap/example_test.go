package keywrap_test

import (
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/internal/keywrap"
)

// A content key travels under a key that both sides share.
func Example() {
	shared := []byte("sixteen byte key")
	wrapped, err := keywrap.Wrap(shared, []byte("content key, 16 "))
	fmt.Println(len(wrapped), err)

	key, err := keywrap.Unwrap(shared, wrapped)
	fmt.Printf("%s%v\n", key, err)

	_, err = keywrap.Unwrap([]byte("another byte key"), wrapped)
	fmt.Println(err)
	// Output:
	// 24 <nil>
	// content key, 16 <nil>
	// keywrap: the wrapped key is not intact
}
