package jose_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/jose"
)

func TestThumbprints(t *testing.T) {
	for _, id := range []string{"rfc7638-3.1", "rfc8037-a"} {
		x := readRFC(t, id)
		if got, err := jose.ThumbprintOf(x.JWK); err != nil || got.String() != x.Thumbprint {
			t.Errorf("%s: got %v, %v, want %s", id, got, err, x.Thumbprint)
		}
	}
	x := readRFC(t, "rfc8037-a")
	key, err := jose.ParseKey(x.JWK)
	if err != nil || key.Thumbprint().String() != x.Thumbprint || key.Algorithm() != jose.EdDSA {
		t.Errorf("got %v, %v", key, err)
	}
	for alg, signer := range signers(t) {
		key, err := jose.NewKey(signer.Public(), "kid")
		if err != nil {
			t.Fatal(err)
		}
		jwk, err := key.JWK()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := jose.ThumbprintOf(jwk); err != nil || got != key.Thumbprint() {
			t.Errorf("%v: got %v, %v, want %v", alg, got, err, key.Thumbprint())
		}
		if back, err := jose.ParseKey(jwk); err != nil || !back.Equal(key) || back.ID() != "" || back.Algorithm() != alg {
			t.Errorf("%v: got %v, %v", alg, back, err)
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
			if text := fmt.Sprintf(verb, key); !strings.Contains(text, "[redacted]") {
				t.Errorf("%s: %s", verb, text)
			}
		}
	}
	for _, bad := range []string{`{}`, `{"kty":"EC"}`, `{"kty":"AKP","pub":"AA"}`, `{"kty":"oct","k":1}`, `[]`, ``, `{"kty":"oct","k":"A","k":"B"}`} {
		if got, err := jose.ThumbprintOf([]byte(bad)); err == nil {
			t.Errorf("%s: got %v", bad, got)
		}
	}
	for _, bad := range []string{"", "AA", x.Thumbprint + "A", x.Thumbprint + "=", strings.Repeat("A", 43), x.Thumbprint[:42] + "l"} {
		if got, err := jose.ParseThumbprint(bad); err == nil {
			t.Errorf("%s: got %v", bad, got)
		}
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	const x, y = `"18wHLeIgW9wVN6VD1Txgpqy2LszYkMf6J8njVAibvhM"`, `"-V4dS4UaLMgP_4fY4j8ir7cl1TXlFdAgcx55o7TkcSA"`
	good := `{"kty":"EC","crv":"P-256","x":` + x + `,"y":` + y + `}`
	if _, err := jose.ParseKey([]byte(good)); err != nil {
		t.Fatal(err)
	}
	with := func(member string) string { return strings.TrimSuffix(good, "}") + "," + member + "}" }
	for _, secret := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		if got, err := jose.ParseKey([]byte(with(`"` + secret + `":"AA"`))); !errors.Is(err, jose.ErrSecretInClear) {
			t.Errorf("with %s: got %v, %v, want %v", secret, got, err, jose.ErrSecretInClear)
		}
	}
	for name, jwk := range map[string]string{
		"empty":                  ``,
		"no kty":                 `{"crv":"P-256","x":` + x + `,"y":` + y + `}`,
		"another curve":          strings.Replace(good, "P-256", "P-384", 1),
		"a curve unknown":        strings.Replace(good, "P-256", "secp256k1", 1),
		"X25519":                 `{"kty":"OKP","crv":"X25519","x":` + x + `}`,
		"Ed25519 without x":      `{"kty":"OKP","crv":"Ed25519"}`,
		"Ed25519 of 31 bytes":    `{"kty":"OKP","crv":"Ed25519","x":"` + b64(strings.Repeat("x", 31)) + `"}`,
		"RSA":                    string(readRFC(t, "rfc7638-3.1").JWK),
		"the point at infinity":  `{"kty":"EC","crv":"P-256","x":"` + strings.Repeat("A", 43) + `","y":"` + strings.Repeat("A", 43) + `"}`,
		"no y":                   `{"kty":"EC","crv":"P-256","x":` + x + `}`,
		"x with a leading zero":  strings.Replace(good, `"18wH`, `"ANfMBy3i`, 1),
		"x with padding":         strings.Replace(good, `vhM"`, `vhM="`, 1),
		"x twice":                with(`"x":` + x),
		"use for encryption":     with(`"use":"enc"`),
		"use as a number":        with(`"use":1`),
		"alg of another kind":    with(`"alg":"ES384"`),
		"operations without use": with(`"key_ops":["deriveKey"]`),
		"operations as text":     with(`"key_ops":"verify"`),
		"a kid that is a list":   with(`"kid":["a"]`),
		"a kid beyond bounds":    with(`"kid":"` + strings.Repeat("k", 256) + `"`),
		"deeply nested":          with(`"x5c":` + strings.Repeat("[", 9) + strings.Repeat("]", 9)),
		"longer than its bound":  with(`"x5c":["` + strings.Repeat("A", 8192) + `"]`),
	} {
		if got, err := jose.ParseKey([]byte(jwk)); err == nil {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestKeysThatAreNotMade(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, public := range map[string]any{"none": nil, "RSA": &rsaKey.PublicKey, "P-521": &p521.PublicKey, "nil": (*ecdsa.PublicKey)(nil), "a private key": issuer} {
		if got, err := jose.NewKey(public, ""); err == nil {
			t.Errorf("%s: got %v", name, got)
		}
	}
	for _, size := range []int{0, 31, 65} {
		if got, err := jose.NewSecretKey(make([]byte, size), ""); err == nil {
			t.Errorf("%d bytes: got %v", size, got)
		}
	}
	shared, err := jose.NewSecretKey([]byte(strings.Repeat("s", 32)), "shared")
	if err != nil {
		t.Fatal(err)
	}
	if jwk, err := shared.JWK(); !errors.Is(err, jose.ErrSecretInClear) {
		t.Errorf("got %s, %v, want %v", jwk, err, jose.ErrSecretInClear)
	}
	if text, err := json.Marshal(shared); err != nil || strings.Contains(fmt.Sprintf("%s%+v%#v", text, shared, shared), "ssss") {
		t.Errorf("prints as %s, %v", text, err)
	}
	if shared.Equal(shared) {
		t.Error("a shared secret has no thumbprint to compare")
	}
}
