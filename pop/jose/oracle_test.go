package jose_test

import (
	"crypto"
	"crypto/ecdsa"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/jose"
	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
)

var oracleNames = map[jose.Algorithm]jwa.SignatureAlgorithm{jose.ES256: jwa.ES256, jose.ES384: jwa.ES384, jose.EdDSA: jwa.EdDSA}

// TestSignaturesInteroperate holds our compact JWS against jwx, which only this test uses for it, in both directions.
func TestSignaturesInteroperate(t *testing.T) {
	for alg, key := range signers(t) {
		public, err := jose.NewKey(key.Public(), "k")
		if err != nil {
			t.Fatal(err)
		}
		ours, err := jose.Make(jose.TypeAttestation, jose.Registered{Subject: "phone"}, nil, jose.Signer{Key: key, ID: "k"})
		if err != nil {
			t.Fatal(err)
		}
		if payload, err := jws.Verify([]byte(ours), jws.WithKey(oracleNames[alg], key.Public())); err != nil || string(payload) != `{"sub":"phone"}` {
			t.Errorf("%v: what we make: got %s, %v", alg, payload, err)
		}
		h := jws.NewHeaders()
		if err := h.Set("typ", jose.TypeAttestation.String()); err != nil {
			t.Fatal(err)
		}
		theirs, err := jws.Sign([]byte(`{"sub":"phone"}`), jws.WithKey(oracleNames[alg], key, jws.WithProtectedHeaders(h)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := jose.Verify(string(theirs), jose.Expect{Type: jose.TypeAttestation, Keys: jose.Only(public)})
		if err != nil || got.Subject != "phone" {
			t.Errorf("%v: what they make: got %+v, %v", alg, got, err)
		}
	}
}

func TestKeysInteroperate(t *testing.T) {
	for alg, signer := range signers(t) {
		ours, err := jose.NewKey(signer.Public(), "k")
		if err != nil {
			t.Fatal(err)
		}
		set, err := jose.NewSet(ours)
		if err != nil {
			t.Fatal(err)
		}
		data, err := set.Encode()
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := jwk.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		key, ok := theirs.LookupKeyID("k")
		if !ok {
			t.Fatalf("%v: no key in %s", alg, data)
		}
		if print, err := key.Thumbprint(crypto.SHA256); err != nil || jose.Thumbprint(print) != ours.Thumbprint() {
			t.Errorf("%v: got %x, %v, want %v", alg, print, err, ours.Thumbprint())
		}
	}
}

// TestShortSignatureHalvesStayOnTheWire: one in 256 values of r or s begins with a zero byte, which must stay on the wire.
func TestShortSignatureHalvesStayOnTheWire(t *testing.T) {
	find := func(string) (*ecdsa.PublicKey, error) { return &issuer.PublicKey, nil }
	c := claims(t)
	for range 600 {
		if _, err := jose.Open(sign(t, c), find); err != nil {
			t.Fatal(err)
		}
	}
}
