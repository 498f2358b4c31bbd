package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

const (
	simpleFalse = 20
	simpleNull  = 22
	halfFloat   = 25 // additional information of the three widths
	longFloat   = 27
	bignumTag   = 2 // and 3
)

var (
	errTruncated  = errors.New("cbor: the item ends early")
	errTrailing   = errors.New("cbor: bytes after the item")
	errDepth      = fmt.Errorf("cbor: nested deeper than %d", MaxDepth)
	errElements   = errors.New("cbor: too many elements")
	errIndefinite = errors.New("cbor: indefinite length or reserved head")
	errUTF8       = errors.New("cbor: text is not UTF-8")
	errSimple     = errors.New("cbor: undefined or unassigned simple value")
	errNumber     = errors.New("cbor: NaN, infinity or bignum")
	errKey        = errors.New("cbor: map key is neither an integer nor text")
	errDuplicate  = errors.New("cbor: duplicate map key")
)

// walker goes once over an encoded item, allocates nothing for maps of up to smallMap members, and so settles before
// any decoding what a decoder checks only in the parts that its destination has room for: a duplicate key inside an
// ignored claim is still a second reading of a signed message.
type walker struct {
	data  []byte
	at    int
	depth int

	deterministic bool   // refuse what is not in core deterministic encoding (RFC 8949 §4.2.1)
	elements      uint64 // of one array at most
}

// check walks exactly one item.
func check(data []byte, deterministic bool) error {
	w := walker{data: data, deterministic: deterministic, elements: MaxElements}
	return w.only()
}

// only wants one item and nothing after it.
func (w *walker) only() error {
	if err := w.item(); err != nil {
		return err
	}
	if w.at != len(w.data) {
		return errTrailing
	}
	return nil
}

// head reads the first bytes of an item: major type, additional information and argument.
func (w *walker) head() (major, info byte, argument uint64, err error) {
	if w.at >= len(w.data) {
		return 0, 0, 0, errTruncated
	}
	first := w.data[w.at]
	w.at++
	major, info = first>>5, first&0x1f
	if info < 24 {
		return major, info, uint64(info), nil
	}
	if info > longFloat {
		return 0, 0, 0, errIndefinite
	}
	size := 1 << (info - 24)
	if len(w.data)-w.at < size {
		return 0, 0, 0, errTruncated
	}
	var wide [8]byte
	copy(wide[8-size:], w.data[w.at:w.at+size])
	w.at += size
	argument = binary.BigEndian.Uint64(wide[:])
	if w.deterministic && major != MajorSimple && !shortest(size, argument) {
		return 0, 0, 0, ErrNotDeterministic
	}
	return major, info, argument, nil
}

// shortest reports whether an argument needs a head of size bytes.
func shortest(size int, argument uint64) bool {
	if size == 1 {
		return argument >= 24
	}
	return argument>>(4*size) != 0
}

func (w *walker) item() error {
	major, info, argument, err := w.head()
	if err != nil {
		return err
	}
	switch major {
	case MajorUint, MajorNegative:
		return nil
	case MajorBytes, MajorText:
		_, err := w.content(major, argument)
		return err
	case MajorSimple:
		return w.simple(info, argument)
	}
	return w.container(major, argument)
}

// content takes the bytes of a byte or text string; they share memory with the input.
func (w *walker) content(major byte, size uint64) ([]byte, error) {
	if size > uint64(len(w.data)-w.at) {
		return nil, errTruncated
	}
	content := w.data[w.at : w.at+int(size)]
	w.at += int(size)
	if major == MajorText && !utf8.Valid(content) {
		return nil, errUTF8
	}
	return content, nil
}

func (w *walker) simple(info byte, argument uint64) error {
	if info < halfFloat {
		if info < simpleFalse || info > simpleNull { // 23 is undefined, a second spelling of null
			return errSimple
		}
		return nil
	}
	value, least := float(info, argument)
	switch {
	case math.IsNaN(value) || math.IsInf(value, 0):
		return errNumber
	case w.deterministic && !least:
		return ErrNotDeterministic
	}
	return nil
}

// container walks the content of an array, map or tag. A declared count is compared with the bound and then believed
// only as far as bytes follow, so it costs nothing.
func (w *walker) container(major byte, argument uint64) error {
	if w.depth++; w.depth > MaxDepth {
		return errDepth
	}
	var err error
	switch {
	case major == MajorTag && (argument == bignumTag || argument == bignumTag+1):
		err = errNumber
	case major == MajorTag:
		err = w.item()
	case major == MajorMap && argument > MaxElements, argument > w.elements:
		err = errElements
	case major == MajorMap:
		err = w.members(int(argument))
	default:
		err = w.array(int(argument))
	}
	w.depth--
	return err
}

func (w *walker) array(count int) error {
	for range count {
		if err := w.item(); err != nil {
			return err
		}
	}
	return nil
}
