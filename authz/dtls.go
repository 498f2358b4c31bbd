package authz

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// confirmationOf is how token and answer name the possession key: OSCORE input material (RFC 9203 §3.2.1), or the COSE_Key
// with kid and k of coap_dtls (RFC 9202 §3.3.1).
func confirmationOf(d *Device, m pop.InputMaterial) pop.Confirmation {
	if d.Profile == pop.ProfileCoAPDTLS {
		return pop.Confirmation{Key: cose.NewSymmetric(m.MasterSecret, m.ID)}
	}
	return pop.Confirmation{OSCORE: &m}
}

// dtlsKeyID makes the kid of a DTLS key from the id of its first token: one block of AES under a key of the device. Being a
// permutation of what is unique, it is unique among the device's kids without a look-up (RFC 9202 §3.3.1), and it shows
// nothing of when or in which order tokens were made, although every handshake carries it in clear.
func dtlsKeyID(d *Device, tokenID []byte) ([]byte, error) {
	if d.Shape != provision.ShapeEncrypt0 {
		return nil, fmt.Errorf("profile %v with tokens of shape %v, which hide no DTLS key (D7)", d.Profile, d.Shape)
	}
	if len(tokenID) != aes.BlockSize {
		return nil, fmt.Errorf("token id of %d bytes", len(tokenID))
	}
	block, err := kidCipher(d)
	if err != nil {
		return nil, err
	}
	kid := make([]byte, aes.BlockSize)
	block.Encrypt(kid, tokenID)
	return kid, nil
}

// dtlsFirstToken is the inverse of dtlsKeyID. What it makes of a kid that was invented is the id of no token of the device.
func dtlsFirstToken(d *Device, kid []byte) ([]byte, bool) {
	block, err := kidCipher(d)
	if err != nil || len(kid) != aes.BlockSize {
		return nil, false
	}
	id := make([]byte, aes.BlockSize)
	block.Decrypt(id, kid)
	return id, bytes.HasPrefix(id, d.ID[:])
}

func kidCipher(d *Device) (cipher.Block, error) {
	key, err := provision.DeriveKey(d.RootKey, provision.PurposePSK, d.ID, provision.FirstKeyID, aes.BlockSize)
	if err != nil {
		return nil, err
	}
	return aes.NewCipher(key)
}

var errWordyAnswer = errors.New("the device answered a bare token with a payload")

// checkUploaded wants the answer that the device's profile has: what a client could not use is a failure, for it would be left
// without the token. The answer of coap_dtls is empty (RFC 9202 §3.3.1), and never nil, which would leave from_rs out.
func checkUploaded(d *Device, from []byte) ([]byte, error) {
	if d.Profile != pop.ProfileCoAPDTLS {
		_, err := ace.ParseAuthzInfoAnswer(from)
		return from, err
	}
	if len(from) != 0 {
		return nil, errWordyAnswer
	}
	return []byte{}, nil
}
