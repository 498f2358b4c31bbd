package coapsec

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// rest fetches the blocks that first, the answer to operation, is only the beginning of (RFC 7959 §2.4), and returns the
// whole. An error answer to a GET for a later block is returned as it is; any other change is ErrPartialAnswer.
func (b *blocks) rest(ctx context.Context, operation, first message.Message) (message.Message, error) {
	part, found, err := findBlock(first.Options, message.Block2)
	switch {
	case err != nil, found && part.number != 0:
		return message.Message{}, fmt.Errorf("%w: not its first block", ErrPartialAnswer)
	case !found:
		return first, nil
	}
	d := download{first: first, part: part, body: slices.Clip(first.Payload)}
	if announced, err := first.Options.GetUint32(message.Size2); err == nil && uint64(announced) > uint64(b.longest) {
		return message.Message{}, fmt.Errorf("%w: %d bytes, at most %d", ErrPartialAnswer, announced, b.longest)
	}
	for d.part.more {
		if err := d.check(b.longest); err != nil {
			return message.Message{}, err
		}
		response, err := b.x.Exchange(ctx, d.next(operation))
		if err != nil {
			return message.Message{}, err
		}
		if operation.Code == codes.GET && response.Code >= codes.BadRequest && response.Code != first.Code {
			return response, nil
		}
		if err := d.add(response); err != nil {
			return message.Message{}, err
		}
	}
	if len(d.body) > b.longest {
		return message.Message{}, fmt.Errorf("%w: more than %d bytes", ErrPartialAnswer, b.longest)
	}
	whole := first
	whole.Options, whole.Payload = without(first.Options, message.Block2, message.Size2), d.body
	return whole, nil
}

// download is an answer being put together.
type download struct {
	first message.Message
	part  block  // the last one that came
	body  []byte // all that came
}

// check says whether what came so far can be gone on with.
func (d *download) check(longest int) error {
	switch size := d.part.size(); {
	case len(d.body) != d.part.offset()+size:
		return fmt.Errorf("%w: block of a wrong length", ErrPartialAnswer)
	case len(d.body) >= longest, d.part.number == maxBlockNumber:
		return fmt.Errorf("%w: more than %d bytes", ErrPartialAnswer, longest)
	}
	return nil
}

// next asks for the next block, with the options of the operation. It observes nothing, and only FETCH, whose payload is a
// part of what it names, says it again (RFC 8132 §2.3.1): a server that knows no blocks must not act upon it twice.
func (d *download) next(operation message.Message) message.Message {
	next := block{number: len(d.body) / d.part.size(), exponent: d.part.exponent}
	operation.Options = without(operation.Options, message.Observe).Add(next.option(message.Block2))
	if operation.Code != fetch {
		operation.Payload = nil
	}
	return operation
}

// add takes the answer to next.
func (d *download) add(response message.Message) error {
	part, found, err := findBlock(response.Options, message.Block2)
	switch {
	case response.Code != d.first.Code:
		return fmt.Errorf("%w: then %v", ErrPartialAnswer, response.Code)
	case err != nil, !found, part.exponent > d.part.exponent, part.offset() != len(d.body), len(response.Payload) > part.size():
		return fmt.Errorf("%w: another block than was asked for", ErrPartialAnswer)
	case !bytes.Equal(entityTag(response), entityTag(d.first)):
		return errBodyChanged
	}
	d.part = part
	d.body = append(d.body, response.Payload...)
	return nil
}

// entityTag is the ETag of a message, nil for none.
func entityTag(m message.Message) []byte {
	for i := range m.Options {
		if m.Options[i].ID == message.ETag {
			return m.Options[i].Value
		}
	}
	return nil
}
