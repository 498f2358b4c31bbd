// Package seal keeps secrets at rest: AES-256-GCM and HMAC-SHA-256 under keys derived from the store key (D3, D9).
//
// It knows no table and no SQL; the caller names the row a secret belongs to. Start from New.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

// ErrOpen says that a sealed value belongs to another row or another key, or was changed.
var ErrOpen = errors.New("sealed value does not open: wrong store key, wrong row or changed")

// Sealer seals and opens. It is safe for concurrent use if its source of randomness is.
type Sealer struct {
	aead   cipher.AEAD
	macKey []byte
	chain  []byte
	rows   []byte
	random io.Reader
}

// New derives one key for Seal, one for SealRow, one for Remember and one for Chain from the store key, so that no use can weaken another.
func New(storeKey [32]byte, random io.Reader) (*Sealer, error) {
	sealKey, err := hkdf.Key(sha256.New, storeKey[:], nil, "latchkey store seal", 32)
	if err != nil {
		return nil, fmt.Errorf("store key: %w", err)
	}
	macKey, err := hkdf.Key(sha256.New, storeKey[:], nil, "latchkey store hmac", 32)
	if err != nil {
		return nil, fmt.Errorf("store key: %w", err)
	}
	chainKey, err := hkdf.Key(sha256.New, storeKey[:], nil, "latchkey audit chain", 32)
	if err != nil {
		return nil, fmt.Errorf("store key: %w", err)
	}
	rowsKey, err := hkdf.Key(sha256.New, storeKey[:], nil, "latchkey store rows", 32)
	if err != nil {
		return nil, fmt.Errorf("store key: %w", err)
	}
	aead, err := gcm(sealKey)
	if err != nil {
		return nil, fmt.Errorf("store key: %w", err)
	}
	return &Sealer{aead: aead, macKey: macKey, chain: chainKey, rows: rowsKey, random: random}, nil
}

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// Seal gives nonce ‖ ciphertext ‖ tag, bound to a row. No secret is sealed too, so that nobody can take one away by
// emptying its column.
//
// The nonce is random, not a counter: a counter would repeat after a restore. 96 random bits are good for 2^32 seals,
// and a store seals once for each device, client and signing key.
func (s *Sealer) Seal(table string, row, secret []byte) ([]byte, error) {
	return s.seal(s.aead, secret, bind(table, row))
}

// SealRow is Seal for tables without a bound on their rows, such as tokens: each row has a key of its own, so however many
// there are, none of the keys seals more than a few times. OpenRow is its inverse.
func (s *Sealer) SealRow(table string, row, secret []byte) ([]byte, error) {
	aead, err := s.ofRow(table, row)
	if err != nil {
		return nil, err
	}
	return s.seal(aead, secret, bind(table, row))
}

// OpenRow is Open for what SealRow made.
func (s *Sealer) OpenRow(table string, row, sealed []byte) ([]byte, error) {
	aead, err := s.ofRow(table, row)
	if err != nil {
		return nil, err
	}
	return open(aead, sealed, bind(table, row))
}

func (s *Sealer) ofRow(table string, row []byte) (cipher.AEAD, error) {
	key, err := hkdf.Expand(sha256.New, s.rows, string(bind(table, row)), 32)
	if err != nil {
		return nil, fmt.Errorf("key of a row: %w", err)
	}
	return gcm(key)
}

func (s *Sealer) seal(aead cipher.AEAD, secret, bound []byte) ([]byte, error) {
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(secret)+aead.Overhead())
	if _, err := io.ReadFull(s.random, nonce); err != nil {
		return nil, fmt.Errorf("seal nonce: %w", err)
	}
	return aead.Seal(nonce, nonce, secret, bound), nil
}

// Open is the inverse of Seal; an empty secret comes back as nil. Any other table, row or key gives ErrOpen.
func (s *Sealer) Open(table string, row, sealed []byte) ([]byte, error) {
	return open(s.aead, sealed, bind(table, row))
}

func open(aead cipher.AEAD, sealed, bound []byte) ([]byte, error) {
	size := aead.NonceSize()
	if len(sealed) < size {
		return nil, ErrOpen
	}
	secret, err := aead.Open(nil, sealed[:size], sealed[size:], bound)
	if err != nil {
		return nil, ErrOpen
	}
	return secret, nil
}

// Remember is what a store may keep of a key it must recognise but not know: HMAC-SHA-256 (D9).
func (s *Sealer) Remember(key []byte) []byte {
	mac := hmac.New(sha256.New, s.macKey)
	mac.Write(key)
	return mac.Sum(nil)
}

// Chain is HMAC-SHA-256 for the audit chain: whoever can write the tables but has not the key makes none.
func (s *Sealer) Chain(message []byte) []byte {
	mac := hmac.New(sha256.New, s.chain)
	mac.Write(message)
	return mac.Sum(nil)
}

// Random gives n random bytes.
func (s *Sealer) Random(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(s.random, b); err != nil {
		return nil, fmt.Errorf("random bytes: %w", err)
	}
	return b, nil
}

// bind is the associated data: table ‖ 0 ‖ row id. The zero keeps one table's name from running into a row id.
func bind(table string, row []byte) []byte {
	return append(append([]byte(table), 0), row...)
}
