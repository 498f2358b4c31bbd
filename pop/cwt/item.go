package cwt

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

const maxInt64 = math.MaxInt64

var errWrongType = errors.New("wrong type")

// integer reads one item that must be an integer of 64 bits with sign, not a tag around one.
func integer(raw wire.RawMessage) (int64, error) {
	major, n, rest, ok := wire.Head(raw)
	if !ok || len(rest) > 0 {
		return as[int64](raw)
	}
	switch {
	case major == wire.MajorUint && n <= maxInt64:
		return int64(n), nil
	case major == wire.MajorNegative && n <= maxInt64:
		return -1 - int64(n), nil
	}
	return 0, errWrongType
}

// text reads one item that must be a text string.
func text(raw wire.RawMessage) (string, error) {
	major, n, rest, ok := wire.Head(raw)
	if !ok || n != uint64(len(rest)) {
		return as[string](raw)
	}
	if major != wire.MajorText || !utf8.Valid(rest) {
		return "", errWrongType
	}
	return string(rest), nil
}

// byteString reads one item that must be a byte string; arrays of numbers are none. The result shares no memory.
func byteString(raw wire.RawMessage) ([]byte, error) {
	b, err := content(raw)
	return append(make([]byte, 0, len(b)), b...), err
}

// content is byteString without a copy: the result shares memory with raw.
func content(raw wire.RawMessage) ([]byte, error) {
	major, n, rest, ok := wire.Head(raw)
	if !ok || n != uint64(len(rest)) {
		return as[[]byte](raw)
	}
	if major != wire.MajorBytes {
		return nil, errWrongType
	}
	return rest, nil
}

// as decodes one item in any encoding that must be exactly a T: int64, float64, string, []byte. Tags are not looked through.
func as[T any](raw wire.RawMessage) (T, error) {
	var item any
	var none T
	if err := wire.Unmarshal(raw, &item); err != nil {
		return none, fmt.Errorf("%w: %w", errWrongType, err)
	}
	v, ok := item.(T)
	if !ok {
		return none, errWrongType
	}
	return v, nil
}
