package wycheproof_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/cose"
)

type ecdhGroup[P any] struct{ Tests []ecdhVector[P] }

// ecdhVector has the other party's public key in one of three encodings; private is a scalar, or a JWK that holds one.
type ecdhVector[P any] struct {
	vector
	Public  P
	Private P
	Shared  octets
}

// jwk is a key in the files for WebCrypto.
type jwk struct{ Kty, Crv, X, Y, D string }

// agreement is one vector, ready for a COSE message.
type agreement struct {
	vector
	ephemeral header // the COSE_Key of the other party
	private   *ecdh.PrivateKey
	shared    octets
}

var content = []byte("agreed")

// open builds a COSE_Encrypt with one ECDH-ES recipient and the content encrypted under the key that the vector's
// shared secret gives, and lets cose open it. An invalid vector has no shared secret; a message that merely does not
// verify would be no proof that its point was refused: that counts as accepted.
func (a agreement) open(t *testing.T) error {
	to := recipient{protected: header{labelAlgorithm: int64(cose.ECDHESHKDF256)}, open: header{labelEphemeral: a.ephemeral}}
	shared := a.shared
	info := kdfContext(t, cose.A128GCM, 128, to.protectedBytes(t))
	key, err := hkdf.Key(sha256.New, shared, nil, string(info), 16)
	if err != nil {
		t.Fatal(err)
	}
	err = openFor(t, to, key, func(data []byte) ([]byte, error) {
		return cose.OpenEncrypt(data, func(cose.Algorithm, cose.KeyID) (*ecdh.PrivateKey, error) { return a.private, nil }, nil)
	})
	if a.Result == "invalid" && errors.Is(err, cose.ErrVerification) {
		return nil
	}
	return err
}

// openFor encrypts content for one recipient under a content key, of A128GCM or A256GCM by its length, and compares what
// comes out.
func openFor(t *testing.T, to recipient, contentKey []byte, open func([]byte) ([]byte, error)) error {
	alg := cose.A128GCM
	if len(contentKey) == 32 {
		alg = cose.A256GCM
	}
	aead, err := bareGCM(contentKey)
	if err != nil {
		t.Fatal(err)
	}
	iv := make([]byte, 12)
	protected := encode(t, header{labelAlgorithm: int64(alg), labelIV: iv})
	sealed := aead.Seal(nil, iv, content, structure(t, "Encrypt", protected, nil))
	got, err := open(encode(t, []any{protected, header{}, sealed, []any{to.layer(t)}}))
	if err == nil && !bytes.Equal(got, content) {
		return errors.New("another plaintext")
	}
	return err
}

// openWith is openFor with one key, which cose reads first.
func openWith(t *testing.T, to recipient, contentKey []byte, members header) error {
	key, err := cose.ParseKey(encode(t, members))
	if err != nil {
		return err
	}
	return openFor(t, to, contentKey, func(data []byte) ([]byte, error) {
		m, err := cose.ParseEncrypt(data)
		if err != nil {
			return nil, err
		}
		return m.OpenWith(cose.With(key), cose.Options{})
	})
}

// nist is one of the two curves of NIST that pop agrees on keys with.
type nist struct {
	curve ecdh.Curve
	id    int // in a COSE_Key
	name  string
	size  int // bytes of a coordinate
}

var (
	p256 = nist{ecdh.P256(), curveP256, "P-256", 32}
	p384 = nist{ecdh.P384(), curveP384, "P-384", 48}
)

// key makes a COSE_Key of a point in the encoding of SEC 1. What is none goes into x as it is.
func (n nist) key(point []byte) header {
	key := header{keyType: typeEC2, keyCurve: n.id}
	switch {
	case len(point) == 1+2*n.size && point[0] == 4:
		key[keyX], key[keyY] = point[1:1+n.size], point[1+n.size:]
	case len(point) == 1+n.size && point[0]&^1 == 2:
		key[keyX], key[keyY] = point[1:], point[0] == 3
	default:
		key[keyX], key[keyY] = point, []byte{}
	}
	return key
}

// scalar takes a private key that may have leading zeros, or lack them.
func (n nist) scalar(t *testing.T, d []byte) *ecdh.PrivateKey {
	d = bytes.TrimLeft(d, "\x00")
	private, err := n.curve.NewPrivateKey(append(make([]byte, n.size-len(d)), d...))
	if err != nil {
		t.Fatal(err)
	}
	return private
}

var compressed = map[string]string{"CompressedPoint": "COSE_Key has compressed points (RFC 9053 §7.1.1)"}

