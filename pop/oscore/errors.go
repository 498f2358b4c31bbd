package oscore

import (
	"errors"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// Errors that a caller tells apart. Those of UnprotectRequest become answers through ErrorResponse.
var (
	// ErrNoContext: no security context fits kid and kid context (RFC 8613 §8.2 step 2).
	ErrNoContext = errors.New("oscore: security context not found")
	// ErrDecode: the OSCORE option or the message around it is malformed (§8.2 step 2).
	ErrDecode = errors.New("oscore: malformed option or message")
	// ErrReplay: the number was received before or is older than the window (§7.4), or the exchange is already answered.
	ErrReplay = errors.New("oscore: replay detected")
	// ErrDecrypt: the ciphertext does not verify (§8.2 step 6).
	ErrDecrypt = errors.New("oscore: decryption failed")
	// ErrInner: the ciphertext verified but holds no CoAP message of the right kind.
	ErrInner = errors.New("oscore: malformed inner message")
	// ErrNotProtected: the response carries no OSCORE option; whoever sent it has shown nothing.
	ErrNotProtected = errors.New("oscore: response is not protected")
	// ErrExhausted: the sender sequence numbers are used up; the context can only be replaced (§7.2.1).
	ErrExhausted = errors.New("oscore: sender sequence numbers exhausted")
	// ErrUnprotectable: the message to protect is not one that OSCORE can carry.
	ErrUnprotectable = errors.New("oscore: message cannot be protected")
)

// answers maps errors to the unprotected answers of RFC 8613 §7.4 and §8.2.
var answers = []struct {
	err        error
	code       codes.Code
	diagnostic string
}{
	{ErrNoContext, codes.Unauthorized, "Security context not found"},
	{ErrDecode, codes.BadOption, "Failed to decode COSE"},
	{ErrReplay, codes.Unauthorized, "Replay detected"},
	{ErrDecrypt, codes.BadRequest, "Decryption failed"},
	{ErrInner, codes.BadRequest, ""},
	// The peer can only do what it does for a lost context: make a new one.
	{ErrExhausted, codes.Unauthorized, "Security context not found"},
}

// ErrorResponse is the unprotected answer to a request that could not be unprotected, with Max-Age 0 so that no proxy
// keeps it. Any other error is a bare 5.00. The answer proves nothing to its receiver.
func ErrorResponse(err error) message.Message {
	m := message.Message{Code: codes.InternalServerError, Options: message.Options{{ID: message.MaxAge, Value: []byte{}}}}
	for _, a := range answers {
		if errors.Is(err, a.err) {
			m.Code = a.code
			if a.diagnostic != "" {
				m.Payload = []byte(a.diagnostic)
			}
			break
		}
	}
	return m
}
