package coapsec

import (
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// Code points of integrity tokens at a device (D21, docs/adr/0053). None is registered.
const (
	// OptionIntegrity carries an integrity token as compact JWS. It is of the range for experiments (RFC 7252 §12.2), elective, safe to
	// forward, and inside a protected message.
	OptionIntegrity message.OptionID = 65000
	// MaxIntegrity is the length of the longest, in bytes: it is part of one datagram.
	MaxIntegrity = 1024
	// IntegrityWanted is the diagnostic of a 4.01 with an Echo that asks for a token for that Echo, and not for the Echo alone.
	IntegrityWanted = "integrity token wanted"
)

// Wish returns the Echo for which a response wants an integrity token, nil for any other response.
func Wish(response message.Message) []byte {
	if response.Code != codes.Unauthorized || string(response.Payload) != IntegrityWanted {
		return nil
	}
	return echoOf(response)
}

// WithIntegrity is a request with an integrity token for an Echo; the request stays as it is.
func WithIntegrity(request message.Message, echo []byte, token string) message.Message {
	var options message.Options
	for _, o := range request.Options {
		if o.ID != OptionIntegrity {
			options = append(options, o)
		}
	}
	request.Options = withEcho(options, echo).Add(message.Option{ID: OptionIntegrity, Value: []byte(token)})
	return request
}

// Integrity returns the integrity token of a request; nil where there is none, or more than one.
func Integrity(request message.Message) (token []byte) {
	for _, o := range request.Options {
		if o.ID != OptionIntegrity {
			continue
		}
		if token != nil {
			return nil
		}
		token = o.Value
	}
	return token
}