func TestECDHPoints(t *testing.T) {
	for _, f := range []struct {
		nist
		file  string
		least counts
	}{
		{p256, "ecdh_secp256r1_ecpoint_test.json", counts{valid: 330, invalid: 24, acceptable: 1}},
		{p384, "ecdh_secp384r1_ecpoint_test.json", counts{valid: 771, invalid: 18, acceptable: 1}},
	} {
		c := newTally(t, f.file, f.least)
		c.accept = compressed
		for _, g := range load[ecdhGroup[octets]](t, c.file) {
			for _, v := range g.Tests {
				c.is(v.vector, true, agreement{v.vector, f.key(v.Public), f.scalar(t, v.Private), v.Shared}.open(t))
			}
		}
	}
}

// TestECDHWebCrypto gives cose the members of each JWK, whatever they are.
func TestECDHWebCrypto(t *testing.T) {
	for _, f := range []struct {
		nist
		file  string
		least counts
	}{
		{p256, "ecdh_secp256r1_webcrypto_test.json", counts{valid: 330, invalid: 23}},
		{p384, "ecdh_secp384r1_webcrypto_test.json", counts{valid: 771, invalid: 23}},
	} {
		c := newTally(t, f.file, f.least)
		for _, g := range load[ecdhGroup[jwk]](t, c.file) {
			for _, v := range g.Tests {
				c.is(v.vector, true, agreement{v.vector, v.Public.key(t), f.scalar(t, unbase64(t, v.Private.D)), v.Shared}.open(t))
			}
		}
	}
}

// Names that JSON and COSE have for the same (RFC 9053 §7, IANA COSE Key Types and Elliptic Curves).
var (
	coseTypes  = map[string]int{"OKP": typeOKP, "EC": typeEC2, "RSA": 3, "oct": typeSymmetric}
	coseCurves = map[string]int{"P-256": curveP256, "P-384": curveP384, "P-521": 3, "X25519": curveX25519, "X448": 5, "secp256k1": 8}
)

// key makes the COSE_Key that says what a JWK says; what is missing, or has no name in COSE, is missing in it.
func (k jwk) key(t *testing.T) header {
	members := header{}
	if kind, ok := coseTypes[k.Kty]; ok {
		members[keyType] = kind
	}
	if curve, ok := coseCurves[k.Crv]; ok {
		members[keyCurve] = curve
	}
	if k.X != "" {
		members[keyX] = unbase64(t, k.X)
	}
	if k.Y != "" {
		members[keyY] = unbase64(t, k.Y)
	}
	return members
}

// TestECDHP256Infos runs the file whose public keys are SubjectPublicKeyInfos (RFC 5480). COSE has no such form, so the
// test takes the point out of those that are DER and name the curve by its OID, and refuses the others itself: what is
// tested is that pop agrees on the points.
func TestECDHP256Infos(t *testing.T) {
	c := newTally(t, "ecdh_secp256r1_test.json", counts{valid: 330, invalid: 52, acceptable: 230})
	c.accept = compressed
	c.refuse = map[string]string{
		"InvalidAsn":             "no public key comes to pop in ASN.1",
		"UnnamedCurve":           "a key in COSE names its curve",
		"UnusedParam":            "a key in COSE names its curve",
		"ModifiedGenerator":      "a key in COSE names its curve",
		"ModifiedCofactor":       "a key in COSE names its curve",
		"NoCofactor":             "a key in COSE names its curve",
		"ModifiedCurveParameter": "a key in COSE names its curve",
		"WrongOrder":             "a key in COSE names its curve",
	}
	for _, g := range load[ecdhGroup[octets]](t, c.file) {
		for _, v := range g.Tests {
			point, err := pointOf(v.Public)
			if err == nil {
				err = agreement{v.vector, p256.key(point), p256.scalar(t, v.Private), v.Shared}.open(t)
			}
			c.is(v.vector, true, err)
		}
	}
}

func pointOf(info []byte) ([]byte, error) {
	var key struct {
		Algorithm struct{ Kind, Curve asn1.ObjectIdentifier }
		Point     asn1.BitString
	}
	if rest, err := asn1.Unmarshal(info, &key); err != nil || len(rest) > 0 {
		return nil, errors.New("no SubjectPublicKeyInfo with a named curve")
	}
	if again, err := asn1.Marshal(key); err != nil || !bytes.Equal(again, info) {
		return nil, errors.New("not DER")
	}
	if !key.Algorithm.Kind.Equal(asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}) {
		return nil, errors.New("no elliptic curve key")
	}
	if !key.Algorithm.Curve.Equal(asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}) {
		return nil, errors.New("another curve")
	}
	return key.Point.Bytes, nil
}

func unbase64(t *testing.T, s string) []byte {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
