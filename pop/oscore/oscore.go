// Package oscore protects CoAP messages end to end between two endpoints that share a secret (RFC 8613, unicast): security
// contexts and tables of them, the protection of requests, responses and notifications, the replay window, key usage
// limits, sender sequence numbers that survive a restart (appendix B.1) and contexts made anew from random values
// (appendix B.2).
//
// Messages are go-coap's message.Message with Code, Options (ascending) and Payload; Token, Type and MessageID are carried
// through. Start from New, or from Initiate and NewResponder for appendix B.2; put many contexts into Contexts, and share
// one Schedules among them. ProtectRequest and its siblings allocate what they return; ProtectRequestIn and its siblings
// work in a Buffer.
//
// Block-wise transfer (RFC 8613 §4.1.3.4) goes on around this package. Block1, Block2, Size1 and Size2 in a message to be
// protected are inner ones like any other option. Outer ones come from proxies: whoever receives a message with an OSCORE
// option and outer Block options puts the pieces together first, within a bound of its own, and hands the whole payload
// to Unprotect*, which drops whatever outer Block options are left. To cut a protected message for a proxy, add them to
// what Protect* returned.
//
// It opens no socket and no file. It does not know groups (draft-ietf-core-oscore-groupcomm), signaling messages of
// RFC 8323 §5, HTTP (RFC 8613 §11), nor Proxy-Uri, which is refused.
package oscore

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// Params are the inputs of a security context (RFC 8613 §3.2). The key derivation function is HKDF SHA-256. A nil
// IDContext means that there is none; an empty one is a value.
type Params struct {
	MasterSecret []byte
	MasterSalt   []byte
	IDContext    []byte
	SenderID     []byte
	RecipientID  []byte
	Algorithm    cose.Algorithm // 1, 3, 10, 11, 30 or 31; 0: 10, AES-CCM-16-64-128
}

// String hides the secret.
func (Params) String() string { return "[redacted]" }

// GoString hides the secret.
func (Params) GoString() string { return "[redacted]" }

func (p Params) check(a *algorithm) error {
	if n := len(p.MasterSecret); n < MinMasterSecret || n > MaxMasterSecret {
		return fmt.Errorf("oscore: master secret of %d bytes, want %d to %d", n, MinMasterSecret, MaxMasterSecret)
	}
	if len(p.MasterSalt) > MaxMasterSalt || len(p.IDContext) > MaxIDContext {
		return fmt.Errorf("oscore: master salt or id context too long")
	}
	if most := a.maxID(); len(p.SenderID) > most || len(p.RecipientID) > most {
		return fmt.Errorf("oscore: sender or recipient id longer than %d bytes", most)
	}
	// RFC 8613 §3.3: equal ids would give both directions one key and one set of nonces.
	if bytes.Equal(p.SenderID, p.RecipientID) {
		return fmt.Errorf("oscore: sender id and recipient id are equal")
	}
	return nil
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

// deriver is RFC 8613 §3.2.1 with the pseudorandom key of HKDF-Extract.
type deriver struct {
	random    []byte
	idContext []byte
	algorithm cose.Algorithm
}

func (p Params) deriver(algorithm cose.Algorithm) (deriver, error) {
	random, err := hkdf.Extract(sha256.New, p.MasterSecret, p.MasterSalt)
	if err != nil {
		return deriver{}, fmt.Errorf("oscore: key derivation: %w", err)
	}
	return deriver{random, p.IDContext, algorithm}, nil
}

// derive fills out with the key of the endpoint with this id, or the Common IV, for which the id is empty.
func (d deriver) derive(out, id []byte, kind string) error {
	info := keyInfo{ID: append([]byte{}, id...), IDContext: d.idContext, Algorithm: d.algorithm, Type: kind, Length: len(out)}
	encoded, err := wire.Marshal(info)
	if err != nil {
		return fmt.Errorf("oscore: key derivation: %w", err)
	}
	derived, err := hkdf.Expand(sha256.New, d.random, string(encoded), len(out))
	if err != nil {
		return fmt.Errorf("oscore: key derivation: %w", err)
	}
	copy(out, derived)
	clear(derived)
	return nil
}
