package cose

import (
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

const contextEncrypt = "Encrypt"

// FindPrivate returns the private key on P-256 that a recipient names; kid is nil if it names none.
type FindPrivate func(alg Algorithm, kid KeyID) (*ecdh.PrivateKey, error)

// Recipient is the public key on P-256 that a COSE_Encrypt is for.
type Recipient struct {
	Key *ecdh.PublicKey
	ID  KeyID // nil: the message names no key
}

// recipient is COSE_recipient (RFC 9052 §5.1) without further recipients.
type recipient struct {
	_           struct{} `cbor:",toarray"`
	Protected   []byte
	Unprotected wire.RawMessage
	Ciphertext  []byte
}

// encrypt is the array of RFC 9052 §5.1.
type encrypt struct {
	_           struct{} `cbor:",toarray"`
	Protected   []byte
	Unprotected wire.RawMessage
	Ciphertext  []byte
	Recipients  []recipient
}

// recipientHeader is the protected header of our recipients. The published examples leave key id and ephemeral key
// unprotected; a byte more here binds both, and with them the sign of the point, which ECDH itself does not see.
type recipientHeader struct {
	Algorithm Algorithm       `cbor:"1,keyasint"`
	KeyID     []byte          `cbor:"4,keyasint,omitempty"`
	Ephemeral wire.RawMessage `cbor:"-1,keyasint"`
}

// SealEncrypt encrypts to one public key with ECDH-ES + HKDF-256 and AES-CCM-16-128-128 and returns an untagged
// COSE_Encrypt. The ephemeral key has a compressed y. externalAAD may be nil.
func SealEncrypt(to Recipient, plaintext, externalAAD []byte, rand io.Reader) ([]byte, error) {
	if to.Key == nil || to.Key.Curve() != ecdh.P256() || len(to.ID) > MaxKeyID {
		return nil, fmt.Errorf("%w: ECDH-ES needs a key on P-256", ErrKey)
	}
	const content = AESCCM16_128_128
	ephemeral, err := newEphemeral(rand)
	if err != nil {
		return nil, err
	}
	sealed, err := sealRecipient(to, ephemeral)
	if err != nil {
		return nil, err
	}
	key, err := deriveKey(ephemeral, to.Key, content, sealed.Protected)
	if err != nil {
		return nil, err
	}
	iv, err := newIV(content, rand)
	if err != nil {
		return nil, err
	}
	protected, err := wire.Marshal(contentHeader{Algorithm: content, IV: iv})
	if err != nil {
		return nil, err
	}
	aad, err := encryptionAAD(contextEncrypt, protected, externalAAD)
	if err != nil {
		return nil, err
	}
	aead, err := newAEAD(content, key)
	if err != nil {
		return nil, err
	}
	return wire.Marshal(encrypt{
		Protected: protected, Unprotected: emptyMap, Ciphertext: aead.Seal(nil, iv, plaintext, aad), Recipients: []recipient{sealed},
	})
}

func sealRecipient(to Recipient, ephemeral *ecdh.PrivateKey) (recipient, error) {
	point := ephemeral.PublicKey().Bytes()
	key, err := wire.Marshal(map[int64]any{
		labelType: int64(KeyTypeEC2), labelCurve: curveP256, labelX: point[1 : 1+p256Size], labelY: point[2*p256Size]&1 == 1,
	})
	if err != nil {
		return recipient{}, err
	}
	protected, err := wire.Marshal(recipientHeader{Algorithm: ECDHESHKDF256, KeyID: to.ID, Ephemeral: key})
	return recipient{Protected: protected, Unprotected: emptyMap, Ciphertext: []byte{}}, err
}

// newEphemeral draws a private key from rand, which crypto/ecdh's own generator would not read.
func newEphemeral(rand io.Reader) (*ecdh.PrivateKey, error) {
	scalar := make([]byte, p256Size)
	for range 8 { // a random scalar is out of range once in 2^32
		if _, err := io.ReadFull(rand, scalar); err != nil {
			return nil, fmt.Errorf("draw ephemeral key: %w", err)
		}
		if key, err := ecdh.P256().NewPrivateKey(scalar); err == nil {
			return key, nil
		}
	}
	return nil, fmt.Errorf("%w: no scalar in range", ErrKey)
}

// party and suppPub are parts of COSE_KDF_Context (RFC 9053 §5.2); nobody is named.
type (
	party struct {
		_                      struct{} `cbor:",toarray"`
		Identity, Nonce, Other *[]byte
	}
	suppPub struct {
		_         struct{} `cbor:",toarray"`
		KeyBits   int
		Protected []byte
	}
	kdfContext struct {
		_         struct{} `cbor:",toarray"`
		Algorithm Algorithm
		U, V      party
		Public    suppPub
	}
)

// deriveKey agrees on the content key of one recipient (RFC 9053 §6.3). protected is the recipient's header as received.
func deriveKey(private *ecdh.PrivateKey, public *ecdh.PublicKey, content Algorithm, protected []byte) ([]byte, error) {
	secret, err := private.ECDH(public)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	size := contentAlgorithms[content].keySize
	info, err := wire.Marshal(kdfContext{Algorithm: content, Public: suppPub{KeyBits: 8 * size, Protected: bytesOf(protected)}})
	if err != nil {
		return nil, err
	}
	return hkdf.Key(sha256.New, secret, nil, string(info), size)
}

// OpenEncrypt decrypts an untagged COSE_Encrypt with exactly one recipient, ECDH-ES + HKDF-256, with the private key that
// find returns. Errors: ErrMalformed, ErrUnsupported, ErrKey, ErrVerification, or what find said.
func OpenEncrypt(data []byte, find FindPrivate, externalAAD []byte) ([]byte, error) {
	m, err := ParseEncrypt(data)
	if err != nil {
		return nil, err
	}
	return m.Open(find, externalAAD)
}

// EncryptMessage is a COSE_Encrypt that has been read but not opened: nothing it says is authentic.
type EncryptMessage struct {
	fields    encrypt
	body      header
	recipient header
}

// ParseEncrypt reads an untagged COSE_Encrypt. More or fewer recipients than one are ErrUnsupported.
func ParseEncrypt(data []byte) (*EncryptMessage, error) {
	m := &EncryptMessage{}
	if err := parseExact(data, &m.fields); err != nil {
		return nil, err
	}
	if m.fields.Protected == nil || m.fields.Ciphertext == nil {
		return nil, malformed("no protected header or no ciphertext")
	}
	var err error
	if m.body, err = parseHeader(m.fields.Protected, m.fields.Unprotected); err != nil {
		return nil, err
	}
	if len(m.fields.Recipients) != 1 {
		return nil, unsupported(fmt.Sprintf("%d recipients", len(m.fields.Recipients)))
	}
	r := m.fields.Recipients[0]
	if r.Protected == nil || r.Ciphertext == nil {
		return nil, malformed("no protected header or no ciphertext in the recipient")
	}
	m.recipient, err = parseHeader(r.Protected, r.Unprotected)
	return m, err
}

// Open decrypts with the private key that find returns.
func (m *EncryptMessage) Open(find FindPrivate, externalAAD []byte) ([]byte, error) {
	if _, ok := contentAlgorithms[m.body.alg]; !ok {
		return nil, unsupported(m.body.alg)
	}
	key, err := m.contentKey(find)
	if err != nil {
		return nil, err
	}
	aad, err := encryptionAAD(contextEncrypt, m.body.protected, externalAAD)
	if err != nil {
		return nil, err
	}
	return openContent(m.body, key, m.fields.Ciphertext, aad)
}

func (m *EncryptMessage) contentKey(find FindPrivate) ([]byte, error) {
	h := m.recipient
	if h.alg != ECDHESHKDF256 {
		return nil, unsupported(h.alg)
	}
	if len(m.fields.Recipients[0].Ciphertext) > 0 {
		return nil, malformed("direct key agreement with a wrapped key") // RFC 9052 §8.5.4
	}
	if h.ephemeral == nil {
		return nil, malformed("no ephemeral key")
	}
	ephemeral, err := keyOf(h.ephemeral)
	if err != nil {
		return nil, err
	}
	if ephemeral.kind != KeyTypeEC2 {
		return nil, malformed("ephemeral key is not an EC2 key")
	}
	point, err := ephemeral.public.ECDH()
	if err != nil {
		return nil, malformed("ephemeral key")
	}
	private, err := find(h.alg, h.kid)
	if err != nil {
		return nil, fmt.Errorf("find key: %w", err)
	}
	if private == nil {
		return nil, fmt.Errorf("%w: ECDH-ES needs a key on P-256", ErrKey)
	}
	return deriveKey(private, point, m.body.alg, h.protected)
}
