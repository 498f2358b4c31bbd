package coapsec

import (
	"errors"
	"math/bits"

	"github.com/plgd-dev/go-coap/v3/message"
)

// block is the value of Block1 or Block2 (RFC 7959 §2.2).
type block struct {
	number   int
	more     bool
	exponent uint // SZX: the size is 16 << exponent
}

var errBlockOption = errors.New("malformed block option")

func (b block) size() int   { return 16 << b.exponent }
func (b block) offset() int { return b.number * b.size() }

// option encodes b; its number is below 2^20.
func (b block) option(id message.OptionID) message.Option {
	v := uint32(b.number)<<4 | uint32(b.exponent)
	if b.more {
		v |= 8
	}
	return message.Option{ID: id, Value: uintOption(v)}
}

// blockExponent rounds a size down to a power of two from 16 to 1024, and gives its exponent. Zero stands for 1024.
func blockExponent(size int) uint {
	if size == 0 {
		return maxBlockExponent
	}
	return min(uint(bits.Len(uint(max(size, 16)))-5), maxBlockExponent)
}

// findBlock reads the block option numbered id; found is false if there is none.
func findBlock(options message.Options, id message.OptionID) (b block, found bool, err error) {
	for i := range options {
		o := &options[i]
		if o.ID != id {
			continue
		}
		if found || len(o.Value) > 3 {
			return block{}, false, errBlockOption
		}
		found = true
		var value uint32
		for _, c := range o.Value {
			value = value<<8 | uint32(c)
		}
		b = block{number: int(value >> 4), more: value&8 != 0, exponent: uint(value & 7)}
		if b.exponent > maxBlockExponent {
			return block{}, false, errBlockOption
		}
	}
	return b, found, nil
}
