package wycheproof_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

type eddsaGroup struct {
	PublicKey    struct{ PK octets }
	PublicKeyJWK json.RawMessage
	Tests        []signatureVector
}

// wycheproofSeed is the private key of the one public key under which nearly all invalid vectors stand; earlier editions
// of the file gave it.
var wycheproofSeed, _ = hex.DecodeString("add4bb8103785baf9ac534258e8aaf65f5f1adb5ef5f3df19bb80ab989c4d64b")

// carriedOver gives the signature of our input the error that a vector has in the signature of its own message: the
// same bits changed in R, the same difference in S (a multiple of the group's order, where a signature is malleable),
// the same length. ok is false for the keys whose private half is unknown.
func (g eddsaGroup) carriedOver(t *testing.T, v signatureVector, input []byte) (signature []byte, ok bool) {
	private := ed25519.NewKeyFromSeed(wycheproofSeed)
	if !bytes.Equal(private.Public().(ed25519.PublicKey), g.PublicKey.PK) {
		return nil, false
	}
	right, ours := ed25519.Sign(private, v.Msg), ed25519.Sign(private, input)
	if same := bytes.Equal(right, v.Sig); same != (v.Result == "valid") {
		t.Fatalf("ed25519 %d is %s, but the signature is right: %v", v.ID, v.Result, same)
	}
	if len(v.Sig) != ed25519.SignatureSize {
		whole := slices.Concat(ours, v.Sig) // long enough, and wrong behind the end
		return whole[:len(v.Sig)], true
	}
	for i := range 32 {
		ours[i] ^= right[i] ^ v.Sig[i]
	}
	s := new(big.Int).Sub(little(v.Sig[32:]), little(right[32:]))
	s.Add(s, little(ours[32:])).Mod(s, new(big.Int).Lsh(big.NewInt(1), 256))
	s.FillBytes(ours[32:])
	slices.Reverse(ours[32:])
	return ours, true
}

func little(b []byte) *big.Int {
	reversed := slices.Clone(b)
	slices.Reverse(reversed)
	return new(big.Int).SetBytes(reversed)
}

// TestEd25519ThroughJOSE runs EdDSA through jose.Verify. Valid vectors under other keys are verified as they are, with
// the key as jose reads it.
func TestEd25519ThroughJOSE(t *testing.T) {
	c := newTally(t, "ed25519_test.json", counts{valid: 88, invalid: 63})
	for _, g := range load[eddsaGroup](t, c.file) {
		key, err := jose.ParseKey(g.PublicKeyJWK)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range g.Tests {
			c.is(v.vector, true, g.verifyJWS(t, key, v))
		}
	}
}

func (g eddsaGroup) verifyJWS(t *testing.T, key *jose.Key, v signatureVector) error {
	encode := base64.RawURLEncoding.EncodeToString
	input := encode([]byte(`{"alg":"EdDSA"}`)) + "." + encode(fmt.Appendf(nil, `{"jti":"%d"}`, v.ID))
	signature, ok := g.carriedOver(t, v, []byte(input))
	if !ok {
		if v.Result == "valid" {
			return bare(key.Public().(ed25519.PublicKey), v)
		}
		signature = v.Sig
	}
	_, err := jose.Verify(input+"."+encode(signature), jose.Expect{Type: jose.TypeAssertion, Keys: jose.Only(key)})
	return err
}

func bare(key ed25519.PublicKey, v signatureVector) error {
	if !ed25519.Verify(key, v.Msg, v.Sig) {
		return errors.New("the bare primitive refuses it")
	}
	return nil
}

// TestEd25519ThroughCOSE runs EdDSA through a COSE_Sign1 in the same way.
func TestEd25519ThroughCOSE(t *testing.T) {
	c := newTally(t, "ed25519_test.json", counts{valid: 88, invalid: 63})
	protected := encode(t, header{labelAlgorithm: int64(cose.EdDSA)})
	for _, g := range load[eddsaGroup](t, c.file) {
		key := parseKey(t, header{keyType: typeOKP, keyCurve: curveEd25519, keyX: []byte(g.PublicKey.PK)})
		for _, v := range g.Tests {
			signature, ok := g.carriedOver(t, v, structure(t, "Signature1", protected, nil, []byte(v.Msg)))
			switch {
			case ok:
				c.is(v.vector, true, verifySign1(encode(t, []any{protected, header{}, []byte(v.Msg), signature}), key, v.Msg))
			case v.Result == "valid":
				c.is(v.vector, true, bare(ed25519.PublicKey(g.PublicKey.PK), v))
			default:
				c.is(v.vector, true, verifySign1(encode(t, []any{protected, header{}, []byte(v.Msg), []byte(v.Sig)}), key, v.Msg))
			}
		}
	}
}
