// Package coapwire encodes and decodes the part of a CoAP message that every transport shares: options and payload
// (RFC 7252 §3). UDP, OSCORE plaintexts and GATT frames put different headers in front of it. Start from Decode and
// Append; what an option means, and whether it is allowed, is not decided here.
//
// go-coap's own decoder silently drops options of a length it does not expect, which changes what a request means, and
// it drops option 0; here nothing is dropped. A message has one encoding only: what Decode takes, Append gives back.
package coapwire

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/plgd-dev/go-coap/v3/message"
)

const (
	// MaxOptions bounds the options of one message; the longest of ours has fewer than ten.
	MaxOptions = 32

	marker = 0xff

	// RFC 7252 §3.1: a nibble of 13 is followed by one byte, one of 14 by two; 15 is reserved.
	oneByte, twoBytes, reserved = 13, 14, 15
	oneByteFrom, twoBytesFrom   = 13, 269
	maxExtended                 = twoBytesFrom + 0xffff
)

var (
	errPayloadMarker  = errors.New("coap: payload marker without payload")
	errOptionZero     = errors.New("coap: option number 0")
	errOptionOrder    = errors.New("coap: options out of order")
	errOptionNumber   = errors.New("coap: option number above 65535")
	errOptionReserved = errors.New("coap: reserved option delta or length")
	errOptionCut      = errors.New("coap: option cut off")
	errOptionLength   = fmt.Errorf("coap: option longer than %d bytes", maxExtended)
	errTooMany        = fmt.Errorf("coap: more than %d options", MaxOptions)
)

// Decode splits data into options and payload. Both refer to data. Every option is kept, known or not.
func Decode(data []byte) (message.Options, []byte, error) {
	return DecodeInto(nil, data)
}

// DecodeInto is Decode with memory for the options: they are appended to options[:0]. Without any it makes what it needs.
func DecodeInto(options message.Options, data []byte) (message.Options, []byte, error) {
	options = options[:0]
	if cap(options) == 0 {
		options = make(message.Options, 0, count(data))
	}
	number := 0
	for len(data) > 0 {
		if data[0] == marker {
			if len(data) == 1 {
				return nil, nil, errPayloadMarker
			}
			return options, data[1:], nil
		}
		delta, value, rest, err := next(data)
		if err != nil {
			return nil, nil, err
		}
		number += delta
		switch {
		case number == 0: // reserved (RFC 7252 §12.2)
			return nil, nil, errOptionZero
		case number > 0xffff:
			return nil, nil, errOptionNumber
		case len(options) == MaxOptions:
			return nil, nil, errTooMany
		}
		options = append(options, message.Option{ID: message.OptionID(number), Value: value})
		data = rest
	}
	return options, nil, nil
}

// count is how many options data begins with, MaxOptions at most.
func count(data []byte) (n int) {
	for n < MaxOptions && len(data) > 0 && data[0] != marker {
		_, _, rest, err := next(data)
		if err != nil {
			break
		}
		data = rest
		n++
	}
	return n
}

// next takes one option off data, which is not empty.
func next(data []byte) (delta int, value, rest []byte, err error) {
	first := data[0]
	delta, data, err = extended(first>>4, data[1:])
	if err != nil {
		return 0, nil, nil, err
	}
	length, data, err := extended(first&0xf, data)
	if err != nil {
		return 0, nil, nil, err
	}
	if length > len(data) {
		return 0, nil, nil, errOptionCut
	}
	return delta, data[:length:length], data[length:], nil
}

// extended is the number that a nibble and the bytes it announces stand for.
func extended(nibble byte, data []byte) (int, []byte, error) {
	switch {
	case nibble == reserved:
		return 0, nil, errOptionReserved
	case nibble == twoBytes && len(data) >= 2:
		return twoBytesFrom + int(binary.BigEndian.Uint16(data)), data[2:], nil
	case nibble == oneByte && len(data) >= 1:
		return oneByteFrom + int(data[0]), data[1:], nil
	case nibble >= oneByte:
		return 0, nil, errOptionCut
	}
	return int(nibble), data, nil
}

// Append encodes options, which must be in ascending order, and payload after dst.
func Append(dst []byte, options message.Options, payload []byte) ([]byte, error) {
	previous := 0
	for _, o := range options {
		delta := int(o.ID) - previous
		switch {
		case delta < 0:
			return nil, errOptionOrder
		case o.ID == 0:
			return nil, errOptionZero
		case len(o.Value) > maxExtended:
			return nil, errOptionLength
		}
		previous = int(o.ID)
		at := len(dst)
		dst = append(dst, 0)
		var d, l byte
		d, dst = appendExtended(dst, delta)
		l, dst = appendExtended(dst, len(o.Value))
		dst[at] = d<<4 | l
		dst = append(dst, o.Value...)
	}
	if len(payload) == 0 {
		return dst, nil
	}
	return append(append(dst, marker), payload...), nil
}

// Size is how many bytes Append appends.
func Size(options message.Options, payload []byte) int {
	size, previous := 0, 0
	for _, o := range options {
		size += 1 + extension(int(o.ID)-previous) + extension(len(o.Value)) + len(o.Value)
		previous = int(o.ID)
	}
	if len(payload) > 0 {
		size += 1 + len(payload)
	}
	return size
}

// extension is how many bytes a nibble for n announces.
func extension(n int) int {
	switch {
	case n >= twoBytesFrom:
		return 2
	case n >= oneByteFrom:
		return 1
	}
	return 0
}

// appendExtended gives the nibble for n, 0 to maxExtended, and appends the bytes it announces.
func appendExtended(dst []byte, n int) (nibble byte, _ []byte) {
	switch {
	case n >= twoBytesFrom:
		return twoBytes, binary.BigEndian.AppendUint16(dst, uint16(n-twoBytesFrom))
	case n >= oneByteFrom:
		return oneByte, append(dst, byte(n-oneByteFrom))
	}
	return byte(n), dst
}
