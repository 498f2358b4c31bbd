package wire

import "encoding/binary"

// Major types (RFC 8949 §3.1).
const (
	MajorUint = iota
	MajorNegative
	MajorBytes
	MajorText
	MajorArray
	MajorMap
	MajorTag
	MajorSimple
)

// Head reads the head of an item: its major type, and its value, length, count or tag number. rest is what follows, which
// may be shorter than a length says. ok is false for a head that is cut, of indefinite length or longer than needed, and
// for floats. It is for readers of few fixed shapes, for which Unmarshal would be most of the work; they check all else
// that Unmarshal does, or leave to it what they do not know.
func Head(data []byte) (major byte, n uint64, rest []byte, ok bool) {
	if len(data) == 0 {
		return 0, 0, nil, false
	}
	major, info := data[0]>>5, data[0]&0x1f
	if info < 24 {
		return major, uint64(info), data[1:], true
	}
	size := 1 << (info - 24)
	if info > longFloat || len(data) < 1+size {
		return 0, 0, nil, false
	}
	var wide [8]byte
	copy(wide[8-size:], data[1:1+size])
	n = binary.BigEndian.Uint64(wide[:])
	return major, n, data[1+size:], major != MajorSimple && shortest(size, n)
}
