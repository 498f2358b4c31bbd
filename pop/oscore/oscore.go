// Package oscore protects CoAP messages end to end between two endpoints that share a secret (RFC 8613): security
// contexts, the protection of requests and responses, the replay window, sender sequence numbers that survive a restart
// (appendix B.1) and contexts made anew from random values (appendix B.2).
//
// It opens no socket, keeps no table of contexts and knows neither groups nor Observe beyond treating the option as any
// other. Messages are go-coap's message.Message with Code, Options (ascending) and Payload; Token, Type and MessageID are
// carried through. Start from New, or from Initiate and NewResponder for appendix B.2.
package oscore

import (
	"bytes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/internal/ccm"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// The AEAD algorithms of RFC 8613 §3.2 that this house uses; zero in Params stands for the first.
const (
	algorithmCCM64  cose.Algorithm = 10 // AES-CCM-16-64-128
	algorithmCCM128 cose.Algorithm = 30 // AES-CCM-16-128-128
)

const keySize = 16 // both algorithms

// Params are the inputs of a security context (RFC 8613 §3.2). The key derivation function is HKDF SHA-256. A nil
// IDContext means that there is none; an empty one is a value.
type Params struct {
	MasterSecret []byte
	MasterSalt   []byte
	IDContext    []byte
	SenderID     []byte
	RecipientID  []byte
	Algorithm    cose.Algorithm // 0: AES-CCM-16-64-128
}

// String hides the secret.
func (Params) String() string { return "[redacted]" }

// GoString hides the secret.
func (Params) GoString() string { return "[redacted]" }

func (p Params) check() error {
	if n := len(p.MasterSecret); n < MinMasterSecret || n > MaxMasterSecret {
		return fmt.Errorf("oscore: master secret of %d bytes, want %d to %d", n, MinMasterSecret, MaxMasterSecret)
	}
	if len(p.MasterSalt) > MaxMasterSalt || len(p.IDContext) > MaxIDContext {
		return fmt.Errorf("oscore: master salt or id context too long")
	}
	if len(p.SenderID) > MaxID || len(p.RecipientID) > MaxID {
		return fmt.Errorf("oscore: sender or recipient id longer than %d bytes", MaxID)
	}
	// RFC 8613 §3.3: equal ids would give both directions one key and one set of nonces.
	if bytes.Equal(p.SenderID, p.RecipientID) {
		return fmt.Errorf("oscore: sender id and recipient id are equal")
	}
	return nil
}

func (p Params) tagSize() (int, error) {
	switch p.Algorithm {
	case algorithmCCM64:
		return 8, nil
	case algorithmCCM128:
		return 16, nil
	}
	return 0, fmt.Errorf("oscore: aead algorithm %d is not supported", p.Algorithm)
}

// keyInfo is the info structure of RFC 8613 §3.2.1.
type keyInfo struct {
	_         struct{} `cbor:",toarray"`
	ID        []byte
	IDContext []byte // nil becomes null
	Algorithm cose.Algorithm
	Type      string
	Length    int
}

// derive gives the key of the endpoint with this id, or the Common IV, for which the id is empty.
func (p Params) derive(id []byte, kind string, length int) ([]byte, error) {
	info := keyInfo{ID: append([]byte{}, id...), IDContext: p.IDContext, Algorithm: p.Algorithm, Type: kind, Length: length}
	encoded, err := wire.Marshal(info)
	if err != nil {
		return nil, fmt.Errorf("oscore: key derivation: %w", err)
	}
	out, err := hkdf.Key(sha256.New, p.MasterSecret, p.MasterSalt, string(encoded), length)
	if err != nil {
		return nil, fmt.Errorf("oscore: key derivation: %w", err)
	}
	return out, nil
}

func (p Params) aead(id []byte) (cipher.AEAD, error) {
	tagSize, err := p.tagSize()
	if err != nil {
		return nil, err
	}
	key, err := p.derive(id, "Key", keySize)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return ccm.New(key, tagSize)
}
