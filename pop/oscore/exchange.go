package oscore

import (
	"encoding/binary"
	"math"
	"sync/atomic"
)

// maxAAD is the longest Enc_structure of RFC 8613 §5.4: 11 fixed bytes, a header and an array of 20.
const maxAAD = 32

// Exchange binds responses to their request: kid and Partial IV of the request (RFC 8613 §8). It belongs to one request, or
// to the observation that this began, refers to no message, and is safe for concurrent use but for the calls of
// ProtectRequestIn and UnprotectRequestIn that make it. The zero value belongs to no request.
type Exchange struct {
	owner      *Context
	served     bool // made by unprotecting a request
	observes   bool // the request has an inner Observe 0
	windowLost bool
	pivSize    uint8
	aadSize    uint8
	piv        [MaxPartialIV]byte
	nonce      [maxNonce]byte
	aad        [maxAAD]byte

	// done is, on the server, whether a response has been protected; on the client the rank of the newest response.
	done atomic.Uint64
}

// Ranks of responses. The Notification Number of RFC 8613 §7.4.1 is a rank less firstRank; a notification without a Partial
// IV is older than any other.
const (
	none      = 0
	withoutIV = 1
	firstRank = 2
	ended     = math.MaxUint64
)

// Context is the one under which the request was protected or unprotected; nil for the zero value.
func (x *Exchange) Context() *Context { return x.owner }

// WindowLost says that the request was unprotected without a replay window: it may be a replay, and must not be acted
// upon before RecoverWindow.
func (x *Exchange) WindowLost() bool { return x.windowLost }

// Observes says that the request registers an observation (RFC 7641), so that there may be many responses.
func (x *Exchange) Observes() bool { return x.observes }

func (x *Exchange) partialIV() []byte { return x.piv[:x.pivSize] }

func (x *Exchange) number() uint64 { return decodePIV(x.partialIV()) }

// accept takes note of a verified response, and says whether it is newer than all before. After the last one none is.
func (x *Exchange) accept(rank uint64, last bool) bool {
	for {
		newest := x.done.Load()
		if rank <= newest {
			return false
		}
		if last {
			rank = ended
		}
		if x.done.CompareAndSwap(newest, rank) {
			return true
		}
	}
}

// begin makes x the exchange of a request of c or to c, with nonce and additional data of both directions.
func (x *Exchange) begin(c *Context, kid, piv []byte) {
	x.owner, x.served, x.observes, x.windowLost = c, false, false, false
	x.pivSize = uint8(copy(x.piv[:], piv))
	c.makeNonce(&x.nonce, kid, piv)
	x.aadSize = uint8(len(c.appendAAD(x.aad[:0], kid, piv)))
	x.done.Store(none)
}

// makeNonce is RFC 8613 §5.2.
func (c *Context) makeNonce(nonce *[maxNonce]byte, id, piv []byte) {
	size := c.algorithm.nonce
	*nonce = c.commonIV
	nonce[0] ^= byte(len(id))
	for i, b := range id {
		nonce[size-MaxPartialIV-len(id)+i] ^= b
	}
	for i, b := range piv {
		nonce[size-len(piv)+i] ^= b
	}
}

// appendAAD is RFC 8613 §5.4. It is written out by hand, since this is the path of every message: every length is below
// 24, so that CBOR headers are one byte, but for those of algorithms 30 and 31.
func (c *Context) appendAAD(dst, kid, piv []byte) []byte {
	dst = append(dst, "\x83\x68Encrypt0\x40\x40"...)
	start := len(dst)
	dst = append(dst, 0x85, 0x01, 0x81)
	if c.algorithm.id >= 24 {
		dst = append(dst, 0x18)
	}
	dst = append(dst, byte(c.algorithm.id))
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

func decodePIV(piv []byte) (number uint64) {
	for _, b := range piv {
		number = number<<8 | uint64(b)
	}
	return number
}
