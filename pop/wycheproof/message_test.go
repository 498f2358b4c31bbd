package wycheproof_test

import (
	"testing"

	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// Header labels of RFC 9052 §3.1 and RFC 9053 §5.1 and §6.3.1.
const (
	labelAlgorithm = 1
	labelIV        = 5
	labelEphemeral = -1
	labelSalt      = -20
)

// COSE_Key labels and values (RFC 9052 §7.1, RFC 9053 §7).
const (
	keyType   = 1
	keyCurve  = -1
	keySecret = -1
	keyX      = -2
	keyY      = -3

	typeOKP       = 1
	typeEC2       = 2
	typeSymmetric = 4

	curveP256    = 1
	curveP384    = 2
	curveX25519  = 4
	curveEd25519 = 6
)

// header is one bucket of a COSE message; what this file builds has everything in protected.
type header map[int64]any

func encode(t testing.TB, v any) []byte {
	t.Helper()
	data, err := wire.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// structure is a COSE structure that is signed, authenticated or encrypted with (RFC 9052 §4.4, §5.3, §6.3).
func structure(t testing.TB, context string, protected, external []byte, more ...any) []byte {
	if external == nil {
		external = []byte{}
	}
	return encode(t, append([]any{context, protected, external}, more...))
}

// recipient is a COSE_recipient.
type recipient struct {
	protected header // nil: a zero-length string
	open      header // unprotected; a key wrap has nothing else (RFC 9053 §6.2.1)
	wrapped   []byte
}

// layer gives the array of RFC 9052 §5.1, with the protected header as it goes into the key derivation.
func (r recipient) layer(t testing.TB) []any {
	open, wrapped := r.open, r.wrapped
	if open == nil {
		open = header{}
	}
	if wrapped == nil {
		wrapped = []byte{}
	}
	return []any{r.protectedBytes(t), open, wrapped}
}

func (r recipient) protectedBytes(t testing.TB) []byte {
	if r.protected == nil {
		return []byte{}
	}
	return encode(t, r.protected)
}

// kdfContext is COSE_KDF_Context (RFC 9053 §5.2) with nobody named.
func kdfContext(t testing.TB, alg cose.Algorithm, keyBits int, protected []byte) []byte {
	nobody := []any{nil, nil, nil}
	return encode(t, []any{int64(alg), nobody, nobody, []any{keyBits, protected}})
}

// parseKey gives the key that cose reads from a COSE_Key; a key is never what these vectors are about.
func parseKey(t testing.TB, members header) *cose.Key {
	t.Helper()
	key, err := cose.ParseKey(encode(t, members))
	if err != nil {
		t.Fatal(err)
	}
	return key
}
