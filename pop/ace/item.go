package ace

import (
	"errors"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// CBOR major types (RFC 8949 §3.1). They are looked at before decoding, because a decoder turns null into an empty
// value of any type.
const (
	majorUint  = 0
	majorInt   = 1
	majorBytes = 2
	majorText  = 3
	majorArray = 4
	majorMap   = 5
	majorTag   = 6
)

func major(item []byte) int {
	if len(item) == 0 {
		return -1
	}
	return int(item[0] >> 5)
}

func isNull(item []byte) bool { return len(item) == 1 && item[0] == 0xf6 }

func textOf(raw wire.RawMessage) (s string, err error) {
	if major(raw) != majorText {
		return "", errors.New("not a text string")
	}
	return s, wire.Unmarshal(raw, &s)
}

func bytesOf(raw wire.RawMessage) ([]byte, error) {
	if major(raw) != majorBytes {
		return nil, errors.New("not a byte string")
	}
	b := []byte{}
	return b, wire.Unmarshal(raw, &b)
}

func uintOf(raw wire.RawMessage) (n uint64, err error) {
	if major(raw) != majorUint {
		return 0, errors.New("not an unsigned integer")
	}
	return n, wire.Unmarshal(raw, &n)
}

func intOf(raw wire.RawMessage) (n int64, err error) {
	if m := major(raw); m != majorUint && m != majorInt {
		return 0, errors.New("not an integer")
	}
	return n, wire.Unmarshal(raw, &n)
}

func textsOf(raw wire.RawMessage) ([]string, error) {
	if major(raw) != majorArray {
		return nil, errors.New("not an array of text strings")
	}
	var items []wire.RawMessage
	if err := wire.Unmarshal(raw, &items); err != nil {
		return nil, err
	}
	var out []string
	for _, item := range items {
		s, err := textOf(item)
		if err != nil {
			return nil, errors.New("not an array of text strings")
		}
		out = append(out, s)
	}
	return out, nil
}

// tagACE is the RFC 9277 tag of Content-Format 19.
const tagACE = 0x63740101 + uint64(FormatACE)

// uploadOf reads the content of to_rs or from_rs: a byte string, or one under the tag of its Content-Format. The
// draft's text tags what its own example does not; both are read, and written as in the example.
func uploadOf(raw wire.RawMessage) ([]byte, error) {
	if major(raw) != majorTag {
		return bytesOf(raw)
	}
	var tag wire.RawTag
	if err := wire.Unmarshal(raw, &tag); err != nil {
		return nil, err
	}
	if tag.Number != tagACE {
		return nil, fmt.Errorf("tag %d: only Content-Format %d is understood", tag.Number, FormatACE)
	}
	return bytesOf(wire.RawMessage(tag.Content))
}
