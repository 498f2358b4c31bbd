package oscore

import (
	"bytes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/latchkey-ace/latchkey/internal/checks"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/internal/ccm"
)

// Sequence keeps sender sequence numbers from being used twice across restarts (RFC 8613 appendix B.1.1).
type Sequence interface {
	// Reserve durably records, before it returns nil, that all numbers below limit may be in use. Limits only grow. It is
	// called with the context locked and must not call back into it.
	Reserve(limit uint64) error
}

// Options says what a context starts with. The zero value is a new context that lives in memory only.
type Options struct {
	Sequence   Sequence // nil: memory only; the context must never be made again after a restart
	Next       uint64   // first sender sequence number: after a restart the last limit given to Sequence.Reserve
	WindowLost bool     // the replay window is unknown until RecoverWindow (appendix B.1.2)
}

// Context is one security context (RFC 8613 §3). It is safe for concurrent use.
type Context struct {
	senderID    []byte
	recipientID []byte
	idContext   []byte
	kidContext  []byte // as sent in requests; nil: none
	algorithm   cose.Algorithm
	commonIV    [ccm.NonceSize]byte
	send        cipher.AEAD
	receive     cipher.AEAD
	sequence    Sequence

	mu         sync.Mutex
	next       uint64 // next sender sequence number
	reserved   uint64 // numbers below it may be used without asking sequence
	window     window
	windowLost bool
}

// New derives the context (RFC 8613 §3.2). The same Params must not be used again after the context is lost, unless
// Options.Next is above every number ever used.
func New(p Params, o Options) (*Context, error) {
	if p.Algorithm == 0 {
		p.Algorithm = algorithmCCM64
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	send, err := p.aead(p.SenderID)
	if err != nil {
		return nil, err
	}
	receive, err := p.aead(p.RecipientID)
	if err != nil {
		return nil, err
	}
	iv, err := p.derive(nil, "IV", ccm.NonceSize)
	if err != nil {
		return nil, err
	}
	c := &Context{
		senderID:    bytes.Clone(p.SenderID),
		recipientID: bytes.Clone(p.RecipientID),
		idContext:   bytes.Clone(p.IDContext),
		algorithm:   p.Algorithm,
		commonIV:    [ccm.NonceSize]byte(iv),
		send:        send,
		receive:     receive,
		sequence:    o.Sequence,
		next:        o.Next,
		reserved:    o.Next,
		windowLost:  o.WindowLost,
	}
	c.kidContext = c.idContext
	return c, nil
}

// SenderID is the kid of this endpoint's requests. The caller must not change it.
func (c *Context) SenderID() []byte { return c.senderID }

// RecipientID is the kid of the peer's requests. The caller must not change it.
func (c *Context) RecipientID() []byte { return c.recipientID }

// IDContext is nil when there is none. The caller must not change it.
func (c *Context) IDContext() []byte { return c.idContext }

// String names no secret.
func (c *Context) String() string {
	return fmt.Sprintf("oscore context %x to %x", c.senderID, c.recipientID)
}

// GoString names no secret.
func (c *Context) GoString() string { return c.String() }

// Matches says whether a request with this option is meant for the context: kid is the Recipient ID, and kid context,
// which may be left out, is that of the context (RFC 8613 §5.1).
func (c *Context) Matches(o Option) bool {
	if !o.HasKID || !bytes.Equal(o.KID, c.recipientID) {
		return false
	}
	return !o.HasKIDContext || c.kidContext != nil && bytes.Equal(o.KIDContext, c.kidContext)
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
	if c.next > MaxSequence {
		return 0, ErrExhausted
	}
	if c.sequence != nil && c.next >= c.reserved {
		limit := min(c.next+ReserveBatch, MaxSequence+1)
		if err := c.sequence.Reserve(limit); err != nil {
			return 0, fmt.Errorf("oscore: reserve sender sequence numbers: %w", err)
		}
		c.reserved = limit
	}
	number := c.next
	c.next++
	return number, nil
}

// maxAAD is the longest Enc_structure of RFC 8613 §5.4: 11 fixed bytes, a header and an array of 20.
const maxAAD = 32

// Exchange binds a response to its request: kid and Partial IV of the request (RFC 8613 §8). It belongs to one request
// and is safe for concurrent use.
type Exchange struct {
	owner      *Context
	served     bool // made by UnprotectRequest
	windowLost bool
	answered   atomic.Bool // the request's nonce has protected a response, or a response was accepted
	pivSize    uint8
	aadSize    uint8
	piv        [MaxPartialIV]byte
	nonce      [ccm.NonceSize]byte
	aad        [maxAAD]byte
}

// WindowLost says that the request was unprotected without a replay window: it may be a replay, and must not be acted
// upon before RecoverWindow.
func (x *Exchange) WindowLost() bool { return x.windowLost }

func (x *Exchange) partialIV() []byte { return x.piv[:x.pivSize] }

func (x *Exchange) number() uint64 {
	var n uint64
	for _, b := range x.partialIV() {
		n = n<<8 | uint64(b)
	}
	return n
}

// newExchange computes nonce and additional data of a request once for both directions.
func (c *Context) newExchange(kid, piv []byte) *Exchange {
	x := &Exchange{owner: c, pivSize: uint8(len(piv))}
	copy(x.piv[:], piv)
	c.makeNonce(&x.nonce, kid, piv)
	x.aadSize = uint8(len(c.appendAAD(x.aad[:0], kid, piv)))
	return x
}

// makeNonce is RFC 8613 §5.2.
func (c *Context) makeNonce(nonce *[ccm.NonceSize]byte, id, piv []byte) {
	*nonce = c.commonIV
	nonce[0] ^= byte(len(id))
	for i, b := range id {
		nonce[ccm.NonceSize-MaxPartialIV-len(id)+i] ^= b
	}
	for i, b := range piv {
		nonce[ccm.NonceSize-len(piv)+i] ^= b
	}
}

// appendAAD is RFC 8613 §5.4. It is written out by hand, since this is the path of every message: every length is below
// 24, so that CBOR headers are one byte, but for that of algorithm 30.
func (c *Context) appendAAD(dst, kid, piv []byte) []byte {
	dst = append(dst, "\x83\x68Encrypt0\x40\x40"...)
	start := len(dst)
	dst = append(dst, 0x85, 0x01, 0x81)
	if c.algorithm == algorithmCCM64 {
		dst = append(dst, byte(algorithmCCM64))
	} else {
		dst = append(dst, 0x18, byte(c.algorithm))
	}
	dst = append(append(dst, 0x40|byte(len(kid))), kid...)
	dst = append(append(dst, 0x40|byte(len(piv))), piv...)
	dst = append(dst, 0x40)
	dst[start-1] |= byte(len(dst) - start)
	return dst
}

// encodePIV gives the shortest encoding of a number (RFC 8613 §5), zero being one byte.
func encodePIV(buffer *[8]byte, number uint64) []byte {
	binary.BigEndian.PutUint64(buffer[:], number)
	first := 0
	for first < 7 && buffer[first] == 0 {
		first++
	}
	return buffer[first:]
}
