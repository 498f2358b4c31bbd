package jwe

import (
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/jose"
	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwe"
)

// wrapKey is the length in bytes of an A256KW key (RFC 7518 §4.4).
const wrapKey = 32

// Unwrap opens a compact JWE of at most jose.MaxWrapped bytes whose content key is wrapped with A256KW and whose content is encrypted with
// A256GCM, as Google Play encrypts its verdicts. key has 32 bytes. Errors wrap jose.ErrForm or jose.ErrProtection and hold nothing of the
// plaintext or the key.
func Unwrap(encrypted string, key []byte) ([]byte, error) {
	if len(key) != wrapKey {
		return nil, fmt.Errorf("unwrap: %w: key of %d bytes, want %d", jose.ErrProtection, len(key), wrapKey)
	}
	if err := jose.CheckWrapped(encrypted); err != nil {
		return nil, fmt.Errorf("unwrap: %w", err)
	}
	plaintext, err := jwe.Decrypt([]byte(encrypted), jwe.WithKey(jwa.A256KW, key))
	if err != nil {
		return nil, fmt.Errorf("unwrap: %w", jose.ErrProtection) // the library's words could tell where decryption ended
	}
	return plaintext, nil
}
