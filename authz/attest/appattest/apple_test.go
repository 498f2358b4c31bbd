package appattest_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz/attest/appattest"
)

const (
	ourApp     = "A1B2C3D4E5.com.example.latchkey"
	production = "appattest\x00\x00\x00\x00\x00\x00\x00"
	debugging  = "appattestdevelop"
)

var (
	now        = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	clientData = []byte("client data with a challenge")
	oidNonce   = asn1.ObjectIdentifier{1, 2, 840, 113635, 100, 8, 2}
)

// apple is a root with one intermediate, as Apple has them.
type apple struct {
	root, intermediate       *x509.Certificate
	rootKey, intermediateKey *ecdsa.PrivateKey
}

func generate(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func issue(t testing.TB, template, parent *x509.Certificate, public any, signer crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func authority(name string, serial int64) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name, Organization: []string{"Apple Inc."}},
		NotBefore: now.AddDate(-6, 0, 0), NotAfter: now.AddDate(4, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

func newApple(t testing.TB) *apple { return newAppleOn(t, elliptic.P384()) }

// newAppleOn takes another curve than Apple's, for tests that attest thousands of times.
func newAppleOn(t testing.TB, curve elliptic.Curve) *apple {
	a := &apple{rootKey: generate(t, curve), intermediateKey: generate(t, curve)}
	root := authority("App Attestation Root CA", 1)
	a.root = issue(t, root, root, a.rootKey.Public(), a.rootKey)
	a.intermediate = issue(t, authority("App Attestation CA 1", 2), a.root, a.intermediateKey.Public(), a.rootKey)
	return a
}

func (a *apple) verifier() *appattest.Verifier {
	roots := x509.NewCertPool()
	roots.AddCert(a.root)
	return &appattest.Verifier{Roots: roots, Apps: []string{"Z9Y8X7W6V5.com.example.other", ourApp}}
}

// attestation is what a phone and Apple put into an attestation object. A test changes what it is about.
type attestation struct {
	App, Format, Environment       string
	Flags                          byte
	Counter                        uint32
	CredentialID, COSE, Extensions []byte
	ClientData, NonceExtension     []byte
	Leaf                           *x509.Certificate // template
	Key                            crypto.Signer
	Chain                          func(leaf, intermediate []byte) [][]byte
	Receipt                        []byte
}

// genuine is an attestation as iOS 27 makes it, flags as in Apple's example.
func genuine(t testing.TB) *attestation {
	key := generate(t, elliptic.P256())
	id := keyID(t, key)
	point := must(key.PublicKey.Bytes())
	return &attestation{
		App: ourApp, Format: "apple-appattest", Environment: production, Flags: 0x40,
		CredentialID: id, COSE: cose(point[1:33], point[33:]), Extensions: extensions(4), ClientData: clientData,
		Leaf: &x509.Certificate{
			SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "leaf"},
			NotBefore: now.AddDate(0, 0, -1), NotAfter: now.AddDate(0, 0, 2), BasicConstraintsValid: true,
			KeyUsage:           x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment,
			UnknownExtKeyUsage: []asn1.ObjectIdentifier{{1, 2, 840, 113635, 100, 4, 24}},
		},
		Key: key, Receipt: make([]byte, 4000),
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func must2[A, B any](a A, b B, err error) (A, B) {
	if err != nil {
		panic(err)
	}
	return a, b
}

func keyID(t testing.TB, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	id := sha256.Sum256(must(key.PublicKey.Bytes()))
	return id[:]
}

func (e *attestation) authData() []byte {
	app := sha256.Sum256([]byte(e.App))
	data := append(app[:], e.Flags)
	data = binary.BigEndian.AppendUint32(data, e.Counter)
	data = append(data, e.Environment...)
	data = binary.BigEndian.AppendUint16(data, uint16(len(e.CredentialID)))
	return slices.Concat(data, e.CredentialID, e.COSE, e.Extensions)
}

// object has Apple certify the key and puts everything into an attestation object.
func (e *attestation) object(t testing.TB, a *apple) []byte {
	t.Helper()
	hash := sha256.Sum256(e.ClientData)
	nonce := sha256.Sum256(append(e.authData(), hash[:]...))
	value := slices.Concat([]byte{0x30, 0x24, 0xa1, 0x22, 0x04, 0x20}, nonce[:])
	if e.NonceExtension != nil {
		value = e.NonceExtension
	}
	template := *e.Leaf
	if len(value) > 0 {
		template.ExtraExtensions = append(slices.Clone(template.ExtraExtensions), pkix.Extension{Id: oidNonce, Value: value})
	}
	leaf := issue(t, &template, a.intermediate, e.Key.Public(), a.intermediateKey)
	chain := [][]byte{leaf.Raw, a.intermediate.Raw}
	if e.Chain != nil {
		chain = e.Chain(leaf.Raw, a.intermediate.Raw)
	}
	return encodeObject(e.Format, chain, e.Receipt, e.authData())
}

func encodeObject(format string, chain [][]byte, receipt, authData []byte) []byte {
	x5c := head(4, len(chain))
	for _, c := range chain {
		x5c = append(x5c, bstr(c)...)
	}
	statement := slices.Concat(head(5, 2), text("x5c"), x5c, text("receipt"), bstr(receipt))
	return slices.Concat(head(5, 3), text("fmt"), text(format), text("attStmt"), statement, text("authData"), bstr(authData))
}

// assertion signs client data as a phone does. A test changes what it is about.
type assertion struct {
	App        string
	Flags      byte
	Counter    uint32
	Extensions []byte
	ClientData []byte
}

func (s assertion) sign(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	app := sha256.Sum256([]byte(s.App))
	data := binary.BigEndian.AppendUint32(append(app[:], s.Flags), s.Counter)
	data = append(data, s.Extensions...)
	hash := sha256.Sum256(s.ClientData)
	nonce := sha256.Sum256(slices.Concat(data, hash[:]))
	digest := sha256.Sum256(nonce[:])
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return encodeAssertion(signature, data)
}

func encodeAssertion(signature, authData []byte) []byte {
	return slices.Concat(head(5, 2), text("signature"), bstr(signature), text("authenticatorData"), bstr(authData))
}

func cose(x, y []byte) []byte {
	return slices.Concat([]byte{0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21}, bstr(x), []byte{0x22}, bstr(y))
}

// extensions are those of iOS 27; category says how the app is signed.
func extensions(category byte) []byte {
	return slices.Concat(head(5, 2), text("apple_bundle_version_01"), text("1"),
		text("apple_validation_category_01"), bstr([]byte{category, 0, 0, 0}))
}

func head(major, n int) []byte {
	switch {
	case n < 24:
		return []byte{byte(major<<5 | n)}
	case n < 256:
		return []byte{byte(major<<5 | 24), byte(n)}
	}
	return []byte{byte(major<<5 | 25), byte(n >> 8), byte(n)}
}

func bstr(b []byte) []byte { return append(head(2, len(b)), b...) }
func text(s string) []byte { return append(head(3, len(s)), s...) }
