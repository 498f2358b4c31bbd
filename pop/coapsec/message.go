package coapsec

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/latchkey-ace/latchkey/pop/internal/coapwire"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// NoFormat stands for no Content-Format option at all.
const NoFormat message.MediaType = 0xffff

// Options builds Uri-Path from an absolute path and, unless it is NoFormat, Content-Format.
func Options(path string, format message.MediaType) message.Options {
	var o message.Options
	for segment := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if segment != "" {
			o = o.Add(message.Option{ID: message.URIPath, Value: []byte(segment)})
		}
	}
	return withFormat(o, format)
}

func withFormat(o message.Options, format message.MediaType) message.Options {
	if format == NoFormat {
		return o
	}
	return o.Set(message.Option{ID: message.ContentFormat, Value: uintOption(uint32(format))})
}

// uintOption is the shortest big-endian form; zero is empty (RFC 7252 §3.2).
func uintOption(v uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, v)
	for len(b) > 0 && b[0] == 0 {
		b = b[1:]
	}
	return b
}

// NewRequest builds a request for Exchanger.Exchange.
func NewRequest(code codes.Code, path string, format message.MediaType, payload []byte) message.Message {
	return message.Message{Code: code, Options: Options(path, format), Payload: payload}
}

// Content builds a response with a payload of a given format.
func Content(code codes.Code, format message.MediaType, payload []byte) message.Message {
	return message.Message{Code: code, Options: withFormat(nil, format), Payload: payload}
}

// cborFormats are the Content-Formats that Describe shows in diagnostic notation.
var cborFormats = map[message.MediaType]bool{19: true, 60: true, 61: true, 257: true}

// Describe says a message in words for people: method or code, path, options and payload, CBOR in diagnostic notation.
// It shows secrets that the payload holds; never log it.
func Describe(m message.Message) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v", m.Code)
	path := ""
	for _, o := range m.Options {
		switch o.ID {
		case message.URIPath:
			path += "/" + string(o.Value)
		case 9:
			fmt.Fprintf(&b, " OSCORE:h'%x'", o.Value)
		case 252:
			fmt.Fprintf(&b, " Echo:h'%x'", o.Value)
		case message.ContentFormat:
		default:
			fmt.Fprintf(&b, " %v:h'%x'", o.ID, o.Value)
		}
	}
	if path != "" {
		b.WriteString(" " + path)
	}
	if len(m.Payload) > 0 {
		b.WriteString(" " + describePayload(m))
	}
	return b.String()
}

func describePayload(m message.Message) string {
	format, err := m.Options.ContentFormat()
	switch {
	case err == nil && cborFormats[format]:
		return wire.Diagnose(m.Payload)
	case m.Options.HasOption(9):
		return fmt.Sprintf("ciphertext of %d bytes", len(m.Payload))
	case err == nil && format == message.AppOctets:
		return fmt.Sprintf("%d bytes", len(m.Payload))
	}
	return fmt.Sprintf("%q", m.Payload)
}

// DescribeDatagram says a UDP datagram in words (RFC 7252 §3); what is not CoAP is shown as bytes.
func DescribeDatagram(d []byte) string {
	if len(d) < 4 || d[0]>>6 != 1 || len(d) < 4+int(d[0]&0xf) {
		return fmt.Sprintf("h'%x'", d)
	}
	kind := message.Type(d[0] >> 4 & 3)
	m := message.Message{Code: codes.Code(d[1])}
	var err error
	if m.Options, m.Payload, err = coapwire.Decode(d[4+int(d[0]&0xf):]); err != nil {
		return fmt.Sprintf("h'%x'", d)
	}
	return fmt.Sprintf("%v [%d] %s", kind, binary.BigEndian.Uint16(d[2:4]), Describe(m))
}
