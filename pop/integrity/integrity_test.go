package integrity_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop/integrity"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

var evening = time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func public(t testing.TB, key *ecdsa.PrivateKey, id string) *jose.Key {
	t.Helper()
	k, err := jose.NewKey(key.Public(), id)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// signed makes a token by hand: services have forms of their own.
func signed(t testing.TB, header, claims map[string]any, sign func(input string) []byte) string {
	t.Helper()
	var parts []string
	for _, v := range []any{header, claims} {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(raw))
	}
	input := strings.Join(parts, ".")
	return input + "." + base64.RawURLEncoding.EncodeToString(sign(input))
}

func byKey(t testing.TB, key *ecdsa.PrivateKey) func(string) []byte {
	return func(input string) []byte {
		digest := sha256.Sum256([]byte(input))
		r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}
}

func bySecret(secret []byte) func(string) []byte {
	return func(input string) []byte {
		mac := hmac.New(sha256.New, secret)
		_, _ = mac.Write([]byte(input))
		return mac.Sum(nil)
	}
}

// TestForms: what services send is read: with and without typ, either alphabet of base64, a key as SubjectPublicKeyInfo or cnf.
func TestForms(t *testing.T) {
	key, instance := newKey(t), newKey(t)
	expect := integrity.Expect{Keys: jose.Only(public(t, key, "")), Now: evening}
	sum := sha256.Sum256([]byte("Bearer token??>>"))
	spki, err := x509.MarshalPKIXPublicKey(instance.Public())
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := public(t, instance, "").JWK()
	if err != nil {
		t.Fatal(err)
	}
	exp := evening.Add(5 * time.Minute).Unix()
	for name, claims := range map[string]map[string]any{
		"pay in standard base64": {"exp": exp, "pay": base64.StdEncoding.EncodeToString(sum[:])},
		"pay in base64url":       {"exp": exp, "pay": base64.RawURLEncoding.EncodeToString(sum[:]), "did": "device", "ip": "192.0.2.1"},
		"ipk":                    {"exp": exp, "ipk": base64.StdEncoding.EncodeToString(spki)},
		"cnf":                    {"exp": exp, "cnf": map[string]any{"jwk": jwk}},
		"a challenge":            {"exp": exp, "challenge": "echo"},
	} {
		for _, header := range []map[string]any{{"alg": "ES256"}, {"alg": "ES256", "typ": "JWT", "kid": "any"}} {
			got, err := integrity.Verify(signed(t, header, claims, byKey(t, key)), expect)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if claims["pay"] != nil && string(got.Payload) != string(sum[:]) || (claims["ipk"] != nil || claims["cnf"] != nil) && !got.Key.Equal(public(t, instance, "")) {
				t.Errorf("%s: %+v", name, got)
			}
		}
	}
	secret := []byte(strings.Repeat("s", 32))
	shared, err := jose.NewSecretKey(secret, "")
	if err != nil {
		t.Fatal(err)
	}
	token := signed(t, map[string]any{"alg": "HS256"}, map[string]any{"exp": exp, "challenge": "c"}, bySecret(secret))
	if _, err := integrity.Verify(token, integrity.Expect{Keys: jose.Only(shared), Algorithms: []jose.Algorithm{jose.HS256}, Now: evening}); err != nil {
		t.Errorf("a shared secret: %v", err)
	}
	if _, err := integrity.Verify(token, integrity.Expect{Keys: jose.Only(shared), Now: evening}); !errors.Is(err, integrity.ErrToken) {
		t.Errorf("a shared secret that nobody allowed: %v", err)
	}
}

