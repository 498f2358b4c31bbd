package cose

import (
	"bytes"
	"fmt"
	"io"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

const contextEncrypt0 = "Encrypt0"

// encrypt0 is the array of RFC 9052 §5.2.
type encrypt0 struct {
	_           struct{} `cbor:",toarray"`
	Protected   []byte
	Unprotected wire.RawMessage
	Ciphertext  []byte
}

// contentHeader is the protected header of what we encrypt.
type contentHeader struct {
	Algorithm Algorithm `cbor:"1,keyasint"`
	KeyID     []byte    `cbor:"4,keyasint,omitempty"`
	IV        []byte    `cbor:"5,keyasint"`
}

// SealEncrypt0 encrypts under key and returns an untagged COSE_Encrypt0. Algorithm, key id (unless empty) and a random IV
// stand in the protected header. externalAAD may be nil.
func SealEncrypt0(key SymmetricKey, plaintext, externalAAD []byte, rand io.Reader) ([]byte, error) {
	aead, err := newAEAD(key.Algorithm, key.K)
	if err != nil {
		return nil, err
	}
	if len(key.ID) > MaxKeyID {
		return nil, fmt.Errorf("%w: id of %d bytes, at most %d", ErrKey, len(key.ID), MaxKeyID)
	}
	iv, err := newIV(key.Algorithm, rand)
	if err != nil {
		return nil, err
	}
	protected, err := wire.Marshal(contentHeader{Algorithm: key.Algorithm, KeyID: key.ID, IV: iv})
	if err != nil {
		return nil, err
	}
	aad, err := encryptionAAD(contextEncrypt0, protected, externalAAD)
	if err != nil {
		return nil, err
	}
	ciphertext := aead.Seal(nil, iv, plaintext, aad)
	return wire.Marshal(encrypt0{Protected: protected, Unprotected: emptyMap, Ciphertext: ciphertext})
}

// OpenEncrypt0 decrypts an untagged COSE_Encrypt0 with the key that find returns. Errors: ErrMalformed, ErrUnsupported,
// ErrKey, ErrVerification, or what find said.
func OpenEncrypt0(data []byte, find FindSymmetric, externalAAD []byte) ([]byte, error) {
	m, err := ParseEncrypt0(data)
	if err != nil {
		return nil, err
	}
	return m.Open(find, externalAAD)
}

// Encrypt0Message is a COSE_Encrypt0 that has been read but not opened: nothing it says is authentic.
type Encrypt0Message struct {
	fields encrypt0
	header header
}

// ParseEncrypt0 reads an untagged COSE_Encrypt0.
func ParseEncrypt0(data []byte) (*Encrypt0Message, error) {
	m := &Encrypt0Message{}
	if err := parseExact(data, &m.fields); err != nil {
		return nil, err
	}
	if m.fields.Protected == nil || m.fields.Ciphertext == nil {
		return nil, malformed("no protected header or no ciphertext")
	}
	var err error
	if m.header, err = parseHeader(m.fields.Protected, m.fields.Unprotected); err != nil {
		return nil, err
	}
	if m.header.alg == 0 {
		return nil, malformed("no algorithm")
	}
	return m, nil
}

// KeyID is the key the message says it is for, nil if it does not say.
func (m *Encrypt0Message) KeyID() KeyID { return m.header.kid }

// Algorithm is the algorithm the message says it uses.
func (m *Encrypt0Message) Algorithm() Algorithm { return m.header.alg }

// CheckCanonical returns ErrNotCanonical unless the unprotected header is empty. Together with the shortest heads that
// ParseEncrypt0 demands, nobody without the key can then respell the message.
func (m *Encrypt0Message) CheckCanonical() error { return checkEmpty(m.fields.Unprotected) }

// Open decrypts with the key that find returns.
func (m *Encrypt0Message) Open(find FindSymmetric, externalAAD []byte) ([]byte, error) {
	if _, ok := contentAlgorithms[m.header.alg]; !ok {
		return nil, unsupported(m.header.alg)
	}
	key, err := findKey(m.header, find)
	if err != nil {
		return nil, err
	}
	aad, err := encryptionAAD(contextEncrypt0, m.header.protected, externalAAD)
	if err != nil {
		return nil, err
	}
	return openContent(m.header, key.K, m.fields.Ciphertext, aad)
}

// findKey asks for a key and refuses one for another algorithm: one key serves one algorithm.
func findKey(h header, find FindSymmetric) (SymmetricKey, error) {
	key, err := find(h.alg, h.kid)
	if err != nil {
		return SymmetricKey{}, fmt.Errorf("find key: %w", err)
	}
	if key.Algorithm != h.alg {
		return SymmetricKey{}, fmt.Errorf("%w: key is for %v, message uses %v", ErrKey, key.Algorithm, h.alg)
	}
	return key, nil
}

// Only is a FindSymmetric that knows one key. A message that names no key is tried with it.
func Only(key SymmetricKey) FindSymmetric {
	return func(_ Algorithm, kid KeyID) (SymmetricKey, error) {
		if kid != nil && !bytes.Equal(kid, key.ID) {
			return SymmetricKey{}, fmt.Errorf("%w: message is for another key id", ErrKey)
		}
		return key, nil
	}
}
