package coapsec

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// BlockwiseOptions adjusts Blockwise. Its zero fields are the safe defaults.
type BlockwiseOptions struct {
	Now       func() time.Time // nil: time.Now
	MaxBody   int              // bytes of one upload; 0: 4096
	MaxAnswer int              // bytes of one answer that is longer than a block; 0: 8192
	BlockSize int              // bytes of a block, 16 to 1024; a client that asks for smaller ones gets them. 0: 1024, and what fits a datagram is not divided unasked
	PerPeer   int              // bytes a peer may have under way, 512 counted for each body beside its own; 0: two of the longest
	Total     int              // bytes under way in all, counted likewise; 0: 1 MiB. Half is kept for peers who showed a key
	Lifetime  time.Duration    // of a body since its last block; 0: 60 s
}

func (o *BlockwiseOptions) setDefaults() {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MaxBody <= 0 {
		o.MaxBody = defaultMaxBody
	}
	if o.MaxAnswer <= 0 {
		o.MaxAnswer = defaultMaxAnswer
	}
	if o.PerPeer <= 0 {
		o.PerPeer = 2 * (max(o.MaxBody, o.MaxAnswer) + uploadOverhead)
	}
	if o.Total <= 0 {
		o.Total = max(defaultBodyTotal, 4*o.PerPeer)
	}
	if o.Lifetime <= 0 {
		o.Lifetime = defaultBodyLifetime
	}
	// A body alone must not break the bounds on all of them.
	longest := max(0, min(o.PerPeer, o.Total/2)-uploadOverhead)
	o.MaxBody, o.MaxAnswer = min(o.MaxBody, longest), min(o.MaxAnswer, longest)
}

// Blockwise is the server's side of RFC 7959, in which h sees whole bodies only. Requests belong together if peer, security
// context or session, code, Request-Tag and all other options by which operations are told apart (RFC 9175 §3.3) are the
// same, whatever their tokens.
//
// An upload (Block1) reaches h as one request, without Block1, Size1 and Request-Tag, once its last block is there; h never
// sees a part. What is missing is 4.08, what is too long 4.13.
//
// An answer longer than a block goes in blocks (Block2), each with the ETag that h gave or, if it gave none, one of the
// content. h is called once for it; what it said is kept for the blocks that follow. When it is not there any more, a GET is
// answered anew, since GET changes nothing and the ETag tells the client whether its first blocks still hold; to every other
// request the later block is 4.08, because h must not act again. Notifications of an observation are divided likewise, the
// blocks after the first to be fetched by GET (RFC 7959 §2.6).
//
// What h has done for an unprotected request cannot be taken back for a longer answer than its address may get: the blocks of
// the answer to such a request, unless it is a GET or FETCH, are small enough for three times the request's length.
func Blockwise(h Handler, o BlockwiseOptions) Handler { return newBlockwise(h, o) }

func newBlockwise(h Handler, o BlockwiseOptions) *blockwise {
	o.setDefaults()
	return &blockwise{
		handler: h, o: o, exponent: blockExponent(o.BlockSize),
		protected: newTransfers(o), unprotected: newTransfers(o),
	}
}

type blockwise struct {
	handler     Handler
	o           BlockwiseOptions
	exponent    uint // of our own blocks, and those we ask for
	askedOnly   bool // answers are divided for those who name a size
	protected   *transfers
	unprotected *transfers
}

// bodies is where the bodies of a peer are.
func (b *blockwise) bodies(peer transferPeer) *transfers {
	if peer.protected() {
		return b.protected
	}
	return b.unprotected
}

// ServeCoAP implements Handler.
func (b *blockwise) ServeCoAP(ctx context.Context, request *Request) message.Message {
	wanted, asked, err := findBlock(request.Options, message.Block2)
	if err != nil {
		return message.Message{Code: codes.BadOption}
	}
	part, isPart, err := findBlock(request.Options, message.Block1)
	switch {
	case err != nil:
		return message.Message{Code: codes.BadOption}
	case wanted.number > 0 && isPart:
		// RFC 7959 §2.7: while the request is on its way only the first block of its answer can be meant.
		return message.Message{Code: codes.BadRequest}
	case wanted.number > 0:
		return b.later(ctx, request, wanted)
	}
	if !asked {
		wanted.exponent = maxBlockExponent
	}
	a := answering{
		request: request, exponent: min(b.exponent, wanted.exponent),
		whole: b.askedOnly && !asked, roomy: b.o.BlockSize == 0 && !asked,
	}
	switch {
	case isPart:
		return b.take(ctx, a, part)
	case asked:
		return b.pass(ctx, a, request.Payload)
	}
	return b.ask(ctx, a, request)
}

