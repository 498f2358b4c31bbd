package wycheproof_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"slices"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/cose"
)

type macGroup struct {
	KeySize, TagSize int // bits
	Tests            []macVector
}

type macVector struct {
	vector
	Key, Msg, Tag octets
}

// TestHMACThroughCOSE runs HMAC 256/256 through a COSE_Mac0 whose payload is the vector's message. COSE authenticates
// more than the payload, so the tag is computed anew and given the error that the vector has in its own.
func TestHMACThroughCOSE(t *testing.T) {
	c := newTally(t, "hmac_sha256_test.json", counts{valid: 30, invalid: 108, outside: 36})
	for _, g := range load[macGroup](t, c.file) {
		for _, v := range g.Tests {
			inScope := g.TagSize == 256 && g.KeySize <= 512 // pop takes no longer keys
			c.is(v.vector, inScope, v.verifyMac0(t, cose.HMAC256, len(v.Tag)))
		}
	}
}

// TestShortHMACThroughCOSE runs HMAC 256/64 with the first 8 bytes of each tag, where the vector's error, if it has one,
// is among them.
func TestShortHMACThroughCOSE(t *testing.T) {
	c := newTally(t, "hmac_sha256_test.json, tags of 8 bytes", counts{valid: 54, invalid: 64})
	for _, g := range load[macGroup](t, "hmac_sha256_test.json") {
		for _, v := range g.Tests {
			wrong := !bytes.Equal(v.right()[:8], v.Tag[:8])
			if g.KeySize == 256 && wrong == (v.Result == "invalid") {
				c.is(v.vector, true, v.verifyMac0(t, cose.HMAC256_64, 8))
			}
		}
	}
}

// TestHMAC512IsRefused: COSE has HMAC 384/384 and 512/512, pop has not.
func TestHMAC512IsRefused(t *testing.T) {
	for file, alg := range map[string]cose.Algorithm{"hmac_sha384_test.json": 6, "hmac_sha512_test.json": 7} {
		c := newTally(t, file, counts{invalid: 108, outside: 66})
		for _, g := range load[macGroup](t, file) {
			for _, v := range g.Tests {
				c.is(v.vector, false, v.verifyMac0(t, alg, len(v.Tag)))
			}
		}
	}
}

func (v macVector) right() []byte { return mac(v.Key, v.Msg) }

func mac(key, input []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(input)
	return h.Sum(nil)
}

func (v macVector) verifyMac0(t *testing.T, alg cose.Algorithm, size int) error {
	protected := encode(t, header{labelAlgorithm: int64(alg)})
	tag, right := mac(v.Key, structure(t, "MAC0", protected, nil, []byte(v.Msg))), v.right()
	if size > len(tag) {
		tag, right = slices.Clone(v.Tag), v.Tag
	}
	tag = tag[:size]
	for i := range tag {
		tag[i] ^= right[i] ^ v.Tag[i]
	}
	key, err := cose.ParseKey(encode(t, header{keyType: typeSymmetric, keySecret: []byte(v.Key)}))
	if err != nil {
		return err
	}
	m, err := cose.ParseMac0(encode(t, []any{protected, header{}, []byte(v.Msg), tag}))
	if err != nil {
		return err
	}
	got, err := m.Verify(cose.With(key), cose.Options{})
	if err == nil && !bytes.Equal(got, v.Msg) {
		return errors.New("another payload")
	}
	return err
}
