package jose_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop/jose"
	cnfjwe "github.com/latchkey-ace/latchkey/pop/jose/jwe"
)

// run measures one operation under a name.
func run(b *testing.B, name string, op func() error) {
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := op(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkSign(b *testing.B) {
	device, access := claims(b), accessFor(b, &jose.Confirmation{Thumbprint: issuerThumbprint(b)})
	run(b, "device", func() error { _, err := jose.Sign(device, signer()); return err })
	run(b, "access", func() error { _, err := jose.SignAccess(access, signer()); return err })
	run(b, "proof", func() error {
		_, err := jose.Prove(jose.ProofFor{Method: "POST", URL: proofURL}, issuer, proofTime, rand.Reader)
		return err
	})
	digest := sha256.Sum256([]byte(header))
	run(b, "bare-ES256", func() error { _, err := ecdsa.SignASN1(rand.Reader, issuer, digest[:]); return err })
}

func BenchmarkVerify(b *testing.B) {
	device := sign(b, claims(b))
	access, err := jose.SignAccess(accessFor(b, &jose.Confirmation{Thumbprint: issuerThumbprint(b)}), signer())
	if err != nil {
		b.Fatal(err)
	}
	statement, dpop := forge(b, attestation, attestationClaims), proof(b, nil)
	e := jose.Expect{Keys: jose.Only(issuerKey(b, "")), Issuer: "https://as.example", Audience: "https://rs.example", Now: time.Unix(1_800_000_001, 0)}
	run(b, "device", func() error { _, err := jose.Open(device, find); return err })
	run(b, "access", func() error { _, err := jose.OpenAccess(access, e); return err })
	run(b, "attestation", func() error { _, err := jose.Verify(statement, expectAttestation(b)); return err })
	run(b, "proof", func() error { _, err := jose.VerifyProof(dpop, expectProof()); return err })
	digest := sha256.Sum256([]byte(header))
	signature, err := ecdsa.SignASN1(rand.Reader, issuer, digest[:])
	if err != nil {
		b.Fatal(err)
	}
	run(b, "bare-ES256", func() error {
		if !ecdsa.VerifyASN1(&issuer.PublicKey, digest[:], signature) {
			return jose.ErrProtection
		}
		return nil
	})
}

// BenchmarkRefuse is what a stranger's bytes cost before a signature is looked at.
func BenchmarkRefuse(b *testing.B) {
	e := expectAttestation(b)
	for name, token := range map[string]string{
		"10000-dots": strings.Repeat(".", 10_000), "8000-dots": strings.Repeat(".", 8_000), "other-typ": forge(b, header, attestationClaims),
		"8-KiB-of-names": forge(b, attestation, `{"a":[`+strings.Repeat(`{},`, 1500)+`{}]}`),
	} {
		run(b, name, func() error {
			if _, err := jose.Verify(token, e); err == nil {
				b.Fatal("taken")
			}
			return nil
		})
	}
}

func BenchmarkPossessionKey(b *testing.B) {
	jwe := encrypted(b)
	run(b, "encrypt", func() error { _, err := cnfjwe.EncryptKey(secret, secretI, device.PublicKey()); return err })
	run(b, "decrypt", func() error { _, _, err := cnfjwe.DecryptKey(jwe, device); return err })
	public := device.PublicKey()
	run(b, "bare-ECDH", func() error { _, err := device.ECDH(public); return err })
}
