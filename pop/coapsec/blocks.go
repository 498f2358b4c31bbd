package coapsec

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

var (
	// ErrPartialAnswer is for an answer of which only some blocks came, or more than may be taken. The request has been
	// acted upon.
	ErrPartialAnswer = errors.New("answer came only in part")

	errBlockAnswer   = errors.New("block upload: answer does not fit the block sent")
	errUploadTooLong = errors.New("block upload: payload too long")
	errBodyChanged   = fmt.Errorf("%w: it changed meanwhile", ErrPartialAnswer)
)

// BlocksOptions adjusts Blocks. Sizes are rounded down to a power of two from 16 to 1024.
type BlocksOptions struct {
	Size       int // bytes of a block of a request; longer payloads are divided. 0: 1024
	AnswerSize int // bytes of a block of an answer, asked for in every request; 0: as the server likes, nothing is asked
	MaxAnswer  int // bytes of one answer; 0: 65536
}

// Blocks is the client's side of RFC 7959 over x: payloads longer than a block go in blocks, each an exchange of its own, and
// answers that come in blocks are put together. Requests must have no Block1, Block2, Size1 and Request-Tag; answers have no
// Block1, Block2 and Size2.
//
// An upload carries a fresh Request-Tag, so that blocks of two are never mixed (RFC 9175 §3). A server that asks for smaller
// blocks gets them. Any answer but 2.31 ends the upload and is returned.
//
// The blocks of an answer must have one ETag, or none. When a GET finds another, its download begins again, twice at most;
// an answer to any other request is then lost: ErrPartialAnswer.
//
// It is an Observer if x is one. Of a notification whose later blocks belong to a newer state already nothing is told; the
// server is about to notify of that.
func Blocks(x Exchanger, o BlocksOptions) Exchanger {
	b := &blocks{x: x, exponent: blockExponent(o.Size), ask: o.AnswerSize != 0, answer: blockExponent(o.AnswerSize), longest: o.MaxAnswer}
	if b.longest <= 0 {
		b.longest = defaultMaxDownload
	}
	if observer, ok := x.(Observer); ok {
		return &observingBlocks{b, observer}
	}
	return b
}

// UploadBlocks is Blocks with blocks of the given size for uploads, at least 16 bytes.
func UploadBlocks(x Exchanger, size int) Exchanger {
	return Blocks(x, BlocksOptions{Size: max(size, 16)})
}

type blocks struct {
	x        Exchanger
	exponent uint // of the blocks sent
	ask      bool
	answer   uint // of the blocks asked for, if ask
	longest  int
}

// Exchange implements Exchanger.
func (b *blocks) Exchange(ctx context.Context, request message.Message) (message.Message, error) {
	for restarts := 0; ; restarts++ {
		response, operation, err := b.send(ctx, request)
		if err != nil {
			return message.Message{}, err
		}
		response, err = b.rest(ctx, operation, response)
		if !errors.Is(err, errBodyChanged) || request.Code != codes.GET || restarts == maxRestarts {
			return response, err
		}
	}
}

// send gives the whole request. It returns the first answer to it, without Block1, and the operation that the blocks of the
// answer belong to.
func (b *blocks) send(ctx context.Context, request message.Message) (message.Message, message.Message, error) {
	part := block{exponent: b.exponent}
	if len(request.Payload) <= part.size() {
		response, err := b.x.Exchange(ctx, b.asking(request))
		return response, request, err
	}
	if len(request.Payload) > maxBlockNumber*16 {
		return message.Message{}, request, errUploadTooLong
	}
	for {
		var tag [requestTagLength]byte
		_, _ = rand.Read(tag[:]) // never fails
		operation := request
		operation.Options = without(request.Options, message.Block1, message.Size1, optionRequestTag).
			Add(message.Option{ID: optionRequestTag, Value: tag[:]})
		response, smaller, err := b.upload(ctx, operation, part.exponent)
		if err != nil || smaller == part.exponent {
			response.Options = without(response.Options, message.Block1)
			operation.Payload = nil
			return response, operation, err
		}
		part.exponent = smaller
	}
}

// asking adds the size of blocks we want the answer in.
func (b *blocks) asking(request message.Message) message.Message {
	if b.ask {
		request.Options = without(request.Options).Add(block{exponent: b.answer}.option(message.Block2))
	}
	return request
}

// upload sends the payload in blocks of the given size or smaller. If the first one is refused as too large with a hint
// at a smaller size (RFC 7959 §2.9.3), that size is returned; else exponent.
func (b *blocks) upload(ctx context.Context, operation message.Message, exponent uint) (message.Message, uint, error) {
	part := block{exponent: exponent, more: true}
	for offset := 0; ; {
		part.number = offset / part.size()
		end := min(offset+part.size(), len(operation.Payload))
		part.more = end < len(operation.Payload)
		response, err := b.x.Exchange(ctx, b.partOf(operation, part, end))
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

// partOf is the part of the operation's payload that ends at end. The first one tells the size of the whole, the last one
// asks for the answer.
func (b *blocks) partOf(operation message.Message, part block, end int) message.Message {
	request := operation
	request.Options = without(operation.Options).Add(part.option(message.Block1))
	if part.number == 0 {
		request.Options = request.Options.Add(message.Option{ID: message.Size1, Value: uintOption(uint32(len(operation.Payload)))})
	}
	request.Payload = operation.Payload[part.offset():end]
	if !part.more {
		return b.asking(request)
	}
	return request
}

type observingBlocks struct {
	*blocks
	observer Observer
}

// Observe implements Observer. The request's payload must fit a block.
func (b *observingBlocks) Observe(ctx context.Context, request message.Message, each func(message.Message) error) error {
	if len(request.Payload) > (block{exponent: b.exponent}).size() {
		return errUploadTooLong
	}
	return b.observer.Observe(ctx, b.asking(request), func(m message.Message) error {
		whole, err := b.rest(ctx, request, m)
		switch {
		case errors.Is(err, errBodyChanged):
			return nil
		case err != nil:
			return err
		}
		return each(whole)
	})
}
