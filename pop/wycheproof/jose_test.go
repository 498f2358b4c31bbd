package wycheproof_test

import (
	"crypto/ecdh"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/jose"
	cnfjwe "github.com/latchkey-ace/latchkey/pop/jose/jwe"
)

// jwsGroup has one key, or a key set, for all its tokens. Symmetric keys stand under private alone.
type jwsGroup struct {
	Comment         string
	Private, Public json.RawMessage
	Tests           []jwsVector
}

type jwsVector struct {
	vector
	JWS json.RawMessage // a string, or an object for the JSON serialization
	JWE json.RawMessage
}

// TestJSONWebSignature and the two after it run tokens through jose.Verify. The vectors' payloads are no claims, so
// "accepted" is that Verify finds nothing wrong but the claims, which it looks at last.
func TestJSONWebSignature(t *testing.T) {
	c := newTally(t, "json_web_signature_test.json", counts{valid: 12, invalid: 355, outside: 34})
	c.wrong = map[int]string{
		367: "it is byte for byte 357, which is valid; the padding that it speaks of has been lost",
		370: "it is byte for byte 357, which is valid; the padding that it speaks of has been lost",
		372: "a question mark is not base64url (RFC 7515 §2)",
		373: "a question mark is not base64url (RFC 7515 §2)",
	}
	for _, g := range load[jwsGroup](t, c.file) {
		g.run(c)
	}
}

// TestJSONWebKey has no token that is accepted: its valid ones are under RSA keys, sets of secrets, and secrets longer
// than a block, none of which jose takes.
func TestJSONWebKey(t *testing.T) {
	c := newTally(t, "json_web_key_test.json", counts{invalid: 21, outside: 5})
	for _, g := range load[jwsGroup](t, c.file) {
		g.run(c)
	}
}

func TestJSONWebCrypto(t *testing.T) {
	c := newTally(t, "json_web_crypto_test.json", counts{valid: 2, invalid: 77, outside: 4})
	for _, g := range load[jwsGroup](t, c.file) {
		g.run(c)
	}
}

func (g jwsGroup) run(c *tally) {
	keys, inScope := g.keys(c.t)
	for _, v := range g.Tests {
		if v.JWE != nil {
			c.is(v.vector, false, openJWE(text(v.JWE), nil))
			continue
		}
		_, err := jose.Verify(text(v.JWS), jose.Expect{
			Type: jose.TypeAssertion, Keys: keys, Algorithms: []jose.Algorithm{jose.HS256, jose.ES256, jose.ES384, jose.EdDSA},
		})
		if errors.Is(err, jose.ErrClaims) {
			err = nil
		}
		c.is(v.vector, inScope, err)
	}
}

// keys gives what a group's tokens are verified with. inScope is false for keys that jose does not take.
func (g jwsGroup) keys(t *testing.T) (find jose.Finder, inScope bool) {
	if g.Public != nil {
		if _, err := jose.ParseKey(g.Private); err == nil {
			t.Errorf("%s: a private key was read as a public one", g.Comment)
		}
		if set, err := jose.ParseSet(g.Public); err == nil {
			return set.Find, len(set.Keys()) > 0
		}
		key, err := jose.ParseKey(g.Public)
		return only(key, err), err == nil
	}
	var secret struct {
		Kty, Alg, Use, K, Kid string
		Keys                  []json.RawMessage
	}
	if err := json.Unmarshal(g.Private, &secret); err != nil {
		t.Fatal(err)
	}
	if _, err := jose.ParseKey(g.Private); err == nil {
		t.Errorf("%s: a symmetric key was read as a public one", g.Comment)
	}
	if _, err := jose.ParseSet(g.Private); err == nil && secret.Keys != nil {
		t.Errorf("%s: a set with a symmetric key was read", g.Comment)
	}
	// A secret comes to jose as bytes that the operator says are for HS256; this is the test's word for that.
	if secret.Kty != "oct" || secret.Alg != jose.HS256.String() || secret.Use != "sig" {
		return only(nil, errors.New("not for HS256")), false
	}
	k, err := base64.RawURLEncoding.DecodeString(secret.K)
	if err != nil {
		t.Fatal(err)
	}
	key, err := jose.NewSecretKey(k, secret.Kid)
	return only(key, err), err == nil
}

func only(key *jose.Key, err error) jose.Finder {
	return func(kid string) (*jose.Key, error) {
		if err != nil {
			return nil, err
		}
		return jose.Only(key)(kid)
	}
}

// text is a token as it arrives; the JSON serialization arrives as it is.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

type jweGroup struct {
	Private json.RawMessage
	Tests   []jweVector
}

type jweVector struct {
	vector
	JWE json.RawMessage
}

// TestJSONWebEncryption runs jose.DecryptKey, which opens one shape: ECDH-ES on P-256 with A128GCM and a symmetric JWK
// inside. No vector has such a key inside; those of the right shape must be opened and then refused for it.
func TestJSONWebEncryption(t *testing.T) {
	c := newTally(t, "json_web_encryption_test.json", counts{valid: 1, invalid: 74, outside: 64})
	for _, g := range load[jweGroup](t, c.file) {
		private := privateP256(g.Private)
		for _, v := range g.Tests {
			token := text(v.JWE)
			c.is(v.vector, private != nil && oneShape(token), openJWE(token, private))
		}
	}
}

// openJWE is nil for a JWE that was decrypted: then, and only then, it is refused for its form while a changed tag is
// refused for its protection.
func openJWE(token string, private *ecdh.PrivateKey) error {
	if _, _, err := cnfjwe.DecryptKey(token, private); !errors.Is(err, jose.ErrForm) {
		if err == nil {
			panic("no vector has a key of ours inside")
		}
		return err
	}
	dot := strings.LastIndexByte(token, '.') + 1
	changed := []byte(token)
	if dot == len(token) {
		return jose.ErrForm
	}
	changed[dot] ^= 1
	_, _, err := cnfjwe.DecryptKey(string(changed), private)
	if errors.Is(err, jose.ErrProtection) {
		return nil
	}
	return err
}

// oneShape reads the header as the test understands it, for the choice of what is in scope alone.
func oneShape(token string) bool {
	head, _, _ := strings.Cut(token, ".")
	data, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		return false
	}
	var members map[string]any
	if json.Unmarshal(data, &members) != nil {
		return false
	}
	return len(members) == 3 && members["alg"] == "ECDH-ES" && members["enc"] == "A128GCM" && members["epk"] != nil
}

func privateP256(jwk json.RawMessage) *ecdh.PrivateKey {
	var key struct{ Kty, Crv, D string }
	if json.Unmarshal(jwk, &key) != nil || key.Kty != "EC" || key.Crv != "P-256" {
		return nil
	}
	d, err := base64.RawURLEncoding.DecodeString(key.D)
	if err != nil {
		return nil
	}
	private, _ := ecdh.P256().NewPrivateKey(d)
	return private
}
