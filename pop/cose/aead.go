package cose

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"io"

	"github.com/latchkey-ace/latchkey/pop/internal/ccm"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
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
	AESCCM16_128_128: {16, 13, 16, ccm.New},
}

func newGCM(key []byte, _ int) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// newAEAD pairs a key with its algorithm.
func newAEAD(alg Algorithm, key []byte) (cipher.AEAD, error) {
	row, ok := contentAlgorithms[alg]
	if !ok {
		return nil, unsupported(alg)
	}
	if len(key) != row.keySize {
		return nil, fmt.Errorf("%w: %v needs %d bytes, not %d", ErrKey, alg, row.keySize, len(key))
	}
	return row.new(key, row.tagSize)
}

// newIV draws a nonce. The nonces we send are random (never counted), because a counter repeats after a restore.
func newIV(alg Algorithm, rand io.Reader) ([]byte, error) {
	row, ok := contentAlgorithms[alg]
	if !ok {
		return nil, unsupported(alg)
	}
	iv := make([]byte, row.nonceSize)
	if _, err := io.ReadFull(rand, iv); err != nil {
		return nil, fmt.Errorf("draw IV: %w", err)
	}
	return iv, nil
}

// openContent decrypts under one layer's header.
func openContent(h header, key, ciphertext, aad []byte) ([]byte, error) {
	aead, err := newAEAD(h.alg, key)
	if err != nil {
		return nil, err
	}
	if len(h.iv) != aead.NonceSize() {
		return nil, malformed("IV of %d bytes, want %d", len(h.iv), aead.NonceSize())
	}
	plaintext, err := aead.Open(nil, h.iv, ciphertext, aad)
	if err != nil {
		return nil, ErrVerification
	}
	return plaintext, nil
}

// encStructure is the additional data of every encryption (RFC 9052 §5.3).
type encStructure struct {
	_         struct{} `cbor:",toarray"`
	Context   string
	Protected []byte
	External  []byte
}

func encryptionAAD(context string, protected, external []byte) ([]byte, error) {
	return wire.Marshal(encStructure{Context: context, Protected: bytesOf(protected), External: bytesOf(external)})
}
