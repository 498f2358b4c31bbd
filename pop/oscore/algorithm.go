package oscore

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/internal/ccm"
)

// algorithm is an AEAD algorithm of the COSE registry with what RFC 8613 §3.2 and §5.2 need to know of it. Algorithms whose
// keys or nonces are longer than maxKey and maxNonce are left out, and so is ChaCha20/Poly1305, which no constrained peer
// offers.
type algorithm struct {
	id       cose.Algorithm
	keySize  int // bytes
	nonce    int // bytes
	tag      int // bytes
	failures uint32
	make     func(key []byte, tag int) (cipher.AEAD, error)
}

const (
	maxKey   = 32
	maxNonce = ccm.NonceSize
)

// The AEAD algorithms, in the order of the registry; zero in Params stands for AES-CCM-16-64-128 (RFC 8613 §3.2).
const (
	algorithmGCM128      cose.Algorithm = 1  // A128GCM
	algorithmGCM256      cose.Algorithm = 3  // A256GCM
	algorithmCCM64       cose.Algorithm = 10 // AES-CCM-16-64-128
	algorithmCCM64Key256 cose.Algorithm = 11 // AES-CCM-16-64-256
	algorithmCCM128      cose.Algorithm = 30 // AES-CCM-16-128-128
	algorithmCCM128Key   cose.Algorithm = 31 // AES-CCM-16-128-256
)

var algorithms = [...]algorithm{
	{algorithmGCM128, 16, 12, 16, maxFailuresLongTag, newGCM},
	{algorithmGCM256, 32, 12, 16, maxFailuresLongTag, newGCM},
	{algorithmCCM64, 16, 13, 8, maxFailuresShortTag, ccm.New},
	{algorithmCCM64Key256, 32, 13, 8, maxFailuresShortTag, ccm.New},
	{algorithmCCM128, 16, 13, 16, maxFailuresLongTag, ccm.New},
	{algorithmCCM128Key, 32, 13, 16, maxFailuresLongTag, ccm.New},
}

func newGCM(key []byte, _ int) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func algorithmOf(id cose.Algorithm) (*algorithm, error) {
	if id == 0 {
		id = algorithmCCM64
	}
	for i := range algorithms {
		if algorithms[i].id == id {
			return &algorithms[i], nil
		}
	}
	return nil, fmt.Errorf("oscore: aead algorithm %d is not supported", id)
}

// maxID is the longest kid that fits the nonce beside its length and the Partial IV (RFC 8613 §5.2).
func (a *algorithm) maxID() int { return a.nonce - 1 - MaxPartialIV }

// aead makes the key schedule, which costs about half a microsecond and half a kibibyte.
func (a *algorithm) aead(key *[maxKey]byte) cipher.AEAD {
	made, err := a.make(key[:a.keySize], a.tag)
	if err != nil {
		panic("oscore: " + err.Error()) // a wrong size in the table above
	}
	return made
}
