package wycheproof_test

import (
	"crypto/ecdh"
	"testing"
)

// xdh are the decisions on X25519 (RFC 7748): the curve is made so that every 32 bytes are a public key, but a shared
// secret of zeros is refused.
func xdh(c *tally) *tally {
	c.refuse = map[string]string{"ZeroSharedSecret": "an all-zero secret is one that the other party chose alone (RFC 7748 §6.1)"}
	c.accept = map[string]string{
		"Twist":              "the curve was chosen so that its twist is as safe",
		"NonCanonicalPublic": "reduced, and the top bit masked (RFC 7748 §5)",
	}
	return c
}

func x25519(t *testing.T, d []byte) *ecdh.PrivateKey {
	private, err := ecdh.X25519().NewPrivateKey(d)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

func TestX25519(t *testing.T) {
	c := xdh(newTally(t, "x25519_test.json", counts{valid: 264, acceptable: 254}))
	for _, g := range load[ecdhGroup[octets]](t, c.file) {
		for _, v := range g.Tests {
			public := header{keyType: typeOKP, keyCurve: curveX25519, keyX: []byte(v.Public)}
			c.is(v.vector, true, agreement{v.vector, public, x25519(t, v.Private), v.Shared}.open(t))
		}
	}
}

func TestX25519Keys(t *testing.T) {
	c := xdh(newTally(t, "x25519_jwk_test.json", counts{valid: 264, invalid: 13, acceptable: 254}))
	for _, g := range load[ecdhGroup[jwk]](t, c.file) {
		for _, v := range g.Tests {
			c.is(v.vector, true, agreement{v.vector, v.Public.key(t), x25519(t, unbase64(t, v.Private.D)), v.Shared}.open(t))
		}
	}
}
