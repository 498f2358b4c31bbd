package gatt

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/latchkey-ace/latchkey/pop/internal/coapwire"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// Bits of the first byte of a frame: R M C A, then the token length.
const (
	bitReserved = 0x80
	bitID       = 0x40 // M: the sender's one-bit message id
	bitConfirm  = 0x20 // C: please acknowledge
	bitAck      = 0x10 // A: the last M received with C set
	maskTKL     = 0x0f
)

var (
	errEmptyFrame   = errors.New("frame without a byte")
	errFrameTooLong = fmt.Errorf("frame longer than %d bytes", MaxValue)
	errReservedBit  = errors.New("reserved bit set")
	errTokenLength  = errors.New("token length beyond the frame or reserved")
	errCode         = errors.New("code of no request and no response")
	errOptionOrder  = errors.New("options are not in ascending order")
)

// frame is one attribute value. A message with the empty code is an empty message, which has no code on the wire.
type frame struct {
	id, confirm, ack bool
	message          message.Message
}

func (f *frame) empty() bool { return f.message.Code == codes.Empty }

// decodeFrame is strict; the message refers to value. Type and message id do not exist here and are left unset.
func decodeFrame(value []byte) (frame, error) {
	if len(value) == 0 {
		return frame{}, errEmptyFrame
	}
	if len(value) > MaxValue {
		return frame{}, errFrameTooLong
	}
	if value[0]&bitReserved != 0 {
		return frame{}, errReservedBit
	}
	f := frame{
		id:      value[0]&bitID != 0,
		confirm: value[0]&bitConfirm != 0,
		ack:     value[0]&bitAck != 0,
		message: message.Message{MessageID: -1, Type: message.Unset},
	}
	size := int(value[0] & maskTKL)
	if len(value) == 1 && size == 0 {
		return f, nil
	}
	if size > message.MaxTokenSize || len(value) < 2+size {
		return frame{}, errTokenLength
	}
	f.message.Code = codes.Code(value[1])
	if !isRequest(f.message.Code) && !isResponse(f.message.Code) {
		return frame{}, errCode
	}
	f.message.Token = message.Token(value[2 : 2+size])
	options, payload, err := coapwire.Decode(value[2+size:])
	if err != nil {
		return frame{}, err
	}
	f.message.Options, f.message.Payload = options, payload
	return f, nil
}

// encodeMessage gives the frame of m with M, C and A still zero; the sublayer sets them when the frame is sent.
func encodeMessage(m message.Message) ([]byte, error) {
	if !isRequest(m.Code) && !isResponse(m.Code) {
		return nil, errCode
	}
	if len(m.Token) > message.MaxTokenSize {
		return nil, errTokenLength
	}
	// go-coap encodes a negative option delta without complaint, and another option arrives.
	if !slices.IsSortedFunc(m.Options, func(a, b message.Option) int { return int(a.ID) - int(b.ID) }) {
		return nil, errOptionOrder
	}
	body := append([]byte{byte(len(m.Token)), byte(m.Code)}, m.Token...)
	body, err := coapwire.Append(body, m.Options, m.Payload)
	if err != nil {
		return nil, err
	}
	if len(body) > MaxValue {
		return nil, fmt.Errorf("%w: it has %d", ErrTooLong, len(body))
	}
	return body, nil
}

func isRequest(c codes.Code) bool { return c > 0 && c < 32 }

func isResponse(c codes.Code) bool { class := c >> 5; return class == 2 || class == 4 || class == 5 }

// sublayer keeps the one-bit message ids of a link and says what may be sent when: the draft's minimal use of the
// message sub-layer. It is not safe for concurrent use. Start from newSublayer.
//
// The draft starts the acknowledged id at 0 and the first message at 0 too, so a message that crosses the peer's first one
// reads as its acknowledgement. Nothing is lost by that, because values arrive reliably and in order.
type sublayer struct {
	own      bool   // M of the last message sent
	peer     bool   // M of the last message received that had C set
	awaiting bool   // a message was sent and the peer's A does not match yet
	owes     bool   // a message with C was received and nothing was sent since
	last     []byte // the value received last
}

// newSublayer stores id 1, so that the first message has 0.
func newSublayer() sublayer { return sublayer{own: true} }

// receive takes a value from the peer. ok is false where the draft says that it must be ignored: reserved bit, or
// identical to the one before. The draft's rule starts with M=0 and its example with M=1: no first id is demanded.
func (l *sublayer) receive(value []byte) (f frame, ok bool, err error) {
	if len(value) > 0 && value[0]&bitReserved != 0 {
		return frame{}, false, nil
	}
	if l.last != nil && bytes.Equal(value, l.last) {
		return frame{}, false, nil
	}
	if f, err = decodeFrame(value); err != nil {
		return frame{}, false, err
	}
	l.last = bytes.Clone(value)
	if f.ack == l.own {
		l.awaiting = false
	}
	if f.confirm {
		l.peer, l.owes = f.id, true
	}
	return f, true, nil
}

// stamp makes body the next message. It must not be called while awaiting.
func (l *sublayer) stamp(body []byte) []byte {
	l.own, l.awaiting, l.owes = !l.own, true, false
	body[0] = body[0]&maskTKL | l.bits() | bitConfirm
	return body
}

// acknowledge gives the empty message, which is never confirmed itself.
func (l *sublayer) acknowledge() []byte {
	l.owes = false
	return []byte{l.bits()}
}

func (l *sublayer) bits() byte {
	var b byte
	if l.own {
		b |= bitID
	}
	if l.peer {
		b |= bitAck
	}
	return b
}
