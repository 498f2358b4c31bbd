package wycheproof_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"slices"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/cose"
	pion "github.com/pion/dtls/v3/pkg/crypto/ccm"
	"golang.org/x/crypto/chacha20poly1305"
)

// aeadKind is what COSE calls an AEAD with one size of key, nonce and tag, in bits, and a bare implementation.
type aeadKind struct {
	alg                      cose.Algorithm
	ivSize, keySize, tagSize int
	bare                     func(key []byte) (cipher.AEAD, error)
}

var gcmKinds = []aeadKind{
	{cose.A128GCM, 96, 128, 128, bareGCM},
	{cose.A256GCM, 96, 256, 128, bareGCM},
}

var chachaKinds = []aeadKind{{cose.ChaCha20Poly1305, 96, 256, 128, chacha20poly1305.New}}

var ccmKinds = []aeadKind{
	{cose.AESCCM16_64_128, 104, 128, 64, bareCCM(8)},
	{cose.AESCCM16_64_256, 104, 256, 64, bareCCM(8)},
	{cose.AESCCM16_128_128, 104, 128, 128, bareCCM(16)},
	{cose.AESCCM16_128_256, 104, 256, 128, bareCCM(16)},
}

func bareGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func bareCCM(tagSize int) func(key []byte) (cipher.AEAD, error) {
	return func(key []byte) (cipher.AEAD, error) {
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		return pion.NewCCM(block, tagSize, 13)
	}
}

func TestGCMThroughCOSE(t *testing.T) {
	c := newTally(t, "aes_gcm_test.json", counts{valid: 79, invalid: 87, outside: 150})
	throughEncrypt0(c, gcmKinds, nil)
}

func TestChaCha20Poly1305ThroughCOSE(t *testing.T) {
	c := newTally(t, "chacha20_poly1305_test.json", counts{valid: 256, invalid: 69})
	throughEncrypt0(c, chachaKinds, nil)
}

func TestCCMThroughCOSE(t *testing.T) {
	c := newTally(t, "aes_ccm_test.json", counts{valid: 130, invalid: 147, outside: 275})
	throughEncrypt0(c, ccmKinds, func(g aeadGroup, v aeadVector) (aeadGroup, aeadVector) {
		if g.IVSize == 96 && g.KeySize != 192 && (g.TagSize == 64 || g.TagSize == 128) {
			g.IVSize, v = 104, carryOver(t, v)
		}
		return g, v
	})
}

// throughEncrypt0 opens each vector as a COSE_Encrypt0 whose external data is the vector's.
func throughEncrypt0(c *tally, kinds []aeadKind, prepare func(aeadGroup, aeadVector) (aeadGroup, aeadVector)) {
	for _, group := range load[aeadGroup](c.t, c.file) {
		for _, v := range group.Tests {
			g := group
			if prepare != nil {
				g, v = prepare(g, v)
			}
			kind, inScope := g.kind(kinds)
			ciphertext := slices.Concat(v.Ct, v.Tag)
			if inScope {
				ciphertext = v.underEncStructure(c.t, kind)
			}
			c.is(v.vector, inScope, v.openEncrypt0(c.t, kind.alg, ciphertext))
		}
	}
}

// kind finds the COSE algorithm of a group; the first stands in for those that have none, and must not open them.
func (g aeadGroup) kind(kinds []aeadKind) (k aeadKind, ok bool) {
	for _, k := range kinds {
		if g.IVSize == k.ivSize && g.KeySize == k.keySize && g.TagSize == k.tagSize {
			return k, true
		}
	}
	return kinds[0], false
}

func (v aeadVector) protected(t *testing.T, alg cose.Algorithm) []byte {
	return encode(t, header{labelAlgorithm: int64(alg), labelIV: []byte(v.IV)})
}

// underEncStructure encrypts with the vector's key and nonce, but with the additional data that COSE prescribes, and
// gives ciphertext and tag the errors that the vector has in its own.
func (v aeadVector) underEncStructure(t *testing.T, kind aeadKind) []byte {
	aead, err := kind.bare(v.Key)
	if err != nil {
		t.Fatal(err)
	}
	right, given := aead.Seal(nil, v.IV, v.Msg, v.AAD), slices.Concat(v.Ct, v.Tag)
	if same := bytes.Equal(right, given); same != (v.Result == "valid") {
		t.Fatalf("vector %d is %s, but a bare implementation finds it right: %v", v.ID, v.Result, same)
	}
	ours := aead.Seal(nil, v.IV, v.Msg, structure(t, "Encrypt0", v.protected(t, kind.alg), v.AAD))
	for i := range ours {
		ours[i] ^= right[i] ^ given[i]
	}
	return ours
}

func (v aeadVector) openEncrypt0(t *testing.T, alg cose.Algorithm, ciphertext []byte) error {
	data := encode(t, []any{v.protected(t, alg), header{}, ciphertext})
	got, err := cose.OpenEncrypt0(data, cose.Only(cose.SymmetricKey{K: v.Key, Algorithm: alg}), v.AAD)
	if err == nil && !bytes.Equal(got, v.Msg) {
		return errors.New("another plaintext")
	}
	return err
}
