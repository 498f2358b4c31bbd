package coapsec

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/bits"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// maxUploadBlocks is where the numbers of blocks end (RFC 7959 §2.2: 20 bits).
const maxUploadBlocks = 1 << 20

var (
	errBlockAnswer   = errors.New("block upload: answer does not fit the block sent")
	errUploadTooLong = errors.New("block upload: payload too long")
)

// UploadBlocks divides request payloads longer than size into blocks (RFC 7959 Block1), each an exchange of its own
// over x; shorter ones pass unchanged. size is a power of two from 16 to 1024; other values are rounded down to one, or
// up to 16. A server that asks for smaller blocks gets them.
//
// An upload carries a fresh Request-Tag, so that blocks of two are never mixed (RFC 9175 §3). Any answer but 2.31 ends
// it and is returned, without Block1. The request must have no Block1 and no Request-Tag.
func UploadBlocks(x Exchanger, size int) Exchanger {
	exponent := bits.Len(uint(max(size, 16))) - 5
	return &uploader{x, uint(min(exponent, maxBlockExponent))}
}

type uploader struct {
	x        Exchanger
	exponent uint
}

// Exchange implements Exchanger.
func (u *uploader) Exchange(ctx context.Context, request message.Message) (message.Message, error) {
	part := block{exponent: u.exponent}
	if len(request.Payload) <= part.size() {
		return u.x.Exchange(ctx, request)
	}
	if len(request.Payload) > maxUploadBlocks*16 {
		return message.Message{}, errUploadTooLong
	}
	for {
		response, smaller, err := u.upload(ctx, request, part.exponent)
		if err != nil || smaller == part.exponent {
			response.Options = without(response.Options, message.Block1)
			return response, err
		}
		part.exponent = smaller
	}
}

// upload sends the payload in blocks of the given size or smaller. If the first one is refused as too large with a hint
// at a smaller size (RFC 7959 §2.9.3), that size is returned; else exponent.
func (u *uploader) upload(ctx context.Context, request message.Message, exponent uint) (message.Message, uint, error) {
	var tag [requestTagLength]byte
	_, _ = rand.Read(tag[:]) // never fails
	part := block{exponent: exponent, more: true}
	for offset := 0; ; {
		part.number = offset / part.size()
		end := min(offset+part.size(), len(request.Payload))
		part.more = end < len(request.Payload)
		response, err := u.x.Exchange(ctx, blockRequest(request, part, tag[:], end))
		if err != nil {
			return message.Message{}, exponent, err
		}
		echoed, found, err := findBlock(response.Options, message.Block1)
		switch {
		case err != nil, found && echoed.number != part.number:
			return message.Message{}, exponent, errBlockAnswer
		case response.Code == codes.RequestEntityTooLarge && offset == 0 && found && echoed.exponent < part.exponent:
			return response, echoed.exponent, nil
		case response.Code != codes.Continue && part.more && response.Code < codes.BadRequest:
			// A server that takes each block for a whole has not taken the request.
			return message.Message{}, exponent, fmt.Errorf("%w: %v before the last", errBlockAnswer, response.Code)
		case response.Code != codes.Continue:
			return response, exponent, nil
		case !part.more, !found:
			return message.Message{}, exponent, errBlockAnswer
		}
		offset = end
		part.exponent = min(part.exponent, echoed.exponent)
	}
}

// blockRequest is the part of request's payload that ends at end. The first one tells the size of the whole.
func blockRequest(request message.Message, part block, tag []byte, end int) message.Message {
	options := without(request.Options, message.Block1, message.Size1, optionRequestTag)
	options = options.Add(part.option(message.Block1))
	if part.number == 0 {
		options = options.Add(message.Option{ID: message.Size1, Value: uintOption(uint32(len(request.Payload)))})
	}
	request.Options = options.Add(message.Option{ID: optionRequestTag, Value: tag})
	request.Payload = request.Payload[part.offset():end]
	return request
}
