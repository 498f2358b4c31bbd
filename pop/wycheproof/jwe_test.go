package wycheproof_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/jose"
	cnfjwe "github.com/latchkey-ace/latchkey/pop/jose/jwe"
)

// TestECDHP256ThroughJWE lets jose.DecryptKey agree on each vector's secret: the vector's public key is the JWE's epk.
func TestECDHP256ThroughJWE(t *testing.T) {
	c := newTally(t, "ecdh_secp256r1_webcrypto_test.json", counts{valid: 330, invalid: 23})
	for _, g := range load[ecdhGroup[jwk]](t, c.file) {
		for _, v := range g.Tests {
			k, kid, err := cnfjwe.DecryptKey(keyFor(t, v.Public, v.Shared), p256.scalar(t, unbase64(t, v.Private.D)))
			if err == nil && (!bytes.Equal(k, make([]byte, 16)) || !bytes.Equal(kid, []byte{1})) {
				err = errors.New("another key")
			}
			if v.Result == "invalid" && errors.Is(err, jose.ErrProtection) {
				err = nil // the point was taken
			}
			c.is(v.vector, true, err)
		}
	}
}

// keyFor is a cnf.jwe of 16 zero bytes under a shared secret.
func keyFor(t *testing.T, epk jwk, shared []byte) string {
	encode := base64.RawURLEncoding.EncodeToString
	head := encode(fmt.Appendf(nil, `{"alg":"ECDH-ES","enc":"A128GCM","epk":{"kty":%q,"crv":%q,"x":%q,"y":%q}}`, epk.Kty, epk.Crv, epk.X, epk.Y))
	block, err := aes.NewCipher(concatKDF(shared))
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	iv := make([]byte, 12)
	sealed := aead.Seal(nil, iv, []byte(`{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAA","kid":"AQ"}`), []byte(head))
	cut := len(sealed) - 16
	return head + ".." + encode(iv) + "." + encode(sealed[:cut]) + "." + encode(sealed[cut:])
}

// concatKDF is RFC 7518 §4.6.2 for A128GCM, with nobody named.
func concatKDF(shared []byte) []byte {
	input := binary.BigEndian.AppendUint32(nil, 1)
	input = append(input, shared...)
	input = binary.BigEndian.AppendUint32(input, 7)
	input = append(input, "A128GCM"...)
	input = append(input, make([]byte, 8)...) // no PartyUInfo, no PartyVInfo
	input = binary.BigEndian.AppendUint32(input, 128)
	sum := sha256.Sum256(input)
	return sum[:16]
}
