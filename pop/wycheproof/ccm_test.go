package wycheproof_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"slices"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/internal/ccm"
	pion "github.com/pion/dtls/v3/pkg/crypto/ccm"
)

// aeadGroup is AeadTest of the schemas; sizes are in bits.
type aeadGroup struct {
	IVSize, KeySize, TagSize int
	Tests                    []aeadVector
}

type aeadVector struct {
	vector
	Key, IV, AAD, Msg, Ct, Tag octets
}

// open decrypts a vector with an AEAD and compares what comes out.
func (v aeadVector) open(aead cipher.AEAD) error {
	got, err := aead.Open(nil, v.IV, slices.Concat(v.Ct, v.Tag), v.AAD)
	if err == nil && !bytes.Equal(got, v.Msg) {
		return errors.New("another plaintext")
	}
	return err
}

// seal encrypts a vector and compares.
func (v aeadVector) seal(aead cipher.AEAD) error {
	if got := aead.Seal(nil, v.IV, v.Msg, v.AAD); !bytes.Equal(got, slices.Concat(v.Ct, v.Tag)) {
		return errors.New("another ciphertext or tag")
	}
	return nil
}

// TestCCM runs AES-CCM itself. Our parameters are those of COSE and OSCORE: nonces of 13 bytes, tags of 8 or 16.
func TestCCM(t *testing.T) {
	c := newTally(t, "aes_ccm_test.json", counts{valid: 12, invalid: 147, outside: 393})
	for _, g := range load[aeadGroup](t, "aes_ccm_test.json") {
		for _, v := range g.Tests {
			aead, err := ccm.New(v.Key, g.TagSize/8)
			inScope := err == nil && g.IVSize == 8*ccm.NonceSize
			if err == nil {
				err = v.open(aead)
			}
			if err == nil && v.Result == "valid" {
				err = v.seal(aead)
			}
			c.is(v.vector, inScope, err)
		}
	}
}

// TestCCMCarriedOver gives the 12-byte nonces of most vectors, the modified tags among them, the 13th byte 0. That is
// another instance of CCM (L = 2 for L = 3), so tag and key stream come from a second implementation, which must first
// reproduce the vector as it is; what the vector has changed in ciphertext and tag is changed in ours.
func TestCCMCarriedOver(t *testing.T) {
	c := newTally(t, "aes_ccm_test.json, nonces carried over", counts{valid: 118, invalid: 54})
	for _, g := range load[aeadGroup](t, "aes_ccm_test.json") {
		if g.IVSize != 96 || g.KeySize == 192 || g.TagSize != 64 && g.TagSize != 128 {
			continue
		}
		for _, v := range g.Tests {
			aead, err := ccm.New(v.Key, g.TagSize/8)
			if err != nil {
				t.Fatal(err)
			}
			c.is(v.vector, true, carryOver(t, v).open(aead))
		}
	}
}

// carryOver makes the vector with a longer nonce.
func carryOver(t *testing.T, v aeadVector) aeadVector {
	right := oracle(t, v, len(v.IV)).Seal(nil, v.IV, v.Msg, v.AAD)
	given := slices.Concat(v.Ct, v.Tag)
	if same := bytes.Equal(right, given); same != (v.Result == "valid") {
		t.Fatalf("vector %d is %s, but the second implementation finds it right: %v", v.ID, v.Result, same)
	}
	v.IV = append(slices.Clone(v.IV), 0)
	ours := oracle(t, v, len(v.IV)).Seal(nil, v.IV, v.Msg, v.AAD)
	for i := range ours {
		ours[i] ^= right[i] ^ given[i]
	}
	v.Ct, v.Tag = ours[:len(v.Msg)], ours[len(v.Msg):]
	return v
}

func oracle(t *testing.T, v aeadVector, nonceSize int) cipher.AEAD {
	block, err := aes.NewCipher(v.Key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := pion.NewCCM(block, len(v.Tag), nonceSize)
	if err != nil {
		t.Fatal(err)
	}
	return aead
}