// take adds a block and, if it was the last, asks the handler. RFC 7959 §2.3: the answer to a block names it, with a
// smaller size in the first if we want that from then on; More is set only while more is expected.
func (b *blockwise) take(ctx context.Context, a answering, part block) message.Message {
	response := b.upload(ctx, a, part)
	part.more = response.Code == codes.Continue
	if part.more && part.number == 0 {
		part.exponent = min(part.exponent, b.exponent)
	}
	response.Options = without(response.Options, message.Block1).Add(part.option(message.Block1))
	return response
}

func (b *blockwise) upload(ctx context.Context, a answering, part block) message.Message {
	request := a.request
	if part.more && len(request.Payload) != part.size() || len(request.Payload) > part.size() {
		return message.Message{Code: codes.BadRequest}
	}
	key := uploadKeyOf(request)
	all := b.bodies(key.peer)
	announced, err := request.Options.GetUint32(message.Size1)
	if part.offset()+len(request.Payload) > b.o.MaxBody || err == nil && uint64(announced) > uint64(b.o.MaxBody) {
		all.abandon(key)
		return b.tooLarge()
	}
	body, code := all.add(key, part, request.Payload)
	if code != 0 {
		return message.Message{Code: code}
	}
	response := b.pass(ctx, a, body)
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
func (b *blockwise) pass(ctx context.Context, a answering, body []byte) message.Message {
	whole := *a.request
	whole.Options = without(whole.Options, message.Block1, message.Block2, message.Size1, message.Size2, optionRequestTag)
	whole.Payload = body
	return b.ask(ctx, a, &whole)
}

// ask calls the handler with a whole request and divides what it answers.
func (b *blockwise) ask(ctx context.Context, a answering, request *Request) message.Message {
	var o *dividedObservation
	if request.Observation != nil {
		o = &dividedObservation{Observation: request.Observation, b: b, a: a, key: answerKeyOf(a.request)}
		o.a.request = nil
		observed := *request
		observed.Observation = o
		request = &observed
	}
	response := b.handler.ServeCoAP(ctx, request)
	if !b.askedOnly {
		a.limit(response)
	}
	switch {
	case a.fits(response):
		return response
	case o != nil:
		return o.first(a.exponent, response)
	}
	return b.divide(answerKeyOf(a.request), a.exponent, response)
}

// divide keeps a response that is longer than a block, and returns its first block.
func (b *blockwise) divide(key transferKey, exponent uint, response message.Message) message.Message {
	if len(response.Payload) > b.o.MaxAnswer {
		return message.Message{Code: codes.InternalServerError}
	}
	response.Payload = bytes.Clone(response.Payload) // it may be the handler's own
	response = tagged(response)
	kept := response
	kept.Options = withoutObserve(response.Options)
	if !b.bodies(key.peer).keep(key, kept) {
		return message.Message{Code: codes.InternalServerError}
	}
	return blockOf(response, block{exponent: exponent})
}

// later answers a request for a block after the first.
func (b *blockwise) later(ctx context.Context, request *Request, wanted block) message.Message {
	wanted.number <<= wanted.exponent - min(wanted.exponent, b.exponent)
	wanted.exponent = min(wanted.exponent, b.exponent)
	key := answerKeyOf(request)
	if answer, ok := b.bodies(key.peer).kept(key); ok {
		return blockOf(answer, wanted)
	}
	if request.Code != codes.GET {
		return message.Message{Code: codes.RequestEntityIncomplete}
	}
	again := *request
	again.Observation = nil // only a request for the first block begins one
	first := b.pass(ctx, answering{request: &again, exponent: wanted.exponent}, request.Payload)
	if answer, ok := b.bodies(key.peer).kept(key); ok {
		return blockOf(answer, wanted)
	}
	if first.Code < codes.BadRequest {
		return message.Message{Code: codes.BadRequest} // it has become so short that there is no such block
	}
	return first
}

// dividedObservation is an observation whose notifications may be longer than a block. What is kept is what was told last.
type dividedObservation struct {
	Observation
	b   *blockwise
	a   answering
	key transferKey

	mu   sync.Mutex
	told bool
}

// first divides the first answer. When the handler has notified already it must not take the newer state's place: who asks
// for its later blocks finds another ETag, and hears of the newer state.
func (o *dividedObservation) first(exponent uint, response message.Message) message.Message {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.told {
		return blockOf(tagged(response), block{exponent: exponent})
	}
	return o.b.divide(o.key, exponent, response)
}

// Notify implements Observation.
func (o *dividedObservation) Notify(ctx context.Context, m message.Message) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.told = true
	if !o.a.fits(m) {
		m = o.b.divide(o.key, o.a.exponent, m)
	}
	return o.Observation.Notify(ctx, m)
}
