package cose

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"io"

	"github.com/latchkey-ace/latchkey/pop/internal/ccm"
	"golang.org/x/crypto/chacha20poly1305"
)

// contentAlgorithm is one row of the table of AEADs (RFC 9053 §4).
type contentAlgorithm struct {
	keySize   int // bytes
	nonceSize int // bytes
	tagSize   int // bytes
	new       func(key []byte, tagSize int) (cipher.AEAD, error)
}

var contentAlgorithms = map[Algorithm]contentAlgorithm{
	A128GCM:          {16, 12, 16, newGCM},
	A256GCM:          {32, 12, 16, newGCM},
	AESCCM16_64_128:  {16, 13, 8, ccm.New},
	AESCCM16_64_256:  {32, 13, 8, ccm.New},
	ChaCha20Poly1305: {32, 12, 16, newChaCha},
	AESCCM16_128_128: {16, 13, 16, ccm.New},
	AESCCM16_128_256: {32, 13, 16, ccm.New},
}

func isContent(alg Algorithm) bool { return contentAlgorithms[alg].new != nil }

func newGCM(key []byte, _ int) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func newChaCha(key []byte, _ int) (cipher.AEAD, error) { return chacha20poly1305.New(key) }

// newAEAD pairs a key with its algorithm.
func newAEAD(alg Algorithm, key []byte) (cipher.AEAD, error) {
	row, ok := contentAlgorithms[alg]
	if !ok {
		return nil, unsupported(alg)
	}
	if len(key) != row.keySize {
		return nil, unfit("%v needs %d bytes, not %d", alg, row.keySize, len(key))
	}
	return row.new(key, row.tagSize)
}

// newIV draws a nonce. The nonces we send are random (never counted), because a counter repeats after a restore.
func newIV(alg Algorithm, rand io.Reader) ([]byte, error) {
	row, ok := contentAlgorithms[alg]
	if !ok {
		return nil, unsupported(alg)
	}
	return draw(row.nonceSize, rand)
}

func draw(size int, rand io.Reader) ([]byte, error) {
	out := make([]byte, size)
	if _, err := io.ReadFull(rand, out); err != nil {
		return nil, fmt.Errorf("draw random bytes: %w", err)
	}
	return out, nil
}

// contentKey is what protects the content of a message.
type contentKey struct {
	secret []byte
	baseIV []byte
	key    *Key // the key itself where it is used directly: it keeps its key schedule
}

func (k *contentKey) aead(alg Algorithm) (cipher.AEAD, error) {
	if k.key != nil {
		return k.key.aead(alg)
	}
	return newAEAD(alg, k.secret)
}

// nonce is the IV of the header, or the Base IV of the key with the partial IV on its end (RFC 9052 §3.1).
func (h *header) nonce(size int, baseIV []byte) ([]byte, error) {
	if h.partialIV == nil {
		if len(h.iv) != size {
			return nil, malformed("IV of %d bytes, want %d", len(h.iv), size)
		}
		return h.iv, nil
	}
	if len(h.partialIV) == 0 || len(h.partialIV) > size {
		return nil, malformed("partial IV of %d bytes, want 1 to %d", len(h.partialIV), size)
	}
	if len(baseIV) != size {
		return nil, unfit("partial IV needs a key with a Base IV of %d bytes", size)
	}
	nonce := bytes.Clone(baseIV)
	for i, b := range h.partialIV {
		nonce[size-len(h.partialIV)+i] ^= b
	}
	return nonce, nil
}

// openContent decrypts under one layer's header.
func openContent(h *header, key *contentKey, ciphertext, aad []byte) ([]byte, error) {
	aead, err := key.aead(h.alg)
	if err != nil {
		return nil, err
	}
	nonce, err := h.nonce(aead.NonceSize(), key.baseIV)
	if err != nil {
		return nil, err
	}
	plaintext, err := aead.Open(nil, nonce, ciphertext, aad)
	if err != nil {
		return nil, ErrVerification
	}
	return plaintext, nil
}

// sealContent encrypts under one layer's header. A message that is too long for the algorithm or for a reader of ours is
// refused, because an AEAD panics on it.
func sealContent(alg Algorithm, key *contentKey, nonce, plaintext, aad []byte) ([]byte, error) {
	if len(plaintext) > MaxContent {
		return nil, fmt.Errorf("%w: %d bytes of content, at most %d", ErrMalformed, len(plaintext), MaxContent)
	}
	aead, err := key.aead(alg)
	if err != nil {
		return nil, err
	}
	if len(nonce) != aead.NonceSize() {
		return nil, malformed("IV of %d bytes, want %d", len(nonce), aead.NonceSize())
	}
	return aead.Seal(nil, nonce, plaintext, aad), nil
}

// bytes is the key where no AEAD is made of it.
func (k *contentKey) bytes() []byte {
	if k.key != nil {
		return k.key.secret
	}
	return k.secret
}
