package wycheproof_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

// ecdsaGroup is EcdsaP1363Verify of the schemas: signatures are r and s, side by side, as in COSE and JOSE.
type ecdsaGroup struct {
	PublicKey struct{ Uncompressed octets }
	Tests     []signatureVector
}

type signatureVector struct {
	vector
	Msg, Sig octets
}

// curveOf is what an ECDSA file is about.
type curveOf struct {
	file  string
	curve elliptic.Curve
	hash  crypto.Hash
	least counts
}

var ecdsaFiles = []curveOf{
	{"ecdsa_secp256r1_sha256_p1363_test.json", elliptic.P256(), crypto.SHA256, counts{valid: 173, invalid: 89}},
	{"ecdsa_secp384r1_sha384_p1363_test.json", elliptic.P384(), crypto.SHA384, counts{valid: 193, invalid: 87}},
}

// transplant makes the public key under which a vector's signature has, for our input, exactly the verdict it has for
// the vector's message under the vector's key. COSE and JOSE never sign a bare message, so the message must be another;
// but the verifier computes R = s⁻¹(eG + rQ) and compares its x with r, and with Q' = Q + r⁻¹(e - e')G it computes the
// same R for e'. All that a vector does to r and s, and to R, stays.
func (c curveOf) transplant(t *testing.T, g ecdsaGroup, v signatureVector, input []byte) *ecdsa.PublicKey {
	public, err := ecdsa.ParseUncompressedPublicKey(c.curve, g.PublicKey.Uncompressed)
	if err != nil {
		t.Fatal(err)
	}
	n := c.curve.Params().N
	r := new(big.Int).SetBytes(v.Sig[:len(v.Sig)/2])
	inverse := new(big.Int).ModInverse(r, n)
	if inverse == nil { // r = 0 or n: the vector is that such an r is refused, whatever the key
		return public
	}
	factor := new(big.Int).Sub(c.digest(v.Msg), c.digest(input))
	factor.Mul(factor, inverse).Mod(factor, n)
	x, y := c.curve.ScalarBaseMult(factor.Bytes())
	x, y = c.curve.Add(public.X, public.Y, x, y)
	public, err = ecdsa.ParseUncompressedPublicKey(c.curve, elliptic.Marshal(c.curve, x, y))
	if err != nil {
		t.Fatalf("%s %d: the other key: %v", c.file, v.ID, err)
	}
	return public
}

func (c curveOf) digest(input []byte) *big.Int {
	h := c.hash.New()
	h.Write(input)
	return new(big.Int).SetBytes(h.Sum(nil))
}

// TestECDSAThroughJOSE runs ES256 and ES384 through jose.Verify.
func TestECDSAThroughJOSE(t *testing.T) {
	for _, file := range ecdsaFiles {
		c := newTally(t, file.file, file.least)
		for _, g := range load[ecdsaGroup](t, file.file) {
			for _, v := range g.Tests {
				c.is(v.vector, true, file.verifyJWS(t, g, v))
			}
		}
	}
}

func (c curveOf) verifyJWS(t *testing.T, g ecdsaGroup, v signatureVector) error {
	alg := map[crypto.Hash]jose.Algorithm{crypto.SHA256: jose.ES256, crypto.SHA384: jose.ES384}[c.hash]
	encode := base64.RawURLEncoding.EncodeToString
	input := encode(fmt.Appendf(nil, `{"alg":"%s"}`, alg)) + "." + encode(fmt.Appendf(nil, `{"jti":"%d"}`, v.ID))
	key, err := jose.NewKey(c.transplant(t, g, v, []byte(input)), "")
	if err != nil {
		t.Fatal(err)
	}
	token, err := jose.Verify(input+"."+encode(v.Sig), jose.Expect{Type: jose.TypeAssertion, Keys: jose.Only(key)})
	if err == nil && token.ID != fmt.Sprint(v.ID) {
		return errors.New("another token")
	}
	return err
}

// TestECDSAThroughCOSE runs ES256 and ES384 through a COSE_Sign1 whose payload is the vector's message.
func TestECDSAThroughCOSE(t *testing.T) {
	for _, file := range ecdsaFiles {
		c := newTally(t, file.file, file.least)
		for _, g := range load[ecdsaGroup](t, file.file) {
			for _, v := range g.Tests {
				c.is(v.vector, true, file.verifySign1(t, g, v))
			}
		}
	}
}

func (c curveOf) verifySign1(t *testing.T, g ecdsaGroup, v signatureVector) error {
	alg, id := cose.ES256, curveP256
	if c.curve == elliptic.P384() {
		alg, id = cose.ES384, curveP384
	}
	protected := encode(t, header{labelAlgorithm: int64(alg)})
	public := c.transplant(t, g, v, structure(t, "Signature1", protected, nil, []byte(v.Msg)))
	point, err := public.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	size := len(point) / 2
	key := parseKey(t, header{keyType: typeEC2, keyCurve: id, keyX: point[1 : 1+size], keyY: point[1+size:]})
	return verifySign1(encode(t, []any{protected, header{}, []byte(v.Msg), []byte(v.Sig)}), key, v.Msg)
}

// verifySign1 lets cose verify and compares the payload.
func verifySign1(data []byte, key *cose.Key, payload []byte) error {
	m, err := cose.ParseSign1(data)
	if err != nil {
		return err
	}
	got, err := m.VerifyWith(cose.With(key), cose.Options{})
	if err == nil && !bytes.Equal(got, payload) {
		return errors.New("another payload")
	}
	return err
}
