package oscore

import (
	"slices"

	"github.com/plgd-dev/go-coap/v3/message"
)

// fewOptions is how many options a Buffer holds without asking for more memory.
const fewOptions = 4

// Buffer is the memory that a message made by ProtectRequestIn, ProtectResponseIn, UnprotectRequestIn, UnprotectResponseIn
// or UnprotectNotificationIn lives in. Used again and again it soon allocates nothing more. The zero value is ready; it must
// not be copied, and is for one goroutine at a time.
//
// Options and Payload of the message returned refer to the Buffer and are valid until its next use. Options of class U,
// such as Uri-Host, and Token refer to what the message handed in refers to. The message handed in must not refer to the
// same Buffer: who answers a request out of the request's own bytes takes one Buffer to unprotect and another to protect.
// An Exchange refers to neither.
type Buffer struct {
	bytes   []byte
	result  message.Options // of the message returned
	sealed  message.Options // to be encrypted: those of the message handed in, or parted
	parted  message.Options
	few     [fewOptions]message.Option
	nonce   [maxNonce]byte
	encoded [8]byte
}

// room returns b.bytes, empty, with room for size bytes.
func (b *Buffer) room(size int) []byte {
	b.bytes = slices.Grow(b.bytes[:0], size)
	return b.bytes
}

// options returns b.result, empty.
func (b *Buffer) options() message.Options {
	if b.result == nil {
		b.result = b.few[:0:fewOptions]
	}
	return b.result[:0]
}
