package cwt

import (
	"bytes"
	"crypto/ecdh"
	"fmt"
	"io"

	"github.com/latchkey-ace/latchkey/pop/cose"
)

// EncryptKey makes an Encrypted_COSE_Key under a key shared with the device: an untagged COSE_Encrypt0 (D7).
func EncryptKey(k *cose.Key, under cose.SymmetricKey, rand io.Reader) ([]byte, error) {
	plaintext, err := encodeSecretKey(k)
	if err != nil {
		return nil, err
	}
	return cose.SealEncrypt0(under, plaintext, nil, rand)
}

// EncryptKeyTo makes an Encrypted_COSE_Key to a device's public key on P-256: an untagged COSE_Encrypt (D7). It names no
// key, because a device has one.
func EncryptKeyTo(k *cose.Key, to *ecdh.PublicKey, rand io.Reader) ([]byte, error) {
	plaintext, err := encodeSecretKey(k)
	if err != nil {
		return nil, err
	}
	return cose.SealEncrypt(cose.Recipient{Key: to}, plaintext, nil, rand)
}

// KeyOpener holds what a device decrypts possession keys with. A nil function opens none of its kind.
type KeyOpener struct {
	Shared  cose.FindSymmetric
	Private cose.FindPrivate
}

// DecryptKey opens an Encrypted_COSE_Key whose plaintext is exactly {1: 4, 2: kid of 1 to 8 bytes, −1: k of 16 or 32
// bytes} (D7). Errors: ErrForm, ErrProtection for a key that does not open it, ErrClaims for another plaintext.
func DecryptKey(encrypted []byte, k KeyOpener) (*cose.Key, error) {
	plaintext, err := openKey(encrypted, k)
	if err != nil {
		return nil, classify(err)
	}
	key, err := cose.ParseKey(plaintext)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrClaims, err)
	}
	// A label that we do not know, a second spelling or another order would not come back the same.
	if again, err := encodeSecretKey(key); err != nil || !bytes.Equal(again, plaintext) {
		return nil, fmt.Errorf("%w: not a possession key of {kty, kid, k}", ErrClaims)
	}
	return key, nil
}

func openKey(encrypted []byte, k KeyOpener) ([]byte, error) {
	switch {
	case len(encrypted) > 0 && encrypted[0] == headEncrypt0 && k.Shared != nil:
		return cose.OpenEncrypt0(encrypted, k.Shared, nil)
	case len(encrypted) > 0 && encrypted[0] == headEncrypt && k.Private != nil:
		return cose.OpenEncrypt(encrypted, k.Private, nil)
	}
	if err := checkEncrypted(encrypted); err != nil {
		return nil, fmt.Errorf("%w: %w", cose.ErrMalformed, err)
	}
	return nil, fmt.Errorf("%w: keys are not taken in this encryption", cose.ErrKey)
}

// encodeSecretKey gives the plaintext of an Encrypted_COSE_Key.
func encodeSecretKey(k *cose.Key) ([]byte, error) {
	size := len(k.Secret())
	switch {
	case k.Type() != cose.KeyTypeSymmetric || k.Algorithm() != 0 || k.Operations() != nil:
		return nil, fmt.Errorf("%w: a possession key has type, id and k only", cose.ErrKey)
	case size != 16 && size != 32:
		return nil, fmt.Errorf("%w: possession key of %d bytes, want 16 or 32", cose.ErrKey, size)
	case len(k.ID()) == 0 || len(k.ID()) > maxKeyName:
		return nil, fmt.Errorf("%w: possession key id of %d bytes, want 1 to %d", cose.ErrKey, len(k.ID()), maxKeyName)
	}
	return k.Encode()
}
