package appattest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"slices"
	"time"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// oidNonce is the extension of a leaf that holds the nonce.
var oidNonce = asn1.ObjectIdentifier{1, 2, 840, 113635, 100, 8, 2}

// Where a key was attested, as the authenticator data have it.
var (
	aaguidProduction  = []byte("appattest\x00\x00\x00\x00\x00\x00\x00")
	aaguidDevelopment = []byte("appattestdevelop")
)

// signatures are what certificates may be signed with. Apple signs with P-384 and SHA-256 or SHA-384.
var signatures = []x509.SignatureAlgorithm{x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512}

// Attest checks an attestation object, with the key id that the app sent beside it, and returns the attested key. The bytes of clientData,
// whose SHA-256 the app handed to the system, must be what the caller expects and hold its challenge; they may not be empty. Keys are
// attested once: the caller refuses an id that it has.
//
// The checks, in Apple's order, after the form of the object:
//  1. the two certificates, leaf first, lead to one of Roots at now (ErrRoot, ErrExpired, ErrAlgorithm);
//  2. to 4. the nonce, SHA-256 of the authenticator data and the hash of clientData, is the one in the leaf (ErrChallenge);
//  5. the SHA-256 of the leaf's key, as an uncompressed point, is keyID (ErrKeyID);
//  6. the app is one of Apps (ErrApp);
//  7. the counter is 0 (ErrCounter);
//  8. the environment is production, or development where that is allowed (ErrDevelopment);
//  9. the credential id is keyID, and the credential's key the leaf's (ErrKeyID).
func (v *Verifier) Attest(object, keyID, clientData []byte, now time.Time) (*Key, error) {
	if len(clientData) == 0 { // a caller that lost its challenge
		return nil, ErrChallenge
	}
	hash := sha256.Sum256(clientData)
	return v.attest(object, keyID, hash[:], now)
}

func (v *Verifier) attest(object, keyID, clientDataHash []byte, now time.Time) (*Key, error) {
	chain, a, err := decodeObject(object)
	if err != nil {
		return nil, err
	}
	leaf, err := v.verify(chain, now)
	if err != nil {
		return nil, err
	}
	attested, err := leafNonce(leaf)
	if err != nil {
		return nil, err
	}
	if !equal(attested, nonce(a.raw, clientDataHash)) {
		return nil, ErrChallenge
	}
	return v.judge(leaf, a, keyID)
}

// judge is steps 5 to 9.
func (v *Verifier) judge(leaf *x509.Certificate, a authData, keyID []byte) (*Key, error) {
	public, point, err := p256(leaf.PublicKey)
	if err != nil {
		return nil, err
	}
	if id := sha256.Sum256(point); !equal(id[:], keyID) {
		return nil, ErrKeyID
	}
	app, err := v.app(a.app)
	if err != nil {
		return nil, err
	}
	if a.counter != 0 {
		return nil, ErrCounter
	}
	development := bytes.Equal(a.aaguid, aaguidDevelopment)
	if !development && !bytes.Equal(a.aaguid, aaguidProduction) {
		return nil, malformed("environment")
	}
	development = development || a.category == categoryDevelopment
	if development && !v.Development {
		return nil, ErrDevelopment
	}
	if !equal(a.credentialID, keyID) || !equal(a.publicKey, coseKey(point)) {
		return nil, ErrKeyID
	}
	return &Key{ID: bytes.Clone(keyID), Public: public, App: app, Development: development}, nil
}

// verify is step 1. Apple sends two certificates, the leaf's and its issuer's; another number, another order or a root among them is refused.
// A critical extension that crypto/x509 does not know is refused; Apple marks none of its own so.
func (v *Verifier) verify(chain []cbor.ByteString, now time.Time) (*x509.Certificate, error) {
	if v.Roots == nil { // which crypto/x509 would take for the system's roots
		return nil, ErrRoot
	}
	if now.IsZero() { // which it would take for the clock's time
		return nil, ErrExpired
	}
	if len(chain) != 2 {
		return nil, malformed("number of certificates")
	}
	leaf, err := parseCertificate(chain[0])
	if err != nil {
		return nil, err
	}
	issuer, err := parseCertificate(chain[1])
	if err != nil {
		return nil, err
	}
	if leaf.IsCA {
		return nil, ErrRoot
	}
	issuers := x509.NewCertPool()
	issuers.AddCert(issuer)
	// Leaves of iOS 27 have a key usage of Apple's own, earlier ones none.
	paths, err := leaf.Verify(x509.VerifyOptions{
		Roots: v.Roots, Intermediates: issuers, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if invalid := (x509.CertificateInvalidError{}); errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return nil, ErrExpired
	}
	if !slices.ContainsFunc(paths, func(path []*x509.Certificate) bool { return len(path) == 3 }) {
		return nil, ErrRoot
	}
	return leaf, nil
}

func parseCertificate(data cbor.ByteString) (*x509.Certificate, error) {
	if len(data) > maxCertificate {
		return nil, malformed("certificate too long")
	}
	c, err := x509.ParseCertificate(data.Bytes())
	if err != nil || len(c.UnhandledCriticalExtensions) != 0 {
		return nil, malformed("certificate")
	}
	if !slices.Contains(signatures, c.SignatureAlgorithm) {
		return nil, ErrAlgorithm
	}
	return c, nil
}

// leafNonce reads SEQUENCE { [1] EXPLICIT OCTET STRING } from the leaf, in DER. A second such extension crypto/x509 refuses.
func leafNonce(leaf *x509.Certificate) ([]byte, error) {
	i := slices.IndexFunc(leaf.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidNonce) })
	if i < 0 {
		return nil, malformed("certificate without a nonce")
	}
	whole := cryptobyte.String(leaf.Extensions[i].Value)
	var sequence, tagged, octets cryptobyte.String
	if !whole.ReadASN1(&sequence, der.SEQUENCE) || !whole.Empty() ||
		!sequence.ReadASN1(&tagged, der.Tag(1).ContextSpecific().Constructed()) || !sequence.Empty() ||
		!tagged.ReadASN1(&octets, der.OCTET_STRING) || !tagged.Empty() || len(octets) != sha256.Size {
		return nil, malformed("nonce of the certificate")
	}
	return octets, nil
}

// p256 is the key with its uncompressed point (X9.62), if it is one on P-256.
func p256(key any) (*ecdsa.PublicKey, []byte, error) {
	public, ok := key.(*ecdsa.PublicKey)
	if !ok || public == nil || public.Curve != elliptic.P256() {
		return nil, nil, ErrAlgorithm
	}
	point, err := public.Bytes()
	if err != nil {
		return nil, nil, ErrAlgorithm
	}
	return public, point, nil
}

// coseKey is the point as CTAP2 encodes it: {1: 2, 3: -7, -1: 1, -2: x, -3: y}. There is one encoding, so that none needs to be parsed.
func coseKey(point []byte) []byte {
	x, y := point[1:1+hashSize], point[1+hashSize:]
	return slices.Concat([]byte{0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, hashSize}, x, []byte{0x22, 0x58, hashSize}, y)
}
