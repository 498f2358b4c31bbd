// Package gatt carries CoAP over the attribute protocol of Bluetooth Low Energy, in both roles
// (draft-ietf-core-coap-over-gatt-00; Bluetooth Core Specification Vol 3, Parts F and G).
//
// One CoAP message is one attribute value of at most MaxValue bytes. The central writes it to the downstream
// characteristic, the peripheral indicates it on the upstream one; what does not fit one attribute PDU is fragmented as
// the specification prescribes: long writes downstream, Read Blob after a truncated indication upstream.
//
// Only the radio is replaced: a unix stream socket carries the PDUs, each behind its length in two bytes, little-endian.
// Handles are fixed, because the discovery of services belongs to the Bluetooth stack, which does it behind its own
// interface. As in every attribute bearer, order and integrity of PDUs are the task of the link layer below.
//
// Nothing is secured here: whatever arrives is untrusted until OSCORE has opened it, nearness is not proven, and block-wise
// transfer is the business of pop/coapsec. One pair of characteristics is used, and the peripheral sends no requests.
//
// Start from Dial (the phone's end) or ServeLink (the device's end, used by resource/gatt).
package gatt

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
)

// UUIDs of the draft. Short ones are to be assigned; earlier revisions used one characteristic of another UUID.
const (
	ServiceUUID    = "8df804b7-3300-496d-9dfa-f8fb40a236bc" // US
	DownstreamUUID = "8bf52767-5625-43ca-a678-70883a366866" // UCD: the central writes
	UpstreamUUID   = "ab3720c8-7fc0-41f8-aa2a-9a45c2c01a4b" // UCU: the peripheral indicates
)

// Directions as Options.Tap names them.
const (
	Downstream = "down" // central to peripheral
	Upstream   = "up"   // peripheral to central
)

var (
	// ErrTooLong says that a message does not fit one attribute value; it must be sent block-wise.
	ErrTooLong = fmt.Errorf("message longer than %d bytes, needs block-wise transfer", MaxValue)
	// ErrClosed says that the link has ended. What was under way may or may not have been acted upon.
	ErrClosed = errors.New("gatt link closed")
	// ErrTimeout says that the peer left an attribute transaction or a message unanswered for Options.Timeout.
	ErrTimeout = errors.New("attribute transaction timed out")
)

// Options of one link. The zero value is what a phone that asks for nothing gets.
type Options struct {
	// MTU is the largest attribute PDU this end takes, DefaultMTU to MaxMTU. 0 means DefaultMTU for Dial and MaxMTU
	// for ServeLink; the smaller of both ends counts.
	MTU int

	// Timeout ends the link when a transaction or a message stays unanswered. 0 means DefaultTimeout.
	Timeout time.Duration

	// Tap sees every whole attribute value as it is sent or arrives, like a sniffer that has put the fragments
	// together. It may be called concurrently and must neither block nor keep or change value.
	Tap func(direction string, value []byte)
}

// Handle answers one request; a response with the empty code means that none is sent. It is called concurrently, at most
// MaxRequests times per link; ctx ends with the link.
type Handle func(ctx context.Context, request message.Message) message.Message

func (o Options) withDefaults(mtu int) (Options, error) {
	if o.MTU == 0 {
		o.MTU = mtu
	}
	if o.MTU < DefaultMTU || o.MTU > MaxMTU {
		return o, fmt.Errorf("mtu %d is not between %d and %d", o.MTU, DefaultMTU, MaxMTU)
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Tap == nil {
		o.Tap = func(string, []byte) {}
	}
	return o, nil
}
