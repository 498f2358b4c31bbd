package coapsec

import (
	"errors"
	"fmt"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// What an address gets that nobody has shown to be at is at most maxAmplification times what came from there: answers here,
// their repetitions in sendSeparate and replyTo, notifications in registration.takeOff.

// errTooMuch is for an answer that the address of its request may not get, not even in part.
var errTooMuch = errors.New("longer than an unprotected request gets")

// answer is a response as it leaves.
type answer struct {
	data  []byte // nil: nothing is sent
	other bool   // it is not what the handler returned
	free  bool   // maxAmplification does not bind it
}

// isProtected: the answer shows that someone holds a key.
func isProtected(m message.Message) bool { return m.Options.HasOption(optionOSCORE) }

// encodeAnswer encodes a response with the token of its request. An unprotected one that would be too long for its request
// goes out if Verify says so, and else the challenge does.
func (e *Endpoint) encodeAnswer(j *job, response message.Message, out outgoing) (answer, error) {
	if !isResponse(response.Code) {
		return answer{}, fmt.Errorf("handler returned %v", response.Code)
	}
	response = addressed(response, j, out)
	data, err := encodeDatagram(response)
	limit := j.allowance(out)
	switch {
	case err != nil:
		return answer{}, err
	case e.o.Trusted || isProtected(response) && !wantsLaterBlock(j.Message):
		return answer{data: data, free: true}, nil
	case len(data) <= limit && j.asks == nil:
		return answer{data: data}, nil
	}
	verified, challenge := e.verify(j.Message, j.request.Peer.Address)
	switch {
	case verified || len(data) <= limit:
		return answer{data: data, free: verified}, nil
	case challenge.Code == codes.Empty:
		return cut(response, limit)
	}
	a, err := limited(addressed(challenge, j, out), limit)
	a.other = true
	return a, err
}

// verify asks EndpointOptions.Verify.
func (e *Endpoint) verify(m message.Message, address string) (verified bool, challenge message.Message) {
	if e.o.Verify == nil {
		return false, message.Message{}
	}
	return e.o.Verify(&Request{Message: m, Peer: Peer{Address: address}})
}

// allowance is how many bytes an answer may have that is not free. An acknowledgement that went out before it counts as well.
func (j *job) allowance(out outgoing) int {
	if out.f != nil {
		return maxAmplification*j.size - headerLength
	}
	return maxAmplification * j.size
}

// wantsLaterBlock says whether m asks for a block after the first. Of a protected answer that a proxy fetches in outer blocks
// only the first comes out of a request that verified; the others anyone may ask for.
func wantsLaterBlock(m message.Message) bool {
	wanted, _, err := findBlock(m.Options, message.Block2)
	return err == nil && wanted.number > 0
}

// limited encodes a response in at most limit bytes if that can be.
func limited(response message.Message, limit int) (answer, error) {
	data, err := encodeDatagram(response)
	if err != nil || len(data) <= limit {
		return answer{data: data}, err
	}
	return cut(response, limit)
}

// cut takes the payload of a response longer than limit, and its options if that is not enough.
func cut(response message.Message, limit int) (answer, error) {
	if response.Code == codes.Content || isProtected(response) {
		// Content without its payload would be believed, and what is protected is nothing without it.
		return answer{}, fmt.Errorf("%w: at most %d bytes", errTooMuch, limit)
	}
	response.Payload = nil
	response.Options = without(response.Options, message.ETag, message.ContentFormat, message.Block2, message.Size2)
	data, err := encodeDatagram(response)
	if err != nil || len(data) > limit {
		response.Options = nil
		data, err = encodeDatagram(response)
	}
	return answer{data: data, other: true}, err
}

// affordable is how often a message of the given size may be sent within a budget of bytes.
func affordable(budget, size int) int { return min(maxTransmissions, budget/size) }
