package cwt

import (
	"errors"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// CBOR major types (RFC 8949 §3.1).
const (
	majorMap = 5
	majorTag = 6
)

var errWrongType = errors.New("wrong type")

// parseMap reads one map and leaves its values encoded. Labels may be of any type; ours are integers.
func parseMap(data []byte) (map[any]wire.RawMessage, error) {
	if len(data) == 0 || data[0]>>5 != majorMap {
		return nil, errors.New("not a map")
	}
	var m map[any]wire.RawMessage
	if err := wire.Unmarshal(data, &m); err != nil {
		return nil, err
	}
	return m, nil
}

// as decodes one item that must be exactly a T: int64, string, []byte. Tags are not looked through, arrays of numbers are
// no byte strings.
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
