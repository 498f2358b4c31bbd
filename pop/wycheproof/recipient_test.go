package wycheproof_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/internal/keywrap"
)

type wrapGroup struct {
	KeySize int // bits
	Tests   []wrapVector
}

type wrapVector struct {
	vector
	Key, Msg, Ct octets
}

var shortKey = map[string]string{"ShortKey": "no content key has 8 bytes"}

// TestKeyWrap runs the key wrap itself, with key-encryption keys of all three sizes, both ways.
func TestKeyWrap(t *testing.T) {
	c := newTally(t, "aes_wrap_test.json", counts{valid: 36, invalid: 126, acceptable: 3})
	c.refuse = shortKey
	for _, g := range load[wrapGroup](t, c.file) {
		for _, v := range g.Tests {
			got, err := keywrap.Unwrap(v.Key, v.Ct)
			if err == nil && !bytes.Equal(got, v.Msg) {
				err = errors.New("another key")
			}
			if again, errWrap := keywrap.Wrap(v.Key, v.Msg); v.Result == "valid" && !bytes.Equal(again, v.Ct) {
				err = errors.Join(err, errWrap, errors.New("wrapped into other bytes"))
			}
			c.is(v.vector, true, err)
		}
	}
}

// TestKeyWrapThroughCOSE unwraps each vector's ciphertext as the content key of a COSE_Encrypt with an A128KW recipient.
// The content is encrypted under the key that the vector says was wrapped: who leaves out the integrity check of
// RFC 3394 opens the invalid ones.
func TestKeyWrapThroughCOSE(t *testing.T) {
	c := newTally(t, "aes_wrap_test.json", counts{valid: 7, invalid: 126, acceptable: 3, outside: 29})
	c.refuse = shortKey
	for _, g := range load[wrapGroup](t, c.file) {
		for _, v := range g.Tests {
			inScope := g.KeySize == 128 && (len(v.Msg) == 16 || len(v.Msg) == 32) || v.Result == "acceptable"
			c.is(v.vector, inScope, v.unwrap(t))
		}
	}
}

func (v wrapVector) unwrap(t *testing.T) error {
	content := []byte(v.Msg)
	if len(content) != 16 && len(content) != 32 {
		content = make([]byte, 16)
	}
	to := recipient{open: header{labelAlgorithm: int64(cose.A128KW)}, wrapped: v.Ct}
	return openWith(t, to, content, header{keyType: typeSymmetric, keySecret: []byte(v.Key)})
}

type hkdfGroup struct{ Tests []hkdfVector }

type hkdfVector struct {
	vector
	IKM, Salt, Info octets
	Size            int
	OKM             octets
}

// TestHKDFThroughCOSE takes each vector's input and salt as key and salt of a COSE_Encrypt with a direct+HKDF-SHA-256
// recipient. COSE prescribes the info, so the key that must come out is the one of the standard library, which must
// first reproduce the vector as it is. Three vectors ask for more output than HKDF has; COSE cannot ask for it.
func TestHKDFThroughCOSE(t *testing.T) {
	c := newTally(t, "hkdf_sha256_test.json", counts{valid: 81, outside: 2})
	for _, g := range load[hkdfGroup](t, c.file) {
		for _, v := range g.Tests {
			okm, err := hkdf.Key(sha256.New, v.IKM, v.Salt, string(v.Info), v.Size)
			if v.Result == "invalid" && err != nil {
				continue
			}
			if err != nil || !bytes.Equal(okm, v.OKM) {
				t.Fatalf("vector %d: %v", v.ID, err)
			}
			inScope := len(v.IKM) >= 16 && len(v.IKM) <= 64 && len(v.Salt) <= 64 // the bounds of pop/cose
			c.is(v.vector, inScope, v.open(t, cose.DirectHKDF256))
		}
	}
}

// TestHKDF512IsRefused: COSE has direct+HKDF-SHA-512, pop has not.
func TestHKDF512IsRefused(t *testing.T) {
	c := newTally(t, "hkdf_sha512_test.json", counts{invalid: 3, outside: 80})
	for _, g := range load[hkdfGroup](t, c.file) {
		for _, v := range g.Tests {
			c.is(v.vector, false, v.open(t, -11))
		}
	}
}

func (v hkdfVector) open(t *testing.T, alg cose.Algorithm) error {
	to := recipient{protected: header{labelAlgorithm: int64(alg)}, open: header{labelSalt: []byte(v.Salt)}}
	key, err := hkdf.Key(sha256.New, v.IKM, v.Salt, string(kdfContext(t, cose.A128GCM, 128, to.protectedBytes(t))), 16)
	if err != nil {
		t.Fatal(err)
	}
	return openWith(t, to, key, header{keyType: typeSymmetric, keySecret: []byte(v.IKM)})
}
