package cose

import (
	"bytes"
	"encoding/binary"
	"math"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// Major types (RFC 8949 §3.1).
const (
	majorUint = iota
	majorNegative
	majorBytes
	majorText
	majorArray
	majorMap
	majorTag
	majorSimple
)

const null = 0xf6

// own checks one item against every rule of the house and returns a copy of it. A reader over the copy may then trust
// lengths, counts, nesting and keys.
func own(data []byte) ([]byte, error) {
	if err := wire.Unmarshal(data, &whole{}); err != nil {
		return nil, malformed("%w", err)
	}
	return bytes.Clone(data), nil
}

// whole is a destination that takes any item and keeps nothing of it, so that decoding is only checking.
type whole struct{}

// UnmarshalCBOR takes the item.
func (*whole) UnmarshalCBOR([]byte) error { return nil }

// reader goes over an item that has been checked by own. loose is set once a head was longer than needed: a second
// spelling of the same item.
type reader struct {
	data  []byte
	loose bool
}

// peek is the major type of the next item; at the end it is that of a simple value.
func (r *reader) peek() byte {
	if len(r.data) == 0 {
		return majorSimple
	}
	return r.data[0] >> 5
}

func (r *reader) head() (major byte, argument uint64) {
	if len(r.data) == 0 {
		return majorSimple, 0
	}
	major, argument = r.data[0]>>5, uint64(r.data[0]&0x1f)
	r.data = r.data[1:]
	if argument < 24 {
		return major, argument
	}
	size := 1 << (argument - 24)
	if argument > 27 || len(r.data) < size {
		r.data = nil
		return majorSimple, 0
	}
	var wide [8]byte
	copy(wide[8-size:], r.data[:size])
	r.data = r.data[size:]
	argument = binary.BigEndian.Uint64(wide[:])
	if size == 1 && argument < 24 || size > 1 && argument>>(4*size) == 0 {
		r.loose = true
	}
	return major, argument
}

// items opens an array or a map and gives the number of its entries.
func (r *reader) items(major byte) (int, bool) {
	if r.peek() != major {
		return 0, false
	}
	_, n := r.head()
	return int(n), n <= wire.MaxElements
}

// bytes reads a byte string, which shares memory with the item.
func (r *reader) bytes() ([]byte, bool) { return r.content(majorBytes) }

func (r *reader) content(major byte) ([]byte, bool) {
	if r.peek() != major {
		return nil, false
	}
	_, n := r.head()
	if n > uint64(len(r.data)) {
		return nil, false
	}
	content := r.data[:n:n]
	r.data = r.data[n:]
	return content, true
}

func (r *reader) integer() (int64, bool) {
	if r.peek() > majorNegative {
		return 0, false
	}
	major, n := r.head()
	if n > math.MaxInt64 {
		return 0, false
	}
	if major == majorNegative {
		return -1 - int64(n), true
	}
	return int64(n), true
}

// raw reads any item in its encoding.
func (r *reader) raw() []byte {
	whole := r.data
	loose := r.loose // how headers spell their values is not the structure's concern
	r.skip()
	r.loose = loose
	n := len(whole) - len(r.data)
	return whole[:n:n]
}

func (r *reader) skip() {
	for left := uint64(1); left > 0; left-- {
		major, n := r.head()
		switch major {
		case majorBytes, majorText:
			r.data = r.data[min(n, uint64(len(r.data))):]
		case majorArray:
			left += n
		case majorMap:
			left += 2 * n
		case majorTag:
			left++
		}
		if len(r.data) == 0 {
			return
		}
	}
}

// appendHead appends the shortest head of an item.
func appendHead(dst []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(dst, major<<5|byte(n))
	case n <= math.MaxUint8:
		return append(dst, major<<5|24, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, major<<5|25), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(dst, major<<5|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, major<<5|27), n)
}

func appendBytes(dst, content []byte) []byte {
	return append(appendHead(dst, majorBytes, uint64(len(content))), content...)
}

// structure encodes [context, part, …], the form of Sig_structure, MAC_structure and Enc_structure (RFC 9052 §4.4, §5.3,
// §6.3).
func structure(context string, parts ...[]byte) []byte {
	size := 8 + len(context)
	for _, part := range parts {
		size += len(part) + 9
	}
	out := appendHead(make([]byte, 0, size), majorArray, uint64(len(parts)+1))
	out = append(appendHead(out, majorText, uint64(len(context))), context...)
	for _, part := range parts {
		out = appendBytes(out, part)
	}
	return out
}
