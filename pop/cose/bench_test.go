package cose_test

import (
	"bytes"
	"crypto"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"math/big"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/internal/ccm"
	"golang.org/x/crypto/chacha20poly1305"
)

// claims are as many bytes as the claims of a token have.
var claims = bytes.Repeat([]byte{0xc1}, 160)

func mustKey(tb testing.TB, material any, o cose.KeyOptions) *cose.Key {
	tb.Helper()
	key, err := cose.NewKey(material, o)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// measure runs what must succeed.
func measure(b *testing.B, name string, run func() error) {
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := run(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkSign1(b *testing.B) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"ES256": private, "EdDSA": edwards} {
		signer := cose.Signer{Key: key, ID: cose.KeyID{9}}
		find := cose.With(mustKey(b, key.Public(), cose.KeyOptions{}))
		data, err := cose.Sign1(signer, claims, nil, rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		measure(b, name+"/sign/cose", func() error {
			_, err := cose.Sign1(signer, claims, nil, rand.Reader)
			return err
		})
		measure(b, name+"/verify/cose", func() error {
			m, err := cose.ParseSign1(data)
			if err != nil {
				return err
			}
			_, err = m.VerifyWith(find, cose.Options{})
			return err
		})
	}
	bareSignatures(b, private, edwards)
}

// bareSignatures are the same signatures over the same number of bytes, with the hash.
func bareSignatures(b *testing.B, private *ecdsa.PrivateKey, edwards ed25519.PrivateKey) {
	signed := make([]byte, len(claims)+32)
	digest := sha256.Sum256(signed)
	r, s, err := ecdsa.Sign(rand.Reader, private, digest[:])
	if err != nil {
		b.Fatal(err)
	}
	measure(b, "ES256/sign/bare", func() error {
		digest := sha256.Sum256(signed)
		_, err := ecdsa.SignASN1(rand.Reader, private, digest[:])
		return err
	})
	raw := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	measure(b, "ES256/verify/bare", func() error {
		digest := sha256.Sum256(signed)
		if !ecdsa.Verify(&private.PublicKey, digest[:], new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])) {
			return cose.ErrVerification
		}
		return nil
	})
	signature := ed25519.Sign(edwards, signed)
	public := edwards.Public().(ed25519.PublicKey)
	measure(b, "EdDSA/sign/bare", func() error { ed25519.Sign(edwards, signed); return nil })
	measure(b, "EdDSA/verify/bare", func() error {
		if !ed25519.Verify(public, signed, signature) {
			return cose.ErrVerification
		}
		return nil
	})
}

func BenchmarkEncrypt0(b *testing.B) {
	for _, alg := range []cose.Algorithm{cose.AESCCM16_128_128, cose.A128GCM, cose.ChaCha20Poly1305} {
		secret := make([]byte, 16)
		if alg == cose.ChaCha20Poly1305 {
			secret = make([]byte, 32)
		}
		key := mustKey(b, secret, cose.KeyOptions{ID: cose.KeyID{7}, Algorithm: alg})
		find := cose.With(key)
		data, err := cose.Encrypt0(key, claims, nil, rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		measure(b, alg.String()+"/seal/cose", func() error {
			_, err := cose.Encrypt0(key, claims, nil, rand.Reader)
			return err
		})
		measure(b, alg.String()+"/open/cose", func() error {
			m, err := cose.ParseEncrypt0(data)
			if err != nil {
				return err
			}
			_, err = m.OpenWith(find, cose.Options{})
			return err
		})
		bareAEAD(b, alg.String(), newBare(b, alg, secret))
	}
}

func newBare(b *testing.B, alg cose.Algorithm, secret []byte) cipher.AEAD {
	b.Helper()
	var aead cipher.AEAD
	var err error
	switch alg {
	case cose.AESCCM16_128_128:
		aead, err = ccm.New(secret, 16)
	case cose.A128GCM:
		aead = newGCM(b, secret)
	default:
		aead, err = chacha20poly1305.New(secret)
	}
	if err != nil {
		b.Fatal(err)
	}
	return aead
}

// bareAEAD has its key schedule, draws its nonces as the package does, and makes its output.
func bareAEAD(b *testing.B, name string, aead cipher.AEAD) {
	aad := make([]byte, 36)
	nonce := make([]byte, aead.NonceSize())
	sealed := aead.Seal(nil, nonce, claims, aad)
	measure(b, name+"/open/bare", func() error {
		_, err := aead.Open(nil, nonce, sealed, aad)
		return err
	})
	measure(b, name+"/seal/bare", func() error {
		if _, err := rand.Read(nonce); err != nil {
			return err
		}
		aead.Seal(nil, nonce, claims, aad)
		return nil
	})
}

func BenchmarkMac0(b *testing.B) {
	key := mustKey(b, make([]byte, 32), cose.KeyOptions{ID: cose.KeyID{7}, Algorithm: cose.HMAC256})
	find := cose.With(key)
	data, err := cose.Mac0(key, claims, nil)
	if err != nil {
		b.Fatal(err)
	}
	measure(b, "create/cose", func() error {
		_, err := cose.Mac0(key, claims, nil)
		return err
	})
	measure(b, "verify/cose", func() error {
		m, err := cose.ParseMac0(data)
		if err != nil {
			return err
		}
		_, err = m.Verify(find, cose.Options{})
		return err
	})
	authenticated := make([]byte, len(claims)+20)
	measure(b, "bare", func() error {
		mac := hmac.New(sha256.New, make([]byte, 32))
		mac.Write(authenticated)
		mac.Sum(nil)
		return nil
	})
}
