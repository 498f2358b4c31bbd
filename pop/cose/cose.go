// Package cose is CBOR Object Signing and Encryption (RFC 9052, RFC 9053): all six structures, keys and key sets.
//
//	COSE_Sign1     Sign1, ParseSign1         COSE_Sign     Sign, ParseSign
//	COSE_Mac0      Mac0, ParseMac0           COSE_Mac      Mac, ParseMac
//	COSE_Encrypt0  Encrypt0, ParseEncrypt0   COSE_Encrypt  Encrypt, ParseEncrypt
//
// Start from ParseKey or NewKey, then Sign1 and ParseSign1. A message is parsed first, which says nothing about its
// truth, and then verified or opened with keys that the caller finds by algorithm and key id. Messages are untagged here;
// Wrap and Unwrap handle tags. Received bytes are never encoded again: what was signed is what is checked.
//
// What it makes carries every header parameter in `protected` and an empty `unprotected` (RFC 9770 §3), unless RFC 9052
// §8.5 forbids that for a recipient. What it reads may have them in either bucket, but the algorithm of the content must
// be protected unless Options say otherwise; CheckCanonical says whether a message has the one spelling that tokens have.
//
// Algorithms: ES256, ES384, EdDSA (Ed25519); HMAC 256/64 and 256/256; AES-CCM with 13-byte nonces, AES-GCM of 128 and 256
// bits, ChaCha20/Poly1305; recipients direct, direct+HKDF-SHA-256, A128KW, ECDH-ES + HKDF-256 and ECDH-ES + A128KW on
// P-256, P-384 and X25519. Every other one is ErrUnsupported, by name. Not covered: countersignatures (they are ignored),
// RSA, hash-based and password-based algorithms, and managing keys or nonces over time.
package cose

import (
	"errors"
	"fmt"
	"io"
)

var (
	// ErrMalformed means that the bytes are not the structure that was asked for, or break a rule of RFC 9052.
	ErrMalformed = errors.New("malformed COSE")
	// ErrUnsupported means an algorithm, curve or key type that this package cannot use. The error names it.
	ErrUnsupported = errors.New("unsupported in COSE")
	// ErrVerification means that a signature or authentication tag is wrong: another key or other bytes.
	ErrVerification = errors.New("COSE message does not verify")
	// ErrKey means that a key does not fit its algorithm, its permitted operations or the message.
	ErrKey = errors.New("COSE key does not fit")
	// ErrNotCanonical means a message that could be spelled in another way under the same signature or tag.
	ErrNotCanonical = errors.New("COSE message is not in canonical form")
)

// FindKey returns the key that a message or one of its recipients names; kid is nil if it names none. alg is what the
// message says and not yet authentic; a key that is not for it is refused afterwards. KeySet.Find is one.
type FindKey func(alg Algorithm, kid KeyID) (*Key, error)

// With is a FindKey that knows one key. A message that names no key is tried with it.
func With(key *Key) FindKey {
	return func(_ Algorithm, kid KeyID) (*Key, error) {
		if key == nil || kid != nil && key.id != nil && string(kid) != string(key.id) {
			return nil, fmt.Errorf("%w: message is for another key id", ErrKey)
		}
		return key, nil
	}
}

// Options are what the reader of a message knows besides the key. The zero value is the strict one.
type Options struct {
	External []byte // externally supplied data (RFC 9052 §4.3)

	// UnprotectedAlgorithm accepts an algorithm of the content that is not protected. An attacker can then change it to
	// every other one that the key is for, so the key should say which that is.
	UnprotectedAlgorithm bool

	// Critical are labels, int64 or string, of critical header parameters that the caller processes itself.
	Critical []any

	// PartyU and PartyV are what both sides know of each other without being told. A message that says otherwise is refused.
	PartyU, PartyV Party

	// PublicInfo and PrivateInfo go into every key derivation (RFC 9053 §5.2: SuppPubInfo.other and SuppPrivInfo).
	PublicInfo, PrivateInfo []byte
}

// Party is one side of a key derivation (RFC 9053 §5.2); nil is what is not said. Each is at most 64 bytes.
type Party struct{ Identity, Nonce, Other []byte }

// SymmetricKey is a content-encryption key, its name and the one algorithm it is for. It prints as [redacted].
type SymmetricKey struct {
	K         []byte
	ID        KeyID
	Algorithm Algorithm
}

// FindSymmetric returns the key that a message names; kid is nil if it names none. The key's algorithm must be alg.
type FindSymmetric func(alg Algorithm, kid KeyID) (SymmetricKey, error)

const redacted = "[redacted]"

// String hides the key.
func (SymmetricKey) String() string { return redacted }

// Format hides the key from every verb.
func (SymmetricKey) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// MarshalText hides the key from JSON and structured logs.
func (SymmetricKey) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}

func unsupported(what any) error { return fmt.Errorf("%w: %v", ErrUnsupported, what) }

func unfit(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrKey}, args...)...)
}
