// Package ccm is AES-CCM (RFC 3610) with the parameters of COSE and OSCORE: L = 2, so a 13-byte nonce and messages of at
// most 65,535 bytes, and a tag of 8 or 16 bytes (RFC 9053 §4.2).
//
// It does not manage nonces and offers no other parameters. Start from New.
package ccm

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/latchkey-ace/latchkey/internal/checks"
)

const (
	// NonceSize is the length of a nonce in bytes.
	NonceSize = 13

	// MaxPlaintext is the longest message in bytes: its length is written in L = 2 bytes.
	MaxPlaintext = 1<<16 - 1

	blockSize = aes.BlockSize
	shortAAD  = 0xff00 // associated data from this length on announces itself in six bytes (RFC 3610 §2.2)
)

var errOpen = errors.New("ccm: message authentication failed")

type aead struct {
	block   cipher.Block
	tagSize int
}

// scratch lives on the heap because cipher.Block is an interface: a block on the stack would be allocated per call.
type scratch struct {
	mac, counter, stream, first [blockSize]byte
}

var pool = sync.Pool{New: func() any { return new(scratch) }}

// New returns AES-CCM for a key of 16 or 32 bytes with tags of 8 or 16 bytes. It is safe for concurrent use.
//
// Seal and Open do not allocate when dst has room. The input may be dst itself (exactly), or must not overlap it. Seal
// panics on a nonce of another length than NonceSize or a message longer than MaxPlaintext, as cipher.AEAD does.
func New(key []byte, tagSize int) (cipher.AEAD, error) {
	if len(key) != 16 && len(key) != 32 {
		return nil, fmt.Errorf("ccm: key of %d bytes, want 16 or 32", len(key))
	}
	if tagSize != 8 && tagSize != 16 {
		return nil, fmt.Errorf("ccm: tag of %d bytes, want 8 or 16", tagSize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("ccm: %w", err)
	}
	return &aead{block: block, tagSize: tagSize}, nil
}

func (a *aead) NonceSize() int { return NonceSize }

func (a *aead) Overhead() int { return a.tagSize }

// Seal implements cipher.AEAD.
func (a *aead) Seal(dst, nonce, plaintext, additional []byte) []byte {
	if len(nonce) != NonceSize {
		panic("ccm: nonce must be 13 bytes")
	}
	if len(plaintext) > MaxPlaintext {
		panic("ccm: message too long")
	}
	whole, out := grow(dst, len(plaintext)+a.tagSize)
	s := pool.Get().(*scratch)
	a.start(s, nonce, len(plaintext), additional)
	a.encrypt(s, out, plaintext)
	subtle.XORBytes(out[len(plaintext):], s.mac[:a.tagSize], s.first[:])
	s.release()
	return whole
}

// Open implements cipher.AEAD. On error the bytes it may have written are zero.
func (a *aead) Open(dst, nonce, ciphertext, additional []byte) ([]byte, error) {
	if len(nonce) != NonceSize {
		return nil, errOpen
	}
	if len(ciphertext) < a.tagSize || len(ciphertext)-a.tagSize > MaxPlaintext {
		return nil, errOpen
	}
	tag := ciphertext[len(ciphertext)-a.tagSize:]
	ciphertext = ciphertext[:len(ciphertext)-a.tagSize]
	whole, out := grow(dst, len(ciphertext))
	s := pool.Get().(*scratch)
	a.start(s, nonce, len(ciphertext), additional)
	a.decrypt(s, out, ciphertext)
	subtle.XORBytes(s.mac[:a.tagSize], s.mac[:a.tagSize], s.first[:])
	good := subtle.ConstantTimeCompare(s.mac[:a.tagSize], tag) == 1
	s.release()
	if checks.Integrity && !good {
		clear(out)
		return nil, errOpen
	}
	return whole, nil
}

// start runs B_0 and the associated data through the CBC-MAC (RFC 3610 §2.2) and leaves S_0, which masks the tag, in
// s.first (§2.3).
func (a *aead) start(s *scratch, nonce []byte, size int, additional []byte) {
	s.mac[0] = byte((a.tagSize-2)/2<<3 | 1)
	if len(additional) > 0 {
		s.mac[0] |= 1 << 6
	}
	copy(s.mac[1:], nonce)
	binary.BigEndian.PutUint16(s.mac[14:], uint16(size))
	a.block.Encrypt(s.mac[:], s.mac[:])
	s.counter[0] = 1
	copy(s.counter[1:], nonce)
	a.block.Encrypt(s.first[:], s.counter[:])
	if len(additional) > 0 {
		a.absorbAdditional(s, additional)
	}
}

// encrypt takes the CBC-MAC and the counter forward in one pass: the two block encryptions of a step do not depend on
// each other, so the processor runs them side by side.
func (a *aead) encrypt(s *scratch, dst, src []byte) {
	for i := uint16(1); len(src) > 0; i++ {
		binary.BigEndian.PutUint16(s.counter[14:], i)
		if len(src) < blockSize {
			subtle.XORBytes(s.mac[:], s.mac[:], src)
			a.step(s)
			subtle.XORBytes(dst, src, s.stream[:])
			return
		}
		xorBlock(s.mac[:], s.mac[:], src)
		a.step(s)
		xorBlock(dst, src, s.stream[:])
		dst, src = dst[blockSize:], src[blockSize:]
	}
}

func (a *aead) step(s *scratch) {
	a.block.Encrypt(s.mac[:], s.mac[:])
	a.block.Encrypt(s.stream[:], s.counter[:])
}

// decrypt computes each key stream block one step ahead, beside the CBC-MAC of the block before it.
func (a *aead) decrypt(s *scratch, dst, src []byte) {
	if len(src) == 0 {
		return
	}
	s.counter[15] = 1
	a.block.Encrypt(s.stream[:], s.counter[:])
	for i := uint16(2); len(src) > blockSize; i++ {
		binary.BigEndian.PutUint16(s.counter[14:], i)
		xorBlock(dst, src, s.stream[:])
		xorBlock(s.mac[:], s.mac[:], dst)
		a.step(s)
		dst, src = dst[blockSize:], src[blockSize:]
	}
	subtle.XORBytes(dst, src, s.stream[:])
	subtle.XORBytes(s.mac[:], s.mac[:], dst)
	a.block.Encrypt(s.mac[:], s.mac[:])
}

// absorbAdditional puts the length of the associated data in front of it.
func (a *aead) absorbAdditional(s *scratch, additional []byte) {
	var header [6]byte
	n := 2
	if len(additional) < shortAAD {
		binary.BigEndian.PutUint16(header[:], uint16(len(additional)))
	} else {
		n = 6
		binary.BigEndian.PutUint16(header[:], 0xfffe)
		binary.BigEndian.PutUint32(header[2:], uint32(len(additional)))
	}
	first := min(blockSize-n, len(additional))
	subtle.XORBytes(s.mac[:], s.mac[:], header[:n])
	subtle.XORBytes(s.mac[n:], s.mac[n:], additional[:first])
	a.block.Encrypt(s.mac[:], s.mac[:])
	a.absorb(s, additional[first:])
}

// absorb runs data, padded with zeros to whole blocks, through the CBC-MAC.
func (a *aead) absorb(s *scratch, data []byte) {
	for len(data) >= blockSize {
		xorBlock(s.mac[:], s.mac[:], data)
		a.block.Encrypt(s.mac[:], s.mac[:])
		data = data[blockSize:]
	}
	if len(data) > 0 {
		subtle.XORBytes(s.mac[:], s.mac[:], data)
		a.block.Encrypt(s.mac[:], s.mac[:])
	}
}

func (s *scratch) release() {
	*s = scratch{} // the key stream of this message must not outlive it
	pool.Put(s)
}

func xorBlock(dst, a, b []byte) {
	_, _, _ = dst[15], a[15], b[15]
	binary.LittleEndian.PutUint64(dst, binary.LittleEndian.Uint64(a)^binary.LittleEndian.Uint64(b))
	binary.LittleEndian.PutUint64(dst[8:], binary.LittleEndian.Uint64(a[8:])^binary.LittleEndian.Uint64(b[8:]))
}

// grow extends dst by n bytes, in place where there is room.
func grow(dst []byte, n int) (whole, tail []byte) {
	total := len(dst) + n
	if cap(dst) >= total {
		whole = dst[:total]
	} else {
		whole = make([]byte, total)
		copy(whole, dst)
	}
	return whole, whole[len(dst):]
}
