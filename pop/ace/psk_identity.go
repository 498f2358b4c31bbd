package ace

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// MaxPSKIdentity bounds a psk_identity: the longest token twice. DTLS itself would allow 65,535 bytes, from strangers.
const MaxPSKIdentity = 2 * MaxToken

// keyTypeSymmetric is the kty of a symmetric COSE_Key (RFC 9053 §7).
const keyTypeSymmetric = 4

var errPSKIdentity = errors.New("psk_identity is neither a key id nor a token")

// PSKIdentity is what a client says in the DTLS handshake about its key (RFC 9202 §3.3.2). Exactly one field is set.
type PSKIdentity struct {
	KeyID []byte // of a token that was uploaded before; 1 to cose.MaxKeyID bytes
	Token []byte // the access token itself, as the authorization server gave it
}

// identityMap is {8: {1: {1: 4, 2: kid}}}: cnf, COSE_Key, kty, kid.
type identityMap struct {
	Confirmation struct {
		Key struct {
			Type uint64          `cbor:"1,keyasint"`
			ID   wire.RawMessage `cbor:"2,keyasint"`
		} `cbor:"1,keyasint"`
	} `cbor:"8,keyasint"`
}

// Encode writes the psk_identity; a key id in deterministic encoding, a token as it is. It fails for what
// ParsePSKIdentity would not read back.
func (p PSKIdentity) Encode() ([]byte, error) {
	identity := p.Token
	if p.KeyID != nil {
		var err error
		if identity, err = encodeKeyIdentity(p.KeyID); err != nil {
			return nil, err
		}
	}
	read, err := ParsePSKIdentity(identity)
	if err != nil {
		return nil, err
	}
	if (read.KeyID == nil) != (p.KeyID == nil) || (read.Token == nil) != (p.Token == nil) {
		return nil, errPSKIdentity
	}
	return identity, nil
}

// ParsePSKIdentity reads a psk_identity: one CBOR item of at most MaxPSKIdentity bytes and nothing after it. A map must be
// the key id form, to the byte, so that one key has one identity; a tagged item or an array is taken for a token, which is
// for others to open. Everything else is an error, and the handshake is then to be refused with illegal_parameter.
//
// The result refers to identity. The key id or token that it holds is a claim, like the whole of a psk_identity.
func ParsePSKIdentity(identity []byte) (PSKIdentity, error) {
	if len(identity) == 0 || len(identity) > MaxPSKIdentity {
		return PSKIdentity{}, errPSKIdentity
	}
	const (
		arrays = 4
		maps   = 5
		tags   = 6
	)
	switch identity[0] >> 5 {
	case maps:
		return parseKeyIdentity(identity)
	case arrays, tags:
		var item wire.RawMessage
		if err := wire.Unmarshal(identity, &item); err != nil {
			return PSKIdentity{}, fmt.Errorf("psk_identity: %w", err)
		}
		return PSKIdentity{Token: identity}, nil
	}
	return PSKIdentity{}, errPSKIdentity
}

func encodeKeyIdentity(id []byte) ([]byte, error) {
	kid, err := wire.Marshal(id)
	if err != nil {
		return nil, fmt.Errorf("psk_identity: %w", err)
	}
	var m identityMap
	m.Confirmation.Key.Type, m.Confirmation.Key.ID = keyTypeSymmetric, kid
	identity, err := wire.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("psk_identity: %w", err)
	}
	return identity, nil
}

func parseKeyIdentity(identity []byte) (PSKIdentity, error) {
	var cnf map[int64]map[int64]map[int64]any
	if err := wire.UnmarshalDeterministic(identity, &cnf); err != nil {
		return PSKIdentity{}, fmt.Errorf("psk_identity: %w", err)
	}
	key := cnf[8][1]
	kid, ok := key[2].([]byte)
	kty, _ := key[1].(int64)
	if len(cnf) != 1 || len(cnf[8]) != 1 || len(key) != 2 || kty != keyTypeSymmetric || !ok {
		return PSKIdentity{}, errPSKIdentity
	}
	if len(kid) == 0 || len(kid) > cose.MaxKeyID {
		return PSKIdentity{}, errPSKIdentity
	}
	// Written again it must be the same: the decoder passes over tags.
	again, err := encodeKeyIdentity(kid)
	if err != nil || !bytes.Equal(again, identity) {
		return PSKIdentity{}, errPSKIdentity
	}
	return PSKIdentity{KeyID: kid}, nil
}
