// Package keywrap is the AES Key Wrap of RFC 3394 with its default initial value, as COSE (RFC 9053 §6.2) and JOSE use it.
//
// It does not pad: keys are whole multiples of 8 bytes, at least 16 and at most 512. Start from Wrap and Unwrap.
package keywrap

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	half = 8 // bytes of a semiblock

	minKey = 2 * half
	maxKey = 64 * half // longer than any key; the counter of the wrap then fits into its last two bytes

	rounds = 6
)

// initial is the value that proves integrity (RFC 3394 §2.2.3.1).
var initial = [half]byte{0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6}

// ErrIntegrity means another key-encryption key, or bytes that were changed.
var ErrIntegrity = errors.New("keywrap: the wrapped key is not intact")

var errSize = fmt.Errorf("keywrap: a key must be a multiple of %d bytes, from %d to %d", half, minKey, maxKey)

// Wrap encrypts a key of 16 to 512 bytes under kek, an AES key of 16, 24 or 32 bytes. The result is 8 bytes longer. The
// same key wraps to the same bytes.
func Wrap(kek, key []byte) ([]byte, error) {
	block, err := cipherOf(kek)
	if err != nil {
		return nil, err
	}
	if len(key)%half != 0 || len(key) < minKey || len(key) > maxKey {
		return nil, errSize
	}
	out := append(initial[:half:half], key...)
	var b [aes.BlockSize]byte
	copy(b[:half], out)
	n := len(key) / half
	for t := range rounds * n {
		at := out[half*(t%n+1):][:half]
		copy(b[half:], at)
		block.Encrypt(b[:], b[:])
		binary.BigEndian.PutUint64(b[:half], binary.BigEndian.Uint64(b[:half])^uint64(t+1))
		copy(at, b[half:])
	}
	copy(out, b[:half])
	return out, nil
}

// Unwrap decrypts what Wrap gave, or returns ErrIntegrity.
func Unwrap(kek, wrapped []byte) ([]byte, error) {
	block, err := cipherOf(kek)
	if err != nil {
		return nil, err
	}
	if len(wrapped)%half != 0 || len(wrapped) < minKey+half || len(wrapped) > maxKey+half {
		return nil, ErrIntegrity
	}
	key := append([]byte(nil), wrapped[half:]...)
	var b [aes.BlockSize]byte
	copy(b[:half], wrapped)
	n := len(key) / half
	for t := rounds*n - 1; t >= 0; t-- {
		at := key[half*(t%n):][:half]
		binary.BigEndian.PutUint64(b[:half], binary.BigEndian.Uint64(b[:half])^uint64(t+1))
		copy(b[half:], at)
		block.Decrypt(b[:], b[:])
		copy(at, b[half:])
	}
	if subtle.ConstantTimeCompare(b[:half], initial[:]) != 1 {
		clear(key)
		return nil, ErrIntegrity
	}
	return key, nil
}

func cipherOf(kek []byte) (cipher.Block, error) {
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, fmt.Errorf("keywrap: %w", err)
	}
	return block, nil
}
