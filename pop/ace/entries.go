package ace

import (
	"bytes"
	"math"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// entry is one entry of a map with integer labels, its value still encoded and sharing memory with the map.
type entry struct {
	label int64
	value wire.RawMessage
}

// entries are such a map.
type entries []entry

// get is nil for a label that is not there.
func (e entries) get(label int64) wire.RawMessage {
	for _, at := range e {
		if at.label == label {
			return at.value
		}
	}
	return nil
}

// mapOf reads a map with integer labels.
func mapOf(raw wire.RawMessage) (entries, error) {
	if e, ok := scanEntries(raw, true); ok {
		return e, nil
	}
	var m map[int64]wire.RawMessage
	if err := wire.Unmarshal(raw, &m); err != nil {
		return nil, err
	}
	e := make(entries, 0, len(m))
	for label, value := range m {
		e = append(e, entry{label, value})
	}
	return e, nil
}

// scanEntries reads maps in deterministic order, which also tells that no label is there twice, of plain values or of one map of
// such: the forms of confirmations. It reports false for anything else, right or wrong, and so takes only what wire takes.
func scanEntries(raw []byte, nest bool) (entries, bool) {
	major, n, rest, ok := wire.Head(raw)
	if !ok || major != wire.MajorMap || n > uint64(len(rest)) || len(raw) > wire.MaxSize {
		return nil, false
	}
	e := make(entries, 0, min(n, 8))
	var last []byte
	for range n {
		var label int64
		value, ok := scanLabel(rest, &label)
		key := rest[:len(rest)-len(value)]
		if !ok || bytes.Compare(last, key) >= 0 {
			return nil, false
		}
		size, ok := plainSize(value)
		if !ok && nest && n == 1 {
			_, ok = scanEntries(value, false)
			size = len(value)
		}
		if !ok {
			return nil, false
		}
		e = append(e, entry{label, wire.RawMessage(value[:size:size])})
		last, rest = key, value[size:]
	}
	return e, len(rest) == 0
}

// scanLabel reads an integer.
func scanLabel(data []byte, label *int64) (rest []byte, ok bool) {
	major, n, rest, ok := wire.Head(data)
	if !ok || n > math.MaxInt64 {
		return data, false
	}
	*label = int64(n)
	if major == wire.MajorNegative {
		*label = -1 - int64(n)
	}
	return rest, major == wire.MajorUint || major == wire.MajorNegative
}