func TestRefused(t *testing.T) {
	key := newKey(t)
	k := public(t, key, "k1")
	expect := integrity.Expect{Keys: jose.Only(k), Now: evening}
	header, exp := map[string]any{"alg": "ES256"}, evening.Add(5*time.Minute).Unix()
	spki384, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := x509.MarshalPKIXPublicKey(spki384.Public())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := k.Public().(*ecdsa.PublicKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"bound to nothing":          signed(t, header, map[string]any{"exp": exp}, byKey(t, key)),
		"no exp":                    signed(t, header, map[string]any{"challenge": "c"}, byKey(t, key)),
		"good for an hour":          signed(t, header, map[string]any{"challenge": "c", "exp": evening.Add(time.Hour).Unix()}, byKey(t, key)),
		"a short pay":               signed(t, header, map[string]any{"exp": exp, "pay": "AAAA"}, byKey(t, key)),
		"pay that is no base64":     signed(t, header, map[string]any{"exp": exp, "pay": "!"}, byKey(t, key)),
		"pay that is no text":       signed(t, header, map[string]any{"exp": exp, "pay": 7}, byKey(t, key)),
		"ipk that is no key":        signed(t, header, map[string]any{"exp": exp, "ipk": "AAAA"}, byKey(t, key)),
		"ipk on another curve":      signed(t, header, map[string]any{"exp": exp, "ipk": base64.StdEncoding.EncodeToString(other)}, byKey(t, key)),
		"a long ipk":                signed(t, header, map[string]any{"exp": exp, "ipk": strings.Repeat("A", 600)}, byKey(t, key)),
		"cnf without a key":         signed(t, header, map[string]any{"exp": exp, "cnf": map[string]any{"kid": "x"}}, byKey(t, key)),
		"another key":               signed(t, header, map[string]any{"exp": exp, "challenge": "c"}, byKey(t, newKey(t))),
		"HS256 with the public key": signed(t, map[string]any{"alg": "HS256"}, map[string]any{"exp": exp, "challenge": "c"}, bySecret(raw)),
		"alg none":                  signed(t, map[string]any{"alg": "none"}, map[string]any{"exp": exp, "challenge": "c"}, func(string) []byte { return nil }),
		"typ of an access token":    signed(t, map[string]any{"alg": "ES256", "typ": "at+jwt"}, map[string]any{"exp": exp, "challenge": "c"}, byKey(t, key)),
		"typ of an attestation":     signed(t, map[string]any{"alg": "ES256", "typ": "oauth-client-attestation+jwt"}, map[string]any{"exp": exp, "challenge": "c"}, byKey(t, key)),
		"longer than 8 KiB":         signed(t, header, map[string]any{"exp": exp, "challenge": "c", "x": strings.Repeat("a", 8<<10)}, byKey(t, key)),
		"garbage":                   "garbage",
		"nothing":                   "",
	} {
		if _, err := integrity.Verify(token, expect); !errors.Is(err, integrity.ErrToken) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	good := signed(t, header, map[string]any{"exp": exp, "challenge": "c"}, byKey(t, key))
	for n := range good {
		if _, err := integrity.Verify(good[:n], expect); !errors.Is(err, integrity.ErrToken) {
			t.Fatalf("cut to %d: %v", n, err)
		}
	}
	expect.Now = evening.Add(5 * time.Minute)
	if _, err := integrity.Verify(good, expect); !errors.Is(err, integrity.ErrStale) {
		t.Errorf("at its end: %v", err)
	}
	expect.Now = time.Time{}
	if _, err := integrity.Verify(good, expect); err != nil {
		t.Errorf("without a clock: %v", err)
	}
}

func FuzzVerify(f *testing.F) {
	key, instance := newKey(f), newKey(f)
	for _, t := range []integrity.Token{
		{Subject: "app", Expires: evening.Add(time.Minute), Payload: make([]byte, 32)}, {Expires: evening.Add(time.Minute), Key: public(f, instance, "")},
		{Audience: []string{"door"}, Expires: evening.Add(time.Minute), Challenge: "c"},
	} {
		token, err := integrity.Make(&t, jose.Signer{Key: key, ID: "k1"})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(token)
	}
	expect := integrity.Expect{Keys: jose.Only(public(f, key, "k1")), Now: evening}
	f.Fuzz(func(t *testing.T, token string) {
		if got, err := integrity.Verify(token, expect); err == nil && got.Payload == nil && got.Key == nil && got.Challenge == "" {
			t.Errorf("%q is bound to nothing", token)
		}
	})
}
