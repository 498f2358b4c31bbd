// Package pop holds what a token says and how possession of its key is shown: Claims and Confirmation (RFC 8392,
// RFC 8747, RFC 9200, RFC 9203).
//
// It knows no serialization: pop/cwt and pop/jose carry Claims on the wire. Start from Claims.
package pop

import (
	"strconv"
	"time"

	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/grade"
)

// Profile is an ACE profile (RFC 9200 §8.8).
type Profile int

const (
	ProfileCoAPDTLS   Profile = 1 // RFC 9202; comes with pop/coapsec's DTLS transport
	ProfileCoAPOSCORE Profile = 2 // RFC 9203
)

// String gives the registered name, used in JSON and form encodings.
func (p Profile) String() string {
	switch p {
	case ProfileCoAPDTLS:
		return "coap_dtls"
	case ProfileCoAPOSCORE:
		return "coap_oscore"
	}
	return "unknown"
}

// Claims is what the authorization server says about a token. The zero value of a field means the claim is absent.
// Times have a resolution of one second.
type Claims struct {
	Issuer   string
	Subject  string
	Audience string
	ClientID string // JWT only (RFC 9068)

	Expires   time.Time
	NotBefore time.Time
	IssuedAt  time.Time
	ExpiresIn time.Duration // exi: lifetime from the moment the resource server first verified the token

	ID           []byte // cti; for tokens with exi: device id ‖ 8-byte sequence number (D6)
	Scope        aif.Rights
	Profile      Profile
	CNonce       []byte // nil: absent; empty is a value
	Confirmation Confirmation
	Grant        *GrantRef

	// Unknown are the other claims, each value as it stood in the token: one encoded CBOR item in a CWT, JSON in a JWT, whose
	// claims have names. Their issuer vouches for them, but nobody here has looked inside. They are written in a CWT only:
	// pop/jose names every claim that it makes.
	Unknown map[ClaimLabel][]byte
}

// ClaimLabel is the key of a CWT claim: the text Name, or the integer Number if Name is empty (RFC 8392 §1.1).
type ClaimLabel struct {
	Number int64
	Name   string
}

// String is the number, or the name in quotes.
func (l ClaimLabel) String() string {
	if l.Name == "" {
		return strconv.FormatInt(l.Number, 10)
	}
	return strconv.Quote(l.Name)
}

// GrantRef is private claim −70001 (D6): {0: epoch, 1: grant id, ? 2: [+ index], ? 3: [kind, key, os]}.
type GrantRef struct {
	Epoch uint64
	Grant GrantID
	Once  []uint      // indexes into Scope whose state-changing methods may be used once
	Grade grade.Grade `json:",omitzero"` // of the app instance that asked for the token (D21); zero: nobody vouched for it
}

// GrantID names a grant. The zero value stands for the owner's own rights (D26), which no grant record holds.
type GrantID [8]byte

// Confirmation is the cnf claim or parameter: the one key whose possession must be shown. At most one field is set;
// KeyID alone refers to a key of an earlier token of the same series.
type Confirmation struct {
	Key       *cose.Key      // COSE_Key (1)
	Encrypted []byte         // Encrypted_COSE_Key (2): an encoded, untagged COSE_Encrypt0 or COSE_Encrypt
	KeyID     cose.KeyID     // kid (3)
	OSCORE    *InputMaterial // osc (4)
	// Thumbprint is ckt (5): the SHA-256 thumbprint of a COSE_Key (RFC 9679 §5.6), 32 bytes; CWT only. It names a key
	// that its reader learns in another way.
	Thumbprint []byte
	JWE        string // jwe (RFC 7800), JWT only
}

// InputMaterial is the OSCORE_Input_Material of RFC 9203 §3.2.1. ID and MasterSecret are required; absent optional
// fields mean AES-CCM-16-64-128, HKDF SHA-256, empty salt and no ID Context.
type InputMaterial struct {
	ID           []byte
	MasterSecret []byte
	Salt         []byte
	ContextID    []byte
	Version      uint // 0: absent
	HKDF         int64
	Algorithm    cose.Algorithm
}

// String hides the secret.
func (InputMaterial) String() string { return "[redacted]" }

// GoString hides the secret.
func (InputMaterial) GoString() string { return "[redacted]" }

// MarshalText hides the secret from JSON and structured logs.
func (InputMaterial) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }
