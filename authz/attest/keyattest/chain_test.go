package keyattest

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"testing"
	"time"
)

func rsaKey(t testing.TB, bits int) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestRefuseCertificates(t *testing.T) {
	tests := []struct {
		name   string
		change func(*forged)
		want   error
	}{
		{"extension in an intermediate too", func(f *forged) { f.certs[1].ExtraExtensions = []pkix.Extension{attestation(f.description())} }, ErrAttestKey},
		{"two extensions in the leaf", func(f *forged) { f.certs[0].ExtraExtensions = []pkix.Extension{attestation(f.description())} }, ErrMalformed},
		{"expired intermediate, by a second", func(f *forged) { f.certs[1].NotAfter = now.Add(-time.Second) }, ErrValidity},
		{"intermediate that is not yet valid", func(f *forged) { f.certs[2].NotBefore = now.Add(time.Second) }, ErrValidity},
		{"leaf that is an authority", func(f *forged) { f.certs[0].IsCA, f.certs[0].BasicConstraintsValid = true, true }, ErrChain},
		{"leaf that may sign certificates", func(f *forged) { f.certs[0].KeyUsage |= x509.KeyUsageCertSign }, ErrChain},
		{"intermediate that is no authority", func(f *forged) { f.certs[1].IsCA = false }, ErrChain},
		{"intermediate that may not sign certificates", func(f *forged) { f.certs[1].KeyUsage = x509.KeyUsageDigitalSignature }, ErrChain},
		{"path too long", func(f *forged) { f.certs[2].MaxPathLenZero = true }, ErrChain},
		{"critical extension that nobody knows", func(f *forged) {
			f.certs[1].ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3}, Critical: true, Value: null()}}
		}, ErrChain},
		{"leaf on P-384", func(f *forged) { f.keys[0] = ecKey(t, elliptic.P384()) }, ErrKey},
		{"leaf with an RSA key", func(f *forged) { f.keys[0] = rsaKey(t, 2048) }, ErrKey},
		{"intermediate with P-521", func(f *forged) { f.keys[1] = ecKey(t, elliptic.P521()) }, ErrAlgorithm},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := forge(t)
			tt.change(f)
			refused(t, f.verifier(), f.chain(t), tt.want)
		})
	}
}

func TestRefuseChains(t *testing.T) {
	f, stranger := forge(t), forge(t)
	v, chain, other := f.verifier(), f.chain(t), stranger.chain(t)
	refused(t, stranger.verifier(), chain, ErrRoot)
	refused(t, stranger.verifier(), chain[:3], ErrRoot)
	refused(t, &Verifier{Apps: v.Apps}, chain, ErrRoot)
	refused(t, v, nil, ErrMalformed)
	refused(t, v, chain[:1], ErrRoot)
	refused(t, v, chain[:2], ErrRoot)
	refused(t, v, chain[1:], ErrNotAttested)
	refused(t, v, chain[3:], ErrNotAttested)
	refused(t, v, [][]byte{chain[0], chain[2], chain[3]}, ErrChain)
	refused(t, v, [][]byte{chain[0], chain[1], chain[3]}, ErrChain)
	refused(t, v, [][]byte{other[0], chain[1], chain[2], chain[3]}, ErrChain)
	refused(t, v, append(slices.Clone(chain), other[3]), ErrRoot)
	refused(t, v, append(slices.Clone(chain), chain[3]), ErrChain)
	refused(t, v, append(slices.Clone(chain), make([][]byte, 3)...), ErrMalformed)
	refused(t, v, [][]byte{chain[0], make([]byte, maxChainBytes)}, ErrMalformed)
	permute(chain, func(order []int, mixed [][]byte) {
		if _, err := v.Verify(mixed, challenge, now); (err == nil) != slices.IsSorted(order) {
			t.Errorf("order %v: got %v", order, err)
		}
	})
	if _, err := v.Verify(chain, nil, now); !errors.Is(err, ErrChallenge) {
		t.Errorf("verification without a challenge: got %v", err)
	}
}

// permute calls f with every order of a chain of four.
func permute(chain [][]byte, f func([]int, [][]byte)) {
	for n := range 256 {
		order := []int{n & 3, n >> 2 & 3, n >> 4 & 3, n >> 6 & 3}
		if sorted := slices.Compact(slices.Sorted(slices.Values(order))); len(sorted) < 4 {
			continue
		}
		f(order, [][]byte{chain[order[0]], chain[order[1]], chain[order[2]], chain[order[3]]})
	}
}

// An attested key signs certificates of its owner's invention; what they say is not the hardware's word.
func TestRefuseLeafBelowAnAttestedKey(t *testing.T) {
	f := forge(t)
	chain := f.chain(t)
	attested, err := x509.ParseCertificate(chain[0])
	if err != nil {
		t.Fatal(err)
	}
	key := ecKey(t, elliptic.P256())
	for _, extensions := range [][]pkix.Extension{{attestation(f.description())}, nil} {
		invented := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: attested.Subject, NotBefore: now, NotAfter: now.AddDate(1, 0, 0),
			ExtraExtensions: extensions,
		}
		der, err := x509.CreateCertificate(rand.Reader, invented, attested, key.Public(), f.keys[0])
		if err != nil {
			t.Fatal(err)
		}
		refused(t, f.verifier(), append([][]byte{der}, chain...), ErrAttestKey)
	}
}

func TestRefuseRevoked(t *testing.T) {
	f := forge(t)
	chain, v := f.chain(t), f.verifier()
	for i, cert := range f.certs {
		for _, status := range []string{"REVOKED", "SUSPENDED"} {
			list, err := ParseRevocation(fmt.Appendf(nil, `{"entries":{"%x":{"status":%q}}}`, cert.SerialNumber, status))
			if err != nil {
				t.Fatal(err)
			}
			v.Revoked = list
			if _, err := v.Verify(chain, challenge, now); !errors.Is(err, ErrRevoked) {
				t.Errorf("certificate %d, %s: got %v, want %v", i, status, err, ErrRevoked)
			}
		}
	}
	v.Revoked = &Revocation{serials: map[string]struct{}{"ffff": {}}}
	if _, err := v.Verify(chain, challenge, now); err != nil {
		t.Errorf("list of others: got %v", err)
	}
}

func TestRefuseDamage(t *testing.T) {
	f := forge(t)
	f.keys[2], f.keys[3] = ecKey(t, elliptic.P256()), ecKey(t, elliptic.P256()) // for speed: there are thousands of bits
	chain, v := f.chain(t), f.verifier()
	whole := chain[0]
	for n := range whole {
		chain[0] = whole[:n]
		if _, err := v.Verify(chain, challenge, now); err == nil {
			t.Fatalf("leaf cut at %d is accepted", n)
		}
	}
	chain[0] = append(bytes.Clone(whole), 0)
	refused(t, v, chain, ErrMalformed)
	for bit := range len(whole) * 8 {
		chain[0] = bytes.Clone(whole)
		chain[0][bit/8] ^= 1 << (bit % 8)
		if _, err := v.Verify(chain, challenge, now); err == nil {
			t.Fatalf("leaf with bit %d flipped is accepted", bit)
		}
	}
	description := f.description()
	for n := range description {
		if _, err := parseDescription(description[:n]); err == nil {
			t.Fatalf("description cut at %d is accepted", n)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	chain := readPEM(b, "normal_cert_chain.pem")
	v := googleVerifier(b, chain)
	for b.Loop() {
		if _, err := v.Verify(chain, []byte("challenge"), spring); err != nil {
			b.Fatal(err)
		}
	}
}
