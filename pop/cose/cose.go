// Package cose is the part of COSE that tokens and news need (RFC 9052, RFC 9053): COSE_Key for P-256 and symmetric
// keys, COSE_Sign1 with ES256, COSE_Encrypt0 with AES-CCM or AES-GCM, and COSE_Encrypt to one ECDH-ES recipient.
//
// What it makes carries every header parameter in `protected` and an empty `unprotected` (RFC 9770 §3). What it reads may
// have them in either bucket; CheckCanonical says whether a message has the one spelling that tokens must have. It does
// not do Mac0, several signers or several recipients, and it manages no keys: the caller finds them by algorithm and key
// id. Start from SealEncrypt0, Sign1 and ParseKey.
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
	// ErrKey means that a key does not fit its algorithm or the message.
	ErrKey = errors.New("COSE key does not fit")
	// ErrNotCanonical means a message that could be spelled in another way under the same signature or tag.
	ErrNotCanonical = errors.New("COSE message is not in canonical form")
)

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
