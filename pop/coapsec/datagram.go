package coapsec

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/latchkey-ace/latchkey/pop/internal/coapwire"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

const headerLength = 4

var (
	// errForeign is for what cannot be answered: not version 1, or no whole header.
	errForeign = errors.New("not a coap datagram")
	// errMalformed is a message format error (RFC 7252 §3): a confirmable one is answered with a Reset.
	errMalformed = errors.New("malformed coap datagram")
	// errTooLarge is a message of ours longer than a datagram may be.
	errTooLarge = fmt.Errorf("message longer than %d bytes", maxDatagram)
)

// decodeDatagram reads a message, whose token, options and payload refer to data (RFC 7252 §3). Beside any error but
// errForeign, Type and MessageID are valid.
//
// Code is one of the empty message, a request (class 0) or a response (classes 2, 4 and 5); its combination with Type
// is one of RFC 7252 table 1.
func decodeDatagram(data []byte) (message.Message, error) { return decodeDatagramInto(nil, data) }

// decodeDatagramInto is decodeDatagram with memory for the options.
func decodeDatagramInto(options message.Options, data []byte) (message.Message, error) {
	if len(data) < headerLength || data[0]>>6 != 1 {
		return message.Message{}, errForeign
	}
	m := message.Message{
		Type:      message.Type(data[0] >> 4 & 3),
		Code:      codes.Code(data[1]),
		MessageID: int32(binary.BigEndian.Uint16(data[2:])),
	}
	tokenLength := int(data[0] & 0xf)
	rest := data[headerLength:]
	switch {
	case tokenLength > message.MaxTokenSize, tokenLength > len(rest):
		return m, fmt.Errorf("%w: token length", errMalformed)
	case m.Code == codes.Empty && len(rest) > 0:
		return m, fmt.Errorf("%w: empty message with content", errMalformed)
	case m.Code != codes.Empty && !isRequest(m.Code) && !isResponse(m.Code):
		return m, fmt.Errorf("%w: reserved code class", errMalformed)
	case m.Type == message.Reset && m.Code != codes.Empty, m.Type == message.Acknowledgement && isRequest(m.Code):
		return m, fmt.Errorf("%w: code does not fit type", errMalformed)
	}
	var err error
	if m.Options, m.Payload, err = coapwire.DecodeInto(options, rest[tokenLength:]); err != nil {
		return m, fmt.Errorf("%w: %w", errMalformed, err)
	}
	m.Token = rest[:tokenLength]
	return m, nil
}

// encodeDatagram writes m, its options brought into order first. It fails with errTooLarge above maxDatagram.
func encodeDatagram(m message.Message) ([]byte, error) {
	byNumber := func(a, b message.Option) int { return cmp.Compare(a.ID, b.ID) }
	if !slices.IsSortedFunc(m.Options, byNumber) {
		m.Options = slices.Clone(m.Options)
		slices.SortStableFunc(m.Options, byNumber)
	}
	if len(m.Token) > message.MaxTokenSize {
		return nil, fmt.Errorf("encode datagram: token of %d bytes", len(m.Token))
	}
	data := make([]byte, headerLength, headerLength+len(m.Token)+coapwire.Size(m.Options, m.Payload))
	data[0] = 1<<6 | byte(m.Type)<<4 | byte(len(m.Token))
	data[1] = byte(m.Code)
	binary.BigEndian.PutUint16(data[2:], uint16(m.MessageID))
	data, err := coapwire.Append(append(data, m.Token...), m.Options, m.Payload)
	if err != nil {
		return nil, fmt.Errorf("encode datagram: %w", err)
	}
	if len(data) > maxDatagram {
		return nil, errTooLarge
	}
	return data, nil
}

// encodeEmpty writes an empty Acknowledgement or Reset.
func encodeEmpty(kind message.Type, id uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{1<<6 | byte(kind)<<4, 0}, id)
}

func isRequest(c codes.Code) bool { return c >= 1 && c < 1<<5 }

func isResponse(c codes.Code) bool {
	class := c >> 5
	return class == 2 || class == 4 || class == 5
}
