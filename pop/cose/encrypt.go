package cose

import (
	"crypto/ecdh"
	"io"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

const contextEncrypt = "Encrypt"

// FindPrivate returns the private key that a recipient names; kid is nil if it names none.
type FindPrivate func(alg Algorithm, kid KeyID) (*ecdh.PrivateKey, error)

// keys makes the same known to what takes typed keys.
func (find FindPrivate) keys() FindKey {
	return func(alg Algorithm, kid KeyID) (*Key, error) {
		private, err := find(alg, kid)
		if err != nil || private == nil {
			return nil, err
		}
		return &Key{kind: KeyTypeEC2, private: private}, nil
	}
}

// Recipient is the public key on P-256 that a COSE_Encrypt is for.
type Recipient struct {
	Key *ecdh.PublicKey
	ID  KeyID // nil: the message names no key
}

// SealEncrypt encrypts to one public key with ECDH-ES + HKDF-256 and AES-CCM-16-128-128 and returns an untagged
// COSE_Encrypt. The ephemeral key has a compressed y. externalAAD may be nil.
func SealEncrypt(to Recipient, plaintext, externalAAD []byte, rand io.Reader) ([]byte, error) {
	if to.Key == nil || to.Key.Curve() != ecdh.P256() || len(to.ID) > MaxKeyID {
		return nil, unfit("ECDH-ES needs a key on P-256")
	}
	key, err := NewKey(to.Key, KeyOptions{ID: to.ID})
	if err != nil {
		return nil, err
	}
	c := Content{Algorithm: AESCCM16_128_128, Data: plaintext, External: externalAAD}
	return Encrypt(c, []To{{Key: key, Algorithm: ECDHESHKDF256}}, rand)
}

// Encrypt encrypts to one or more recipients and returns an untagged COSE_Encrypt. Direct, DirectHKDF256 and ECDHESHKDF256
// give one recipient the content key and can have no second.
func Encrypt(c Content, to []To, rand io.Reader) ([]byte, error) {
	row, ok := contentAlgorithms[c.Algorithm]
	if !ok {
		return nil, unsupported(c.Algorithm)
	}
	recipients, key, err := lock(to, need{c.Algorithm, row.keySize, OperationEncrypt}, rand)
	if err != nil {
		return nil, err
	}
	iv, err := newIV(c.Algorithm, rand)
	if err != nil {
		return nil, err
	}
	protected, err := wire.Marshal(contentHeader{Algorithm: c.Algorithm, IV: iv})
	if err != nil {
		return nil, err
	}
	return sealEncrypt(layer{protected, emptyMap, c.Algorithm, iv}, key, c, recipients)
}

func sealEncrypt(l layer, key *contentKey, c Content, recipients []byte) ([]byte, error) {
	aad := structure(contextEncrypt, l.protected, c.External)
	ciphertext, err := sealContent(l.alg, key, l.iv, c.Data, aad)
	if err != nil {
		return nil, err
	}
	return assemble(l.protected, l.unprotected, ciphertext, recipients), nil
}

// OpenEncrypt decrypts an untagged COSE_Encrypt with the private key that find returns for its ECDH-ES recipient. Errors:
// ErrMalformed, ErrUnsupported, ErrKey, ErrVerification, or what find said.
func OpenEncrypt(data []byte, find FindPrivate, externalAAD []byte) ([]byte, error) {
	m, err := ParseEncrypt(data)
	if err != nil {
		return nil, err
	}
	return m.Open(find, externalAAD)
}

// EncryptMessage is a COSE_Encrypt that has been read but not opened: nothing it says is authentic. Its own key id is
// seldom there: the recipients have theirs.
type EncryptMessage struct {
	message
	recipients []recipient
}

// ParseEncrypt reads an untagged COSE_Encrypt with 1 to 16 recipients.
func ParseEncrypt(data []byte) (*EncryptMessage, error) {
	m := &EncryptMessage{}
	r, err := m.parse(data, 4)
	if err != nil {
		return nil, err
	}
	if m.recipients, err = parseRecipients(&r, 1); err != nil {
		return nil, err
	}
	return m, r.finish()
}

// Open decrypts with the private key that find returns for an ECDH-ES recipient.
func (m *EncryptMessage) Open(find FindPrivate, externalAAD []byte) ([]byte, error) {
	return m.OpenWith(find.keys(), Options{External: externalAAD})
}

// OpenWith decrypts with the first recipient that find has the key for. find is asked with the algorithm and key id of
// each recipient in turn, for Direct with the algorithm of the content; the key must be permitted what that algorithm does:
// derive, unwrap or decrypt.
func (m *EncryptMessage) OpenWith(find FindKey, o Options) ([]byte, error) {
	if err := m.header.check(&o); err != nil {
		return nil, err
	}
	row, ok := contentAlgorithms[m.header.alg]
	if !ok {
		return nil, unsupported(m.header.alg)
	}
	key, err := unlock(m.recipients, need{m.header.alg, row.keySize, OperationDecrypt}, find, &o)
	if err != nil {
		return nil, err
	}
	return openContent(&m.header, key, m.content, structure(contextEncrypt, m.header.protected, o.External))
}
