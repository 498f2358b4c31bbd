package cose_test

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/cose"
)

// A server signs; a device verifies with the keys it knows. The signer may as well live in a hardware module.
func Example() {
	private, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	data, err := cose.Sign1(cose.Signer{Key: private, ID: cose.KeyID("2026")}, []byte("open at seven"), nil, rand.Reader)
	if err != nil {
		fmt.Println(err)
		return
	}
	key, _ := cose.NewKey(&private.PublicKey, cose.KeyOptions{
		ID: cose.KeyID("2026"), Algorithm: cose.ES256, Operations: []cose.KeyOperation{cose.OperationVerify},
	})

	m, err := cose.ParseSign1(data)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%v by %s\n", m.Algorithm(), m.KeyID())
	payload, err := m.VerifyWith(cose.KeySet{key}.Find, cose.Options{})
	fmt.Printf("%s %v\n", payload, err)
	// Output:
	// ES256 by 2026
	// open at seven <nil>
}

// A message for two: one has a key pair, the other shares a key with the sender.
func ExampleEncrypt() {
	private, _ := ecdh.X25519().GenerateKey(rand.Reader)
	monitor, _ := cose.NewKey(private.PublicKey(), cose.KeyOptions{ID: cose.KeyID("monitor")})
	lock, _ := cose.NewKey([]byte("sixteen byte key"), cose.KeyOptions{ID: cose.KeyID("lock")})
	to := []cose.To{{Key: monitor, Algorithm: cose.ECDHESA128KW}, {Key: lock, Algorithm: cose.A128KW}}
	data, err := cose.Encrypt(cose.Content{Algorithm: cose.ChaCha20Poly1305, Data: []byte("news")}, to, rand.Reader)
	if err != nil {
		fmt.Println(err)
		return
	}

	own, _ := cose.NewKey(private, cose.KeyOptions{ID: cose.KeyID("monitor")})
	for _, key := range []*cose.Key{own, lock} {
		m, err := cose.ParseEncrypt(data)
		if err != nil {
			fmt.Println(err)
			return
		}
		plaintext, err := m.OpenWith(cose.KeySet{key}.Find, cose.Options{})
		fmt.Printf("%s: %s %v\n", key.ID(), plaintext, err)
	}
	// Output:
	// monitor: news <nil>
	// lock: news <nil>
}

// A key says what it is for, and is refused for all else.
func ExampleKeyOptions() {
	key, _ := cose.NewKey([]byte("sixteen byte key"), cose.KeyOptions{
		Algorithm: cose.AESCCM16_64_128, Operations: []cose.KeyOperation{cose.OperationDecrypt},
	})
	_, err := cose.Encrypt0(key, []byte("no"), nil, rand.Reader)
	fmt.Println(errors.Is(err, cose.ErrKey), err)
	fmt.Println(key)
	// Output:
	// true COSE key does not fit: key is not permitted to encrypt
	// Symmetric key [redacted]
}
