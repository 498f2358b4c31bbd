package cose

import (
	"bytes"
	"io"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

const contextEncrypt0 = "Encrypt0"

// contentHeader is the protected header of what we encrypt.
type contentHeader struct {
	Algorithm Algorithm `cbor:"1,keyasint"`
	KeyID     []byte    `cbor:"4,keyasint,omitempty"`
	IV        []byte    `cbor:"5,keyasint"`
}

// SealEncrypt0 encrypts under key and returns an untagged COSE_Encrypt0. Algorithm, key id (unless empty) and a random IV
// stand in the protected header. externalAAD may be nil.
func SealEncrypt0(key SymmetricKey, plaintext, externalAAD []byte, rand io.Reader) ([]byte, error) {
	return Encrypt0(key.key(), plaintext, externalAAD, rand)
}

// Encrypt0 is SealEncrypt0 with a typed key, which must say its algorithm and be permitted to encrypt. It is faster for a
// key that is used again, because the key keeps its key schedule.
func Encrypt0(key *Key, plaintext, externalAAD []byte, rand io.Reader) ([]byte, error) {
	if err := key.permitsOwn(OperationEncrypt, isContent); err != nil {
		return nil, err
	}
	iv, err := newIV(key.alg, rand)
	if err != nil {
		return nil, err
	}
	protected, err := wire.Marshal(contentHeader{Algorithm: key.alg, KeyID: key.id, IV: iv})
	if err != nil {
		return nil, err
	}
	return sealEncrypt0(layer{protected: protected, unprotected: emptyMap, alg: key.alg, iv: iv}, key.content(), plaintext, externalAAD)
}

// layer is the header of a layer that we make, encoded.
type layer struct {
	protected, unprotected []byte

	alg Algorithm
	iv  []byte
}

func sealEncrypt0(l layer, key *contentKey, plaintext, externalAAD []byte) ([]byte, error) {
	aad := structure(contextEncrypt0, l.protected, externalAAD)
	ciphertext, err := sealContent(l.alg, key, l.iv, plaintext, aad)
	if err != nil {
		return nil, err
	}
	return assemble(l.protected, l.unprotected, ciphertext), nil
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
type Encrypt0Message struct{ message }

// ParseEncrypt0 reads an untagged COSE_Encrypt0.
func ParseEncrypt0(data []byte) (*Encrypt0Message, error) {
	m := &Encrypt0Message{}
	r, err := m.parse(data, 3)
	if err != nil {
		return nil, err
	}
	return m, r.finish()
}

// CheckCanonical returns ErrNotCanonical unless the unprotected header is empty. Together with the shortest heads that
// ParseEncrypt0 demands, nobody without the key can then respell the message.
func (m *Encrypt0Message) CheckCanonical() error { return checkEmpty(m.unprotected) }

// Open decrypts with the key that find returns.
func (m *Encrypt0Message) Open(find FindSymmetric, externalAAD []byte) ([]byte, error) {
	return m.OpenWith(find.keys(), Options{External: externalAAD})
}

// OpenWith decrypts with the key that find returns: symmetric, for the message's algorithm, permitted to decrypt.
func (m *Encrypt0Message) OpenWith(find FindKey, o Options) ([]byte, error) {
	if err := m.header.check(&o); err != nil {
		return nil, err
	}
	if _, ok := contentAlgorithms[m.header.alg]; !ok {
		return nil, unsupported(m.header.alg)
	}
	key, err := findFor(&m.header, find, m.header.alg, OperationDecrypt)
	if err != nil {
		return nil, err
	}
	aad := structure(contextEncrypt0, m.header.protected, o.External)
	return openContent(&m.header, key.content(), m.content, aad)
}

// key makes a typed key of a symmetric one.
func (k SymmetricKey) key() *Key {
	return &Key{kind: KeyTypeSymmetric, id: k.ID, alg: k.Algorithm, secret: k.K}
}

// keys makes the same known to what takes typed keys. A key for another algorithm is refused: one key serves one.
func (find FindSymmetric) keys() FindKey {
	return func(alg Algorithm, kid KeyID) (*Key, error) {
		key, err := find(alg, kid)
		if err != nil {
			return nil, err
		}
		if key.Algorithm != alg {
			return nil, unfit("key is for %v, message uses %v", key.Algorithm, alg)
		}
		return key.key(), nil
	}
}

// Only is a FindSymmetric that knows one key. A message that names no key is tried with it.
func Only(key SymmetricKey) FindSymmetric {
	return func(_ Algorithm, kid KeyID) (SymmetricKey, error) {
		if kid != nil && !bytes.Equal(kid, key.ID) {
			return SymmetricKey{}, unfit("message is for another key id")
		}
		return key, nil
	}
}
