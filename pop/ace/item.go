package ace

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

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

// plainAt reads the integer or string at the front of data, which nearly every parameter is, without reflection. What it does not
// understand is for wire to judge; FuzzPlain holds the two against each other.
func plainAt(data []byte) (n uint64, content, rest []byte, ok bool) {
	major, n, rest, ok := wire.Head(data)
	switch {
	case !ok || len(data) > wire.MaxSize:
		return 0, nil, nil, false
	case major == wire.MajorUint, major == wire.MajorNegative:
		return n, nil, rest, n <= math.MaxInt64
	case n > uint64(len(rest)):
		return 0, nil, nil, false
	case major == wire.MajorBytes, major == wire.MajorText && utf8.Valid(rest[:n]):
		return n, rest[:n], rest[n:], true
	}
	return 0, nil, nil, false
}

// plainOf reads an item that is nothing more.
func plainOf(raw wire.RawMessage) (n uint64, content []byte, ok bool) {
	n, content, rest, ok := plainAt(raw)
	return n, content, ok && len(rest) == 0
}

// plainSize is the length of such an item at the front of data.
func plainSize(data []byte) (size int, ok bool) {
	_, _, rest, ok := plainAt(data)
	return len(data) - len(rest), ok
}

func textOf(raw wire.RawMessage) (s string, err error) {
	if major(raw) != majorText {
		return "", errors.New("not a text string")
	}
	if _, content, ok := plainOf(raw); ok {
		return string(content), nil
	}
	return s, wire.Unmarshal(raw, &s)
}

func bytesOf(raw wire.RawMessage) ([]byte, error) {
	if major(raw) != majorBytes {
		return nil, errors.New("not a byte string")
	}
	if _, content, ok := plainOf(raw); ok {
		return append([]byte{}, content...), nil
	}
	b := []byte{}
	return b, wire.Unmarshal(raw, &b)
}

func uintOf(raw wire.RawMessage) (n uint64, err error) {
	if major(raw) != majorUint {
		return 0, errors.New("not an unsigned integer")
	}
	if n, _, ok := plainOf(raw); ok {
		return n, nil
	}
	return n, wire.Unmarshal(raw, &n)
}

func intOf(raw wire.RawMessage) (n int64, err error) {
	if m := major(raw); m != majorUint && m != majorInt {
		return 0, errors.New("not an integer")
	}
	if n, _, ok := plainOf(raw); ok {
		if major(raw) == majorInt {
			return -1 - int64(n), nil
		}
		return int64(n), nil
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
