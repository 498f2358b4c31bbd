package cwt

import (
	"bytes"
	"errors"
	"slices"
	"unicode/utf8"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// A claims set is read in two ways that give the same: pop/internal/wire judges everything, and scanMap reads what is in
// deterministic encoding, as nearly every token is, in a tenth of the time and without reflection. What scanMap does not
// understand it leaves to wire, so it can only ever accept what wire accepts; FuzzScan holds the two against each other.

// field is one entry of a map, its value still encoded and sharing memory with the map.
type field struct {
	label pop.ClaimLabel
	value wire.RawMessage
}

// fields is a map in the order in which it was sent.
type fields []field

var errNotMap = errors.New("not a map")

// room is where a caller lets the entries of a map stand, so that small maps cost no allocation.
type room [16]field

// parseMap reads one map whose labels are integers or text. The fields stand in r if there is room.
func parseMap(data []byte, r *room) (fields, error) {
	if f, ok := scanMap(data, r); ok {
		return f, nil
	}
	if len(data) == 0 || data[0]>>5 != wire.MajorMap {
		return nil, errNotMap
	}
	return decodeMap(data)
}

func decodeMap(data []byte) (fields, error) {
	var m map[any]wire.RawMessage
	if err := wire.Unmarshal(data, &m); err != nil {
		return nil, err
	}
	f := make(fields, 0, len(m))
	for key, value := range m {
		var label pop.ClaimLabel
		switch key := key.(type) {
		case int64:
			label.Number = key
		case string:
			label.Name = key
		default:
			return nil, errLabel
		}
		if key == "" {
			return nil, errLabel // ClaimLabel has no place for it
		}
		f = append(f, field{label, value})
	}
	return f, nil
}

var errLabel = errors.New("a label is neither integer nor text")

// get returns the encoded value under a number.
func (f fields) get(number int64) (wire.RawMessage, bool) {
	i := slices.IndexFunc(f, func(e field) bool { return e.label == pop.ClaimLabel{Number: number} })
	if i < 0 {
		return nil, false
	}
	return f[i].value, true
}

// scanMap reads a map whose keys are in deterministic order, which also tells that none is there twice. It reports false
// for anything else, right or wrong.
func scanMap(data []byte, r *room) (fields, bool) {
	major, n, rest, ok := wire.Head(data)
	if !ok || major != wire.MajorMap || n > wire.MaxElements || n > uint64(len(rest)) || len(data) > wire.MaxSize {
		return nil, false
	}
	f := fields(r[:0])
	if n > uint64(len(r)) {
		f = make(fields, 0, n)
	}
	var last []byte
	for range n {
		label, value, ok := scanKey(rest, &last)
		if !ok {
			return nil, false
		}
		if rest, ok = skip(value, scanDepth); !ok {
			return nil, false
		}
		size := len(value) - len(rest)
		f = append(f, field{label, wire.RawMessage(value[:size:size])})
	}
	return f, len(rest) == 0
}

// scanKey reads the key of an entry, which must come after the last one.
func scanKey(data []byte, last *[]byte) (label pop.ClaimLabel, value []byte, ok bool) {
	if label, value, ok = scanLabel(data); !ok {
		return label, nil, false
	}
	key := data[:len(data)-len(value)]
	ok = bytes.Compare(*last, key) < 0
	*last = key
	return label, value, ok
}

// scanLabel reads an integer or a text that is not empty.
func scanLabel(data []byte) (label pop.ClaimLabel, rest []byte, ok bool) {
	major, n, rest, ok := wire.Head(data)
	switch {
	case !ok:
		return label, nil, false
	case major == wire.MajorText:
		if n == 0 || n > uint64(len(rest)) || !utf8.Valid(rest[:n]) {
			return label, nil, false
		}
		return pop.ClaimLabel{Name: string(rest[:n])}, rest[n:], true
	case n > maxInt64:
		return label, nil, false
	case major == wire.MajorUint:
		return pop.ClaimLabel{Number: int64(n)}, rest, true
	case major == wire.MajorNegative:
		return pop.ClaimLabel{Number: -1 - int64(n)}, rest, true
	}
	return label, nil, false
}

// skip returns what follows one item: integers, strings, true, false, null, and arrays and maps of these.
func skip(data []byte, depth int) (rest []byte, ok bool) {
	major, n, rest, ok := wire.Head(data)
	if !ok {
		return nil, false
	}
	switch major {
	case wire.MajorUint, wire.MajorNegative:
		return rest, n <= maxInt64
	case wire.MajorBytes, wire.MajorText:
		if n > uint64(len(rest)) {
			return nil, false
		}
		return rest[n:], major == wire.MajorBytes || utf8.Valid(rest[:n])
	case wire.MajorSimple:
		return rest, data[0] >= 0xf4 && data[0] <= 0xf6 // false, true, null
	}
	if depth == 0 || n > wire.MaxElements || n > uint64(len(rest)) || major == wire.MajorTag {
		return nil, false
	}
	var last []byte
	for range n {
		if major == wire.MajorMap {
			if _, rest, ok = scanKey(rest, &last); !ok {
				return nil, false
			}
		}
		if rest, ok = skip(rest, depth-1); !ok {
			return nil, false
		}
	}
	return rest, true
}
