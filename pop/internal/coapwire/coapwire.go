// Package coapwire encodes and decodes the part of a CoAP message that every transport shares: options and payload
// (RFC 7252 §3). UDP, OSCORE plaintexts and GATT frames put different headers in front of it.
//
// go-coap's own decoder silently drops options of a length it does not expect, which changes what a request means; here
// nothing is dropped, and Check names the option that must lead to a refusal.
package coapwire

import (
	"errors"
	"fmt"
	"slices"

	"github.com/plgd-dev/go-coap/v3/message"
)

// MaxOptions bounds the options of one message; the longest of ours has fewer than ten.
const MaxOptions = 32

var (
	errPayloadMarker = errors.New("coap: payload marker without payload")
	errOptionZero    = errors.New("coap: option number 0")
	errOptionOrder   = errors.New("coap: options out of order")
)

// Decode splits data into options and payload. Both refer to data. Every option is kept, known or not.
func Decode(data []byte) (message.Options, []byte, error) {
	options := make(message.Options, 0, MaxOptions)
	n, err := options.Unmarshal(data, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("coap options: %w", err)
	}
	// go-coap drops option 0, which is reserved (RFC 7252 §12.2): what was read must account for every byte.
	size, _ := options.Marshal(nil)
	marked := n > size && n > 0 && data[n-1] == 0xff
	switch {
	case size != n && !(marked && size == n-1):
		return nil, nil, errOptionZero
	case marked && n == len(data):
		return nil, nil, errPayloadMarker
	case n == len(data):
		return options, nil, nil
	}
	return options, data[n:], nil
}

// Append encodes options, which must be in ascending order, and payload after dst.
func Append(dst []byte, options message.Options, payload []byte) ([]byte, error) {
	if !slices.IsSortedFunc(options, func(a, b message.Option) int { return int(a.ID) - int(b.ID) }) {
		return nil, errOptionOrder
	}
	size, err := options.Marshal(nil)
	if err != nil && !errors.Is(err, message.ErrTooSmall) {
		return nil, fmt.Errorf("coap options: %w", err)
	}
	start := len(dst)
	dst = append(dst, make([]byte, size)...)
	if _, err := options.Marshal(dst[start:]); err != nil && size > 0 { // go-coap finds no room for nothing
		return nil, fmt.Errorf("coap options: %w", err)
	}
	if len(payload) == 0 {
		return dst, nil
	}
	return append(append(dst, 0xff), payload...), nil
}
