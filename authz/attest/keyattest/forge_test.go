package keyattest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

var (
	now        = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	challenge  = []byte("a challenge of 32 bytes, used 1x")
	signedBy   = sha256.Sum256([]byte("certificate of the app's maker"))
	otherMaker = sha256.Sum256([]byte("certificate of another maker"))
)

const packageName = "com.example.doorkey"

// field is an element of an authorization list.
type field struct {
	tag int
	der []byte
}

// forged is all that a phone says; tests change what they want.
type forged struct {
	version, keyVersion int64
	level, keyLevel     int64
	challenge           []byte
	software, hardware  []field
	trailing            []byte // behind the description
	appTrailing         []byte // behind the application id
	packages            []string
	digests             [][]byte
	certs               []*x509.Certificate
	keys                []crypto.Signer // of certs; certs[i] is signed by keys[i+1], the last by itself
	extension           []byte          // instead of the description
}

func build(f func(b *cryptobyte.Builder)) []byte {
	var b cryptobyte.Builder
	f(&b)
	return b.BytesOrPanic()
}

func integer(n int64) []byte { return build(func(b *cryptobyte.Builder) { b.AddASN1Int64(n) }) }
func null() []byte           { return []byte{5, 0} }

func set(numbers ...int64) []byte {
	return build(func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SET, func(b *cryptobyte.Builder) {
			for _, n := range numbers {
				b.AddASN1Int64(n)
			}
		})
	})
}

func enum(b *cryptobyte.Builder, n int64) { b.AddASN1Int64WithTag(n, asn1.ENUM) }

func rootOfTrust(locked bool, state BootState) []byte {
	return build(func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1OctetString(make([]byte, 32))
			b.AddASN1Boolean(locked)
			enum(b, int64(state))
			b.AddASN1OctetString(make([]byte, 32))
		})
	})
}

func (f *forged) applicationID() []byte {
	id := build(func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SET, func(b *cryptobyte.Builder) {
				for _, name := range f.packages {
					b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1OctetString([]byte(name))
						b.AddASN1Int64(7)
					})
				}
			})
			b.AddASN1(asn1.SET, func(b *cryptobyte.Builder) {
				for _, digest := range f.digests {
					b.AddASN1OctetString(digest)
				}
			})
		})
	})
	return build(func(b *cryptobyte.Builder) { b.AddASN1OctetString(append(id, f.appTrailing...)) })
}

// explicit writes [tag] EXPLICIT (X.690 §8.1.2.4 for tags from 31).
func explicit(b *cryptobyte.Builder, f field) {
	if f.tag < 31 {
		b.AddASN1(asn1.Tag(f.tag).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) { b.AddBytes(f.der) })
		return
	}
	b.AddBytes([]byte{0xbf, byte(f.tag>>7) | 0x80, byte(f.tag & 0x7f)})
	element := build(func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.OCTET_STRING, func(b *cryptobyte.Builder) { b.AddBytes(f.der) })
	})
	b.AddBytes(element[1:])
}

func list(b *cryptobyte.Builder, fields []field) {
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, f := range fields {
			explicit(b, f)
		}
	})
}

func (f *forged) description() []byte {
	software := f.software
	if f.packages != nil {
		software = append(software[:len(software):len(software)], field{tagApplicationID, f.applicationID()})
	}
	return append(build(func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1Int64(f.version)
			enum(b, f.level)
			b.AddASN1Int64(f.keyVersion)
			enum(b, f.keyLevel)
			b.AddASN1OctetString(f.challenge)
			b.AddASN1OctetString(nil)
			list(b, software)
			list(b, f.hardware)
		})
	}), f.trailing...)
}

// put replaces a field, or puts it in its place.
func put(fields []field, tag int, der []byte) []field {
	var out []field
	done := der == nil
	for _, f := range fields {
		if f.tag >= tag && !done {
			out, done = append(out, field{tag, der}), true
		}
		if f.tag != tag {
			out = append(out, f)
		}
	}
	if !done {
		out = append(out, field{tag, der})
	}
	return out
}

func ecKey(t testing.TB, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// forge makes a sound attestation: leaf, two intermediates, root.
func forge(t testing.TB) *forged {
	f := &forged{
		version: 300, keyVersion: 300, level: 1, keyLevel: 1, challenge: challenge,
		packages: []string{packageName}, digests: [][]byte{signedBy[:]},
		software: []field{{701, integer(now.UnixMilli())}},
		hardware: []field{
			{tagPurpose, set(2, 3)}, {tagAlgorithm, integer(3)}, {3, integer(256)}, {5, set(4)}, {tagCurve, integer(1)},
			{tagNoAuthRequired, null()}, {tagOrigin, integer(0)}, {tagRootOfTrust, rootOfTrust(true, Verified)},
			{tagOSVersion, integer(150000)}, {tagOSPatch, integer(202610)}, {tagVendorPatch, integer(20261005)}, {tagBootPatch, integer(20261005)},
		},
	}
	names := []string{"Android Keystore Key", "TEE", "Droid CA2", "root"}
	for i, name := range names {
		cert := &x509.Certificate{
			SerialNumber: big.NewInt(int64(1 + 0xabc*i)), Subject: pkix.Name{CommonName: name},
			NotBefore: now.AddDate(0, -1, 0), NotAfter: now.AddDate(0, 1, 0),
			BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
		}
		if i == 0 {
			cert.IsCA, cert.BasicConstraintsValid, cert.KeyUsage = false, false, x509.KeyUsageDigitalSignature
			cert.NotBefore, cert.NotAfter = time.Unix(0, 0), time.Unix(0, 0).AddDate(78, 0, 0)
		}
		curve := elliptic.P256()
		if i >= 2 {
			curve = elliptic.P384()
		}
		f.certs, f.keys = append(f.certs, cert), append(f.keys, ecKey(t, curve))
	}
	return f
}

func attestation(value []byte) pkix.Extension {
	return pkix.Extension{Id: oidAttestation, Value: value}
}

// chain signs what was forged.
func (f *forged) chain(t testing.TB) [][]byte {
	t.Helper()
	value := f.extension
	if value == nil {
		value = f.description()
	}
	leaf := *f.certs[0]
	leaf.ExtraExtensions = append([]pkix.Extension{attestation(value)}, leaf.ExtraExtensions...)
	var chain [][]byte
	for i, cert := range f.certs {
		if i == 0 {
			cert = &leaf
		}
		signer := min(i+1, len(f.certs)-1)
		der, err := x509.CreateCertificate(rand.Reader, cert, f.certs[signer], f.keys[i].Public(), f.keys[signer])
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, der)
	}
	return chain
}

func (f *forged) verifier() *Verifier {
	return &Verifier{
		Roots: []crypto.PublicKey{f.keys[len(f.keys)-1].Public()},
		Apps:  []App{{Package: "com.example.other", Digests: [][]byte{otherMaker[:]}}, {Package: packageName, Digests: [][]byte{signedBy[:]}}},
	}
}
