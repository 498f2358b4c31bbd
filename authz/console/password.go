package console

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Argon2id parameters: 19 MiB and two passes (OWASP's minimum), about 25 ms on one core.
const (
	argonMemory  = 19 * 1024 // KiB
	argonTime    = 2
	argonThreads = 1
	argonKey     = 32
	argonSalt    = 16

	MinPassword = 8    // bytes
	MaxPassword = 1024 // bytes; longer input would only burn memory
)

// ErrPasswordLength refuses a new password before it is hashed.
var ErrPasswordLength = fmt.Errorf("a password has %d to %d bytes", MinPassword, MaxPassword)

var errPasswordHash = errors.New("stored password hash is not argon2id in PHC format with our parameters")

const phcPrefix = "$argon2id$v=19$m=19456,t=2,p=1$"

// HashPassword makes the PHC string that is stored for a person.
func HashPassword(password string) (string, error) {
	if len(password) < MinPassword || len(password) > MaxPassword {
		return "", ErrPasswordLength
	}
	salt := make([]byte, argonSalt)
	if _, err := rand.Read(salt); err != nil {
		return "", fmt.Errorf("salt: %w", err)
	}
	b64 := base64.RawStdEncoding
	return phcPrefix + b64.EncodeToString(salt) + "$" + b64.EncodeToString(argon(password, salt)), nil
}

// nobodysHash is of a password that nobody knows. To check one against it costs what it costs for anybody's; to make it, nothing.
func nobodysHash() string {
	salt, hash := make([]byte, argonSalt), make([]byte, argonKey)
	_, _ = rand.Read(salt) // never fails
	_, _ = rand.Read(hash)
	b64 := base64.RawStdEncoding
	return phcPrefix + b64.EncodeToString(salt) + "$" + b64.EncodeToString(hash)
}

func argon(password string, salt []byte) []byte {
	return argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, argonKey)
}

// checkPassword compares in constant time.
func checkPassword(stored, password string) (bool, error) {
	rest, ok := strings.CutPrefix(stored, phcPrefix)
	salt64, hash64, ok2 := strings.Cut(rest, "$")
	if !ok || !ok2 {
		return false, errPasswordHash
	}
	salt, err := base64.RawStdEncoding.DecodeString(salt64)
	if err != nil {
		return false, errPasswordHash
	}
	hash, err := base64.RawStdEncoding.DecodeString(hash64)
	if err != nil || len(hash) != argonKey {
		return false, errPasswordHash
	}
	return subtle.ConstantTimeCompare(argon(password, salt), hash) == 1, nil
}

// hashing bounds the memory of concurrent sign-ins: each holds 19 MiB.
type hashing chan struct{}

func (h hashing) run(ctx context.Context, f func()) error {
	select {
	case h <- struct{}{}:
		defer func() { <-h }()
		f()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
