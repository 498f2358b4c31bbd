package coapsec

import (
	"crypto/sha256"

	"github.com/latchkey-ace/latchkey/pop/internal/coapwire"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// blockOf is one block of an answer, with the options of the whole. The first tells the size of the whole (RFC 7959 §4);
// beyond the last is 4.00.
func blockOf(answer message.Message, wanted block) message.Message {
	start := wanted.offset()
	if start > 0 && start >= len(answer.Payload) {
		return message.Message{Code: codes.BadRequest}
	}
	end := min(start+wanted.size(), len(answer.Payload))
	wanted.more = end < len(answer.Payload)
	options := without(answer.Options, message.Block2, message.Size2).Add(wanted.option(message.Block2))
	if start == 0 {
		options = options.Add(message.Option{ID: message.Size2, Value: uintOption(uint32(len(answer.Payload)))})
	}
	answer.Options, answer.Payload = options, answer.Payload[start:end:end]
	return answer
}

// answering is how a request is to be answered.
type answering struct {
	request  *Request
	exponent uint // of the blocks
	whole    bool // not in blocks
	roomy    bool // not in blocks if it fits a datagram, because the client may know none
}

// fits says whether the response goes as it is: it is short, must not be divided, or is part of something already.
func (a answering) fits(response message.Message) bool {
	switch {
	case a.whole || len(response.Payload) <= block{exponent: a.exponent}.size() || response.Options.HasOption(message.Block2):
		return true
	case a.roomy:
		return sizeOf(response)+maxEnvelope <= maxDatagram
	}
	return false
}

// limit makes the blocks of a response to an unprotected request that h has acted upon so small that it keeps within
// maxAmplification: a challenge in its place, as after a GET, would be a lie.
func (a *answering) limit(response message.Message) {
	if a.request.Peer.Context != nil || a.request.Peer.Session != nil || repeatable(a.request) {
		return
	}
	limit := maxAmplification * sizeOf(a.request.Message)
	response.Token = a.request.Token
	whole := sizeOf(response) + maxBlockOptions
	if whole <= limit {
		return
	}
	a.roomy = false
	for a.exponent > 0 && whole-len(response.Payload)+(block{exponent: a.exponent}).size() > limit {
		a.exponent--
	}
}

// sizeOf is the length of a datagram with m, whose options are ascending.
func sizeOf(m message.Message) int {
	return headerLength + len(m.Token) + coapwire.Size(m.Options, m.Payload)
}

// tagged gives a success without an ETag one of its content: RFC 9175 §3.7 forbids blocks without, since their reader could
// not tell those of two bodies apart.
func tagged(response message.Message) message.Message {
	if response.Code >= codes.BadRequest || response.Options.HasOption(message.ETag) {
		return response
	}
	h := sha256.New()
	h.Write([]byte{byte(response.Code)})
	for i := range response.Options {
		if o := &response.Options[i]; o.ID == message.ContentFormat {
			h.Write(append([]byte{byte(len(o.Value))}, o.Value...))
		}
	}
	h.Write(response.Payload)
	response.Options = without(response.Options).Add(message.Option{ID: message.ETag, Value: h.Sum(nil)[:etagLength]})
	return response
}
