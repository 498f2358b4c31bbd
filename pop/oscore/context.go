package oscore

import (
	"bytes"
	"crypto/cipher"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/latchkey-ace/latchkey/internal/checks"
)

// Sequence keeps sender sequence numbers from being used twice across restarts (RFC 8613 appendix B.1.1). Journal is one.
type Sequence interface {
	// Reserve durably records, before it returns nil, that all numbers below limit may be in use. Limits only grow. It is
	// called with the context locked and must not call back into it.
	Reserve(limit uint64) error
}

// Options says what a context starts with. The zero value is a new context that lives in memory only.
type Options struct {
	Sequence   Sequence   // nil: memory only; the context must never be made again after a restart
	Next       uint64     // first sender sequence number: after a restart the last limit given to Sequence.Reserve
	WindowLost bool       // the replay window is unknown until RecoverWindow (appendix B.1.2), as it is whenever Next is not 0
	Schedules  *Schedules // nil: the context keeps its key schedules for ever
}

// Context is one security context (RFC 8613 §3). It is safe for concurrent use. At rest it takes less than 512 bytes of
// heap; its key schedules, about 1.3 KiB more, are made when first needed and kept as Options.Schedules allows.
type Context struct {
	sender     id
	recipient  id
	idContext  []byte
	kidContext []byte // as sent in requests; nil: none
	algorithm  *algorithm
	commonIV   [maxNonce]byte
	sendKey    [maxKey]byte
	receiveKey [maxKey]byte
	hot        atomic.Pointer[schedule]
	schedules  *Schedules
	failures   atomic.Uint32 // ciphertexts that did not verify
	sequence   Sequence

	mu         sync.Mutex
	next       uint64 // next sender sequence number
	reserved   uint64 // numbers below it may be used without asking sequence
	window     window
	windowLost bool
}

// id is a Sender or Recipient ID.
type id struct {
	bytes [MaxID]byte
	size  uint8
}

func makeID(b []byte) (x id) {
	x.size = uint8(copy(x.bytes[:], b))
	return x
}

func (x *id) slice() []byte { return x.bytes[:x.size:x.size] }

// New derives the context (RFC 8613 §3.2). The same Params must not be used again after the context is lost, unless
// Options.Next is above every number ever used.
func New(p Params, o Options) (*Context, error) {
	algorithm, err := algorithmOf(p.Algorithm)
	if err != nil {
		return nil, err
	}
	if err := p.check(algorithm); err != nil {
		return nil, err
	}
	c := &Context{
		sender:     makeID(p.SenderID),
		recipient:  makeID(p.RecipientID),
		idContext:  bytes.Clone(p.IDContext),
		algorithm:  algorithm,
		schedules:  o.Schedules,
		sequence:   o.Sequence,
		next:       o.Next,
		reserved:   o.Next,
		windowLost: o.WindowLost || o.Next > 0,
	}
	c.kidContext = c.idContext
	return c, c.derive(p)
}

func (c *Context) derive(p Params) error {
	d, err := p.deriver(c.algorithm.id)
	if err != nil {
		return err
	}
	defer clear(d.random)
	if err := d.derive(c.sendKey[:c.algorithm.keySize], c.sender.slice(), "Key"); err != nil {
		return err
	}
	if err := d.derive(c.receiveKey[:c.algorithm.keySize], c.recipient.slice(), "Key"); err != nil {
		return err
	}
	return d.derive(c.commonIV[:c.algorithm.nonce], nil, "IV")
}

// SenderID is the kid of this endpoint's requests. The caller must not change it.
func (c *Context) SenderID() []byte { return c.sender.slice() }

// RecipientID is the kid of the peer's requests. The caller must not change it.
func (c *Context) RecipientID() []byte { return c.recipient.slice() }

// IDContext is nil when there is none. The caller must not change it.
func (c *Context) IDContext() []byte { return c.idContext }

// KIDContext is what requests in both directions carry as kid context: the ID Context, and in appendix B.2 that wrapped in a
// CBOR byte string; nil when there is none. The caller must not change it.
func (c *Context) KIDContext() []byte { return c.kidContext }

// String names no secret.
func (c *Context) String() string {
	return fmt.Sprintf("oscore context %x to %x", c.SenderID(), c.RecipientID())
}

// GoString names no secret.
func (c *Context) GoString() string { return c.String() }

// Matches says whether a request with this option is meant for the context: kid is the Recipient ID, and kid context,
// which may be left out, is that of the context (RFC 8613 §5.1).
func (c *Context) Matches(o Option) bool {
	if !o.HasKID || !bytes.Equal(o.KID, c.recipient.slice()) {
		return false
	}
	return !o.HasKIDContext || c.kidContext != nil && bytes.Equal(o.KIDContext, c.kidContext)
}

// Exhausted says that the context has reached a usage limit of its keys and can only be replaced: MaxEncryptions, or the
// number of forgeries that the tag length allows. Whatever needs a used-up key fails with ErrExhausted.
func (c *Context) Exhausted() bool {
	c.mu.Lock()
	next := c.next
	c.mu.Unlock()
	return next >= MaxEncryptions || c.attacked()
}

// attacked says that so many ciphertexts did not verify that the next might be accepted by luck. The count starts anew
// with the program; that gains an attacker who waits for n restarts no more than n times the probability in limits.go.
func (c *Context) attacked() bool { return c.failures.Load() >= c.algorithm.failures }

// open decrypts, and counts what does not verify.
func (c *Context) open(aead cipher.AEAD, dst, nonce, ciphertext, aad []byte) ([]byte, error) {
	plaintext, err := aead.Open(dst, nonce, ciphertext, aad)
	if err != nil {
		c.failures.Add(1)
		return nil, ErrDecrypt
	}
	return plaintext, nil
}

// WindowLost says whether the replay window is unknown. Such a context unprotects requests, replayed ones too: see
// Exchange.WindowLost.
func (c *Context) WindowLost() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.windowLost
}

// RecoverWindow ends the loss of the replay window (RFC 8613 appendix B.1.2): the number of the request x, which the
// caller has found fresh by an Echo, and all below it count as received. When another request has recovered the window
// meanwhile, x is checked against it like any other: ErrReplay means that x must not be acted upon.
func (c *Context) RecoverWindow(x *Exchange) error {
	if x.owner != c || !x.served {
		return fmt.Errorf("%w: exchange of another context", ErrNoContext)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.windowLost {
		c.window.startAt(x.number())
		c.windowLost = false
		return nil
	}
	if !c.window.fresh(x.number()) {
		return ErrReplay
	}
	c.window.mark(x.number())
	return nil
}

// admissible is the check before decryption; admit repeats it and moves the window. RFC 8613 §8.2 steps 3 and 6.
func (c *Context) admissible(number uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !checks.Replay || c.windowLost || c.window.fresh(number)
}

func (c *Context) admit(number uint64) (windowLost bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.windowLost {
		return true, nil
	}
	if checks.Replay && !c.window.fresh(number) {
		return false, ErrReplay
	}
	c.window.mark(number)
	return false, nil
}

// nextNumber gives each number at most once, also across restarts if there is a Sequence.
func (c *Context) nextNumber() (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next >= MaxEncryptions {
		return 0, ErrExhausted
	}
	if c.sequence != nil && c.next >= c.reserved {
		limit := min(c.next+ReserveBatch, MaxEncryptions)
		if err := c.sequence.Reserve(limit); err != nil {
			return 0, fmt.Errorf("oscore: reserve sender sequence numbers: %w", err)
		}
		c.reserved = limit
	}
	number := c.next
	c.next++
	return number, nil
}
