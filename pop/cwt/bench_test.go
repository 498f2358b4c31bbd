package cwt

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"testing"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/internal/ccm"
)

// shapes are the offline token shapes and their claims.
func shapes(b *testing.B, h *house) []struct {
	name   string
	p      Protection
	claims *pop.Claims
} {
	b.Helper()
	return []struct {
		name   string
		p      Protection
		claims *pop.Claims
	}{
		{"Encrypt0", Encrypt0{h.token}, full(pop.Confirmation{OSCORE: inputMaterial()})},
		{"Sign1", h.sign1(), full(h.encrypted(b))},
		{"Nested", Nested{Sign1: h.sign1(), Encrypt0: Encrypt0{h.token}}, full(h.encrypted(b))},
		{"Mac0", Mac0{h.mac}, full(h.encrypted(b))},
	}
}

func BenchmarkSeal(b *testing.B) {
	h := newHouse(b)
	for _, s := range shapes(b, h) {
		b.Run(s.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := Seal(s.claims, s.p, rand.Reader); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("bare-ES256", func(b *testing.B) {
		digest := sha256.Sum256([]byte("claims"))
		for b.Loop() {
			if _, err := ecdsa.SignASN1(rand.Reader, h.signer, digest[:]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("bare-CCM", func(b *testing.B) { bareCCM(b, h) })
}

func BenchmarkOpen(b *testing.B) {
	h := newHouse(b)
	for _, s := range shapes(b, h) {
		token := mustSeal(b, s.claims, s.p)
		b.Run(s.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := Open(token, h.keys()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	typed, err := cose.NewKey(h.token.K, cose.KeyOptions{ID: h.token.ID, Algorithm: h.token.Algorithm})
	if err != nil {
		b.Fatal(err)
	}
	token := mustSeal(b, full(pop.Confirmation{OSCORE: inputMaterial()}), Encrypt0{h.token})
	b.Run("Encrypt0-typed-key", func(b *testing.B) { // keeps its key schedule
		for b.Loop() {
			if _, err := Open(token, Keys{Find: cose.With(typed)}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("bare-ES256", func(b *testing.B) {
		digest := sha256.Sum256([]byte("claims"))
		signature, err := ecdsa.SignASN1(rand.Reader, h.signer, digest[:])
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if !ecdsa.VerifyASN1(&h.signer.PublicKey, digest[:], signature) {
				b.Fatal("does not verify")
			}
		}
	})
	b.Run("bare-CCM", func(b *testing.B) { bareCCM(b, h) })
}

// bareCCM is the AEAD alone over as many bytes as a full claims set has, with the key schedule, as one token costs it.
func bareCCM(b *testing.B, h *house) {
	nonce, plaintext, aad := make([]byte, ccm.NonceSize), make([]byte, 122), make([]byte, 36)
	for b.Loop() {
		aead, err := ccm.New(h.token.K, 16)
		if err != nil {
			b.Fatal(err)
		}
		aead.Seal(nil, nonce, plaintext, aad)
	}
}

func BenchmarkPossessionKey(b *testing.B) {
	h := newHouse(b)
	shared, err := EncryptKey(possessionKey(), h.cnf, rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	public, err := EncryptKeyTo(possessionKey(), h.private.PublicKey(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	for name, encrypted := range map[string][]byte{"open-shared": shared, "open-ECDH-ES": public} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := DecryptKey(encrypted, h.opener()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("seal-ECDH-ES", func(b *testing.B) {
		for b.Loop() {
			if _, err := EncryptKeyTo(possessionKey(), h.private.PublicKey(), rand.Reader); err != nil {
				b.Fatal(err)
			}
		}
	})
}
