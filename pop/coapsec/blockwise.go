package coapsec

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"time"

	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// BlockwiseOptions adjusts Blockwise. Its zero fields are the safe defaults.
type BlockwiseOptions struct {
	Now      func() time.Time // nil: time.Now
	MaxBody  int              // bytes of one upload; 0: 4096
	PerPeer  int              // bytes a peer may have under way, 512 counted for each upload beside its own; 0: two whole uploads
	Total    int              // bytes under way in all, counted likewise; 0: 1 MiB. Half is kept for protected uploads
	Lifetime time.Duration    // of an upload since its last block; 0: 60 s
}

func (o *BlockwiseOptions) setDefaults() {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MaxBody <= 0 {
		o.MaxBody = defaultMaxBody
	}
	if o.PerPeer <= 0 {
		o.PerPeer = 2 * (o.MaxBody + uploadOverhead)
	}
	if o.Total <= 0 {
		o.Total = max(defaultBodyTotal, 4*o.PerPeer)
	}
	if o.Lifetime <= 0 {
		o.Lifetime = defaultBodyLifetime
	}
}

// Blockwise puts uploads together (RFC 7959 Block1, RFC 9175 Request-Tag) and gives h each as one request, without
// Block1, Size1 and Request-Tag. Blocks belong together if peer, security context, code and all options that are part
// of the cache key are the same, whatever their tokens. h never sees a part of an upload.
//
// Answers are not divided: a request for the first block of one (Block2) gets it whole, for a later block 4.02.
func Blockwise(h Handler, o BlockwiseOptions) Handler {
	o.setDefaults()
	return &blockwise{handler: h, o: o, protected: newUploads(o), unprotected: newUploads(o)}
}

type blockwise struct {
	handler     Handler
	o           BlockwiseOptions
	protected   *uploads
	unprotected *uploads
}

// ServeCoAP implements Handler.
func (b *blockwise) ServeCoAP(ctx context.Context, request *Request) message.Message {
	wanted, asked, err := findBlock(request.Options, message.Block2)
	if err != nil || asked && wanted.number > 0 {
		return message.Message{Code: codes.BadOption}
	}
	part, isPart, err := findBlock(request.Options, message.Block1)
	switch {
	case err != nil:
		return message.Message{Code: codes.BadOption}
	case !isPart && !asked:
		return b.handler.ServeCoAP(ctx, request)
	case !isPart:
		return b.pass(ctx, request, request.Payload)
	}
	response := b.take(ctx, request, part)
	// RFC 7959 §2.3: the answer to a block names it. More is set only while more is expected.
	part.more = response.Code == codes.Continue
	response.Options = without(response.Options, message.Block1).Add(part.option(message.Block1))
	return response
}

// take adds a block and, if it was the last, asks the handler.
func (b *blockwise) take(ctx context.Context, request *Request, part block) message.Message {
	if part.more && len(request.Payload) != part.size() || len(request.Payload) > part.size() {
		return message.Message{Code: codes.BadRequest}
	}
	all := b.unprotected
	if request.Peer.Context != nil {
		all = b.protected
	}
	key := uploadKeyOf(request)
	announced, err := request.Options.GetUint32(message.Size1)
	if part.offset()+len(request.Payload) > b.o.MaxBody || err == nil && uint64(announced) > uint64(b.o.MaxBody) {
		all.abandon(key)
		return b.tooLarge()
	}
	body, code := all.add(key, part, request.Payload)
	if code != 0 {
		return message.Message{Code: code}
	}
	response := b.pass(ctx, request, body)
	if response.Code == codes.Unauthorized && part.number > 0 && response.Options.HasOption(OptionEcho) {
		// The client repeats the block that was challenged, and that one alone.
		all.reopen(key, body[:part.offset():part.offset()])
	}
	return response
}

func (b *blockwise) tooLarge() message.Message {
	return message.Message{
		Code:    codes.RequestEntityTooLarge,
		Options: message.Options{{ID: message.Size1, Value: uintOption(uint32(b.o.MaxBody))}},
	}
}

// pass hands on a request as if it had come whole.
func (b *blockwise) pass(ctx context.Context, request *Request, body []byte) message.Message {
	whole := *request
	whole.Options = without(request.Options, message.Block1, message.Block2, message.Size1, optionRequestTag)
	whole.Payload = body
	return b.handler.ServeCoAP(ctx, &whole)
}

// uploadPeer is who uploads: an address, and under which security context.
type uploadPeer struct {
	address string
	context *oscore.Context
}

// uploadKey names an upload. digest is over the code and the options of the cache key (RFC 9175 §3.3), Request-Tag
// among them.
type uploadKey struct {
	peer   uploadPeer
	digest [sha256.Size]byte
}

func uploadKeyOf(request *Request) uploadKey {
	text := []byte{byte(request.Code)}
	for _, o := range request.Options {
		if o.ID == message.Block1 || o.ID == message.Block2 || o.ID&0x1e == 0x1c {
			continue // NoCacheKey: RFC 7252 §5.4.6
		}
		text = binary.BigEndian.AppendUint16(text, uint16(o.ID))
		text = binary.BigEndian.AppendUint32(text, uint32(len(o.Value)))
		text = append(text, o.Value...)
	}
	return uploadKey{uploadPeer{request.Peer.Address, request.Peer.Context}, sha256.Sum256(text)}
}

// block is the value of Block1 or Block2 (RFC 7959 §2.2).
type block struct {
	number   int
	more     bool
	exponent uint // SZX: the size is 16 << exponent
}

var errBlockOption = errors.New("malformed block option")

func (b block) size() int   { return 16 << b.exponent }
func (b block) offset() int { return b.number * b.size() }

// option encodes b; its number is below 2^20.
func (b block) option(id message.OptionID) message.Option {
	v := uint32(b.number)<<4 | uint32(b.exponent)
	if b.more {
		v |= 8
	}
	return message.Option{ID: id, Value: uintOption(v)}
}

// findBlock reads the block option numbered id; found is false if there is none.
func findBlock(options message.Options, id message.OptionID) (b block, found bool, err error) {
	for _, o := range options {
		if o.ID != id {
			continue
		}
		if found || len(o.Value) > 3 {
			return block{}, false, errBlockOption
		}
		found = true
		var value uint32
		for _, c := range o.Value {
			value = value<<8 | uint32(c)
		}
		b = block{number: int(value >> 4), more: value&8 != 0, exponent: uint(value & 7)}
		if b.exponent > maxBlockExponent {
			return block{}, false, errBlockOption
		}
	}
	return b, found, nil
}
