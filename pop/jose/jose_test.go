package jose_test

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/grade"
	"github.com/latchkey-ace/latchkey/pop/jose"
	cnfjwe "github.com/latchkey-ace/latchkey/pop/jose/jwe"
)

const serverKey = "as-2026-11"

var (
	issuer  = newKey()
	device  = newDevice()
	secret  = []byte("sixteen byte key")
	secretI = []byte{0xd1, 0x07}
)

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

func newDevice() *ecdh.PrivateKey {
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

func signer() jose.Signer { return jose.Signer{Key: issuer, ID: serverKey} }

var errUnknownKey = errors.New("unknown key")

func find(kid string) (*ecdsa.PublicKey, error) {
	if kid != serverKey {
		return nil, errUnknownKey
	}
	return &issuer.PublicKey, nil
}

func encrypted(t testing.TB) string {
	t.Helper()
	out, err := cnfjwe.EncryptKey(secret, secretI, device.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// claims is a token for a lock, with every claim that a device may see.
func claims(t testing.TB) *pop.Claims {
	t.Helper()
	return &pop.Claims{
		Issuer: "https://as.example", Subject: "mother", Audience: "d7mfrggzdfmztq", ClientID: "phone",
		Expires: time.Unix(1_800_003_600, 0), NotBefore: time.Unix(1_799_999_990, 0), IssuedAt: time.Unix(1_800_000_000, 0),
		ExpiresIn: 8 * time.Hour, ID: []byte("device-1\x00\x00\x00\x00\x00\x00\x00\x01"),
		Scope:   aif.New(aif.Entry{Path: "/door/unlock", Methods: aif.POST}, aif.Entry{Path: "/door", Methods: aif.GET | aif.PUT}),
		Profile: pop.ProfileCoAPOSCORE, CNonce: []byte("nonce678"),
		Confirmation: pop.Confirmation{JWE: encrypted(t)},
		Grant:        &pop.GrantRef{Epoch: 1_790_000_000, Grant: pop.GrantID{1, 2, 3, 4, 5, 6, 7, 8}, Once: []uint{1}, Grade: grade.Grade{Kind: grade.AppAttest, Key: grade.KeyHardware}},
	}
}

func sign(t testing.TB, c *pop.Claims) string {
	t.Helper()
	token, err := jose.Sign(c, signer())
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func publicKey(t testing.TB, kid cose.KeyID) *cose.Key {
	t.Helper()
	key, err := cose.PublicKey(&issuer.PublicKey, kid)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// forge signs any header and payload with the issuer's key, in the one form that Open accepts.
func forge(t testing.TB, header, payload string) string {
	t.Helper()
	input := b64(header) + "." + b64(payload)
	return input + "." + b64(string(rawSignature(t, input, false)))
}

func rawSignature(t testing.TB, input string, high bool) []byte {
	t.Helper()
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, issuer, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	n := elliptic.P256().Params().N
	if isHigh := s.Cmp(new(big.Int).Rsh(n, 1)) > 0; isHigh != high {
		s.Sub(n, s)
	}
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func unb64(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const header = `{"alg":"ES256","kid":"` + serverKey + `","typ":"at+jwt"}`

func TestTokenOpensAsItWasSigned(t *testing.T) {
	full := claims(t)
	bare := &pop.Claims{
		Issuer: "i", Subject: "s", Audience: "a", ClientID: "c", Expires: time.Unix(2, 0), IssuedAt: time.Unix(1, 0),
		ID: []byte{0}, Confirmation: pop.Confirmation{KeyID: cose.KeyID{7}},
	}
	owner := claims(t)
	owner.Grant = &pop.GrantRef{}
	owner.CNonce = []byte{}
	public := claims(t)
	public.Confirmation = pop.Confirmation{Key: publicKey(t, nil)}
	awkward := claims(t)
	awkward.Subject, awkward.ClientID = "<ana & co>\"\\", "tür\u2028"
	for name, want := range map[string]*pop.Claims{"full": full, "bare": bare, "public key": public, "owner without epoch, empty cnonce": owner, "awkward text": awkward} {
		t.Run(name, func(t *testing.T) {
			got, err := jose.Open(sign(t, want), find)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestWireForm(t *testing.T) {
	c := claims(t)
	parts := strings.Split(sign(t, c), ".")
	var gotHeader, got map[string]any
	if err := json.Unmarshal(unb64(t, parts[0]), &gotHeader); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(unb64(t, parts[1]), &got); err != nil {
		t.Fatal(err)
	}
	if want := (map[string]any{"alg": "ES256", "kid": serverKey, "typ": "at+jwt"}); !reflect.DeepEqual(gotHeader, want) {
		t.Errorf("header: got %v, want %v", gotHeader, want)
	}
	want := map[string]any{
		"iss": "https://as.example", "sub": "mother", "aud": "d7mfrggzdfmztq", "client_id": "phone",
		"exp": 1_800_003_600.0, "nbf": 1_799_999_990.0, "iat": 1_800_000_000.0, "exi": 28800.0,
		"jti": b64("device-1\x00\x00\x00\x00\x00\x00\x00\x01"), "scope": "/door:GET,PUT /door/unlock:POST",
		"ace_profile": "coap_oscore", "cnonce": b64("nonce678"), "cnf": map[string]any{"jwe": c.Confirmation.JWE},
		"latchkey_grant": map[string]any{"epoch": 1_790_000_000.0, "grant": "AQIDBAUGBwg", "once": []any{1.0}, "grade": []any{2.0, 2.0, 0.0}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("payload: got %v, want %v", got, want)
	}
}

func TestSecretInClearHasItsOwnError(t *testing.T) {
	for name, cnf := range map[string]pop.Confirmation{
		"OSCORE material":    {OSCORE: &pop.InputMaterial{ID: []byte{1}, MasterSecret: secret}},
		"symmetric COSE_Key": {Key: cose.NewSymmetric(secret, nil)},
	} {
		c := claims(t)
		c.Confirmation = cnf
		if token, err := jose.Sign(c, signer()); token != "" || !errors.Is(err, jose.ErrSecretInClear) {
			t.Errorf("%s: got %q %v, want %v", name, token, err, jose.ErrSecretInClear)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	oct := `{"kty":"oct","k":"` + b64(string(secret)) + `"}`
	tests := []struct {
		name   string
		change func(*pop.Claims, *jose.Signer)
	}{
		{"OSCORE material in the clear", func(c *pop.Claims, _ *jose.Signer) {
			c.Confirmation = pop.Confirmation{OSCORE: &pop.InputMaterial{ID: []byte{1}, MasterSecret: secret}}
		}},
		{"OSCORE material beside a JWE", func(c *pop.Claims, _ *jose.Signer) {
			c.Confirmation.OSCORE = &pop.InputMaterial{ID: []byte{1}, MasterSecret: secret}
		}},
		{"symmetric COSE_Key", func(c *pop.Claims, _ *jose.Signer) {
			c.Confirmation = pop.Confirmation{Key: cose.NewSymmetric(secret, secretI)}
		}},
		{"symmetric COSE_Key without bytes", func(c *pop.Claims, _ *jose.Signer) {
			c.Confirmation = pop.Confirmation{Key: new(cose.Key)}
		}},
		{"public key with a kid", func(c *pop.Claims, _ *jose.Signer) {
			c.Confirmation = pop.Confirmation{Key: publicKey(t, cose.KeyID{1})}
		}},
		{"public key beside a JWE", func(c *pop.Claims, _ *jose.Signer) { c.Confirmation.Key = publicKey(t, nil) }},
		{"CBOR Encrypted_COSE_Key", func(c *pop.Claims, _ *jose.Signer) {
			c.Confirmation = pop.Confirmation{Encrypted: []byte{0x83}}
		}},
		{"a JWK where the JWE belongs", func(c *pop.Claims, _ *jose.Signer) { c.Confirmation.JWE = oct }},
		{"an unencrypted JWK dressed as five parts", func(c *pop.Claims, _ *jose.Signer) {
			c.Confirmation.JWE = b64(`{"alg":"dir","enc":"A128GCM"}`) + "..AAAAAAAAAAAAAAAA." + b64(oct) + ".AAAAAAAAAAAAAAAAAAAAAA"
		}},
		{"no confirmation", func(c *pop.Claims, _ *jose.Signer) { c.Confirmation = pop.Confirmation{} }},
		{"two confirmations", func(c *pop.Claims, _ *jose.Signer) { c.Confirmation.KeyID = cose.KeyID{1} }},
		{"no issuer", func(c *pop.Claims, _ *jose.Signer) { c.Issuer = "" }},
		{"no subject", func(c *pop.Claims, _ *jose.Signer) { c.Subject = "" }},
		{"no audience", func(c *pop.Claims, _ *jose.Signer) { c.Audience = "" }},
		{"no client", func(c *pop.Claims, _ *jose.Signer) { c.ClientID = "" }},
		{"no expiry", func(c *pop.Claims, _ *jose.Signer) { c.Expires = time.Time{} }},
		{"no issue time", func(c *pop.Claims, _ *jose.Signer) { c.IssuedAt = time.Time{} }},
		{"time before 1970", func(c *pop.Claims, _ *jose.Signer) { c.IssuedAt = time.Unix(-1, 0) }},
		{"no id", func(c *pop.Claims, _ *jose.Signer) { c.ID = nil }},
		{"half a second of exi", func(c *pop.Claims, _ *jose.Signer) { c.ExpiresIn = time.Second / 2 }},
		{"broken UTF-8", func(c *pop.Claims, _ *jose.Signer) { c.Subject = "mother\xff" }},
		{"unnamed profile", func(c *pop.Claims, _ *jose.Signer) { c.Profile = 9 }},
		{"scope with a space in its path", func(c *pop.Claims, _ *jose.Signer) {
			c.Scope = aif.Rights{{Path: "/a /b:GET", Methods: aif.GET}}
		}},
		{"once index beyond the scope", func(c *pop.Claims, _ *jose.Signer) { c.Grant.Once = []uint{2} }},
		{"once indexes twice", func(c *pop.Claims, _ *jose.Signer) { c.Grant.Once = []uint{1, 1} }},
		{"epoch beyond JSON integers", func(c *pop.Claims, _ *jose.Signer) { c.Grant.Epoch = 1 << 53 }},
		{"no key", func(_ *pop.Claims, s *jose.Signer) { s.Key = nil }},
		{"key on P-384", func(_ *pop.Claims, s *jose.Signer) { s.Key = p384 }},
		{"no kid", func(_ *pop.Claims, s *jose.Signer) { s.ID = "" }},
		{"long kid", func(_ *pop.Claims, s *jose.Signer) { s.ID = strings.Repeat("k", jose.MaxKeyID+1) }},
		{"too long as a whole", func(c *pop.Claims, _ *jose.Signer) {
			c.Issuer, c.Subject = strings.Repeat("i", 1024), strings.Repeat("s", 1024)
			c.Audience, c.ClientID = c.Issuer, c.Subject
		}},
		{"signer that gives no signature", func(_ *pop.Claims, s *jose.Signer) { s.Key = badSigner{issuer, []byte{0x30, 0}} }},
		{"signer that gives r beyond the curve", func(_ *pop.Claims, s *jose.Signer) {
			s.Key = badSigner{issuer, append([]byte{0x30, 38, 2, 33, 1}, append(make([]byte, 32), 2, 1, 1)...)}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, s := claims(t), signer()
			tt.change(c, &s)
			if token, err := jose.Sign(c, s); err == nil {
				t.Errorf("signed %s", token)
			} else if strings.Contains(err.Error(), b64(string(secret))) {
				t.Errorf("error shows the key: %v", err)
			}
		})
	}
}

type badSigner struct {
	crypto.Signer
	signature []byte
}

func (b badSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return b.signature, nil
}

// TestHostileTextMakesNoMember is the answer to GHSA-4cf7-xm37-g63h: whatever text a request can bring into an exported
// function, the names that leave are those of the tables.
func TestHostileTextMakesNoMember(t *testing.T) {
	hostile := []string{`x":0,"admin`, `","admin":true,"x":"`, `\","admin":true,"x":"`, "\u2028\"admin\":1", `</script>`, `{"admin":true}`, "a\nb"}
	allowed := strings.Fields("iss sub aud client_id exp nbf iat jti scope cnf ace_profile exi cnonce latchkey_grant")
	for _, text := range hostile {
		c := claims(t)
		c.Issuer, c.Subject, c.Audience, c.ClientID = text, text, text, text
		c.ID, c.CNonce = []byte(text), []byte(text)
		parts := strings.Split(sign(t, c), ".")
		checkNames(t, unb64(t, parts[0]), strings.Fields("alg kid typ"))
		checkNames(t, unb64(t, parts[1]), allowed)
		got, err := jose.Open(strings.Join(parts, "."), find)
		if err != nil || got.Subject != text || got.Issuer != text {
			t.Errorf("%q: got %v, %v", text, got, err)
		}

		c = claims(t)
		c.Scope = aif.Rights{{Path: "/" + text, Methods: aif.GET}}
		c.Grant = nil
		if token, err := jose.Sign(c, signer()); err == nil {
			parts = strings.Split(token, ".")
			checkNames(t, unb64(t, parts[1]), allowed)
		}
		c.Confirmation.JWE = text
		if _, err := jose.Sign(c, signer()); err == nil {
			t.Errorf("signed cnf.jwe %q", text)
		}

		if token, err := jose.Sign(claims(t), jose.Signer{Key: issuer, ID: text}); err == nil {
			checkNames(t, unb64(t, strings.Split(token, ".")[0]), strings.Fields("alg kid typ"))
		}
		if set, err := jose.PublicSet(map[string]*ecdsa.PublicKey{text: &issuer.PublicKey}); err == nil {
			var s struct{ Keys []json.RawMessage }
			if err := json.Unmarshal(set, &s); err != nil || len(s.Keys) != 1 {
				t.Fatalf("%q: %s: %v", text, set, err)
			}
			checkNames(t, s.Keys[0], strings.Fields("kty use alg kid crv x y"))
		}
		if id := []byte(text)[:min(8, len(text))]; len(id) > 0 {
			jwe, err := cnfjwe.EncryptKey(secret, id, device.PublicKey())
			if err != nil {
				t.Fatal(err)
			}
			checkNames(t, openJWE(t, jwe), strings.Fields("kty k kid"))
			checkNames(t, unb64(t, strings.Split(jwe, ".")[0]), strings.Fields("alg enc epk"))
		}
	}
}

// checkNames compares the names as a plain reader finds them, duplicates included.
func checkNames(t *testing.T, data []byte, allowed []string) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	if _, err := d.Token(); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	for d.More() {
		n, err := d.Token()
		if err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		i := slices.Index(allowed, n.(string))
		if i < 0 {
			t.Fatalf("%s: member %q", data, n)
		}
		allowed = slices.Delete(slices.Clone(allowed), i, i+1)
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
	}
}

// TestSignatureIsOneOfOne: half of all raw signatures have a high s.
func TestSignatureIsOneOfOne(t *testing.T) {
	half := new(big.Int).Rsh(elliptic.P256().Params().N, 1)
	c := claims(t)
	for range 64 {
		parts := strings.Split(sign(t, c), ".")
		signature := unb64(t, parts[2])
		if len(signature) != 64 || new(big.Int).SetBytes(signature[32:]).Cmp(half) > 0 {
			t.Fatalf("signature %x", signature)
		}
	}
}

func TestPublicSet(t *testing.T) {
	second := newKey()
	set, err := jose.PublicSet(map[string]*ecdsa.PublicKey{"b": &issuer.PublicKey, "a": &second.PublicKey})
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Keys []map[string]string }
	if err := json.Unmarshal(set, &got); err != nil {
		t.Fatal(err)
	}
	want := []map[string]string{listed(t, "a", second), listed(t, "b", issuer)}
	if !reflect.DeepEqual(got.Keys, want) {
		t.Errorf("got %v, want %v", got.Keys, want)
	}
	if set, err := jose.PublicSet(nil); err != nil || string(set) != `{"keys":[]}` {
		t.Errorf("no keys: got %s, %v", set, err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, keys := range map[string]map[string]*ecdsa.PublicKey{"no kid": {"": &issuer.PublicKey}, "no key": {"a": nil}, "P-384": {"a": &p384.PublicKey}} {
		if set, err := jose.PublicSet(keys); err == nil {
			t.Errorf("%s: got %s", name, set)
		}
	}
}

func listed(t *testing.T, kid string, key *ecdsa.PrivateKey) map[string]string {
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": kid, "x": b64(string(point[1:33])), "y": b64(string(point[33:]))}
}

// TestSizes reports what the table of sizes in the decisions is compared with.
func TestSizes(t *testing.T) {
	full := claims(t)
	least := &pop.Claims{
		Issuer: "https://as.example", Subject: "m", Audience: full.Audience, ClientID: "phone", Expires: full.Expires, IssuedAt: full.IssuedAt,
		ID: full.ID, Scope: full.Scope, Confirmation: full.Confirmation,
	}
	for name, c := range map[string]*pop.Claims{"required claims and scope": least, "all claims": full} {
		t.Logf("JWT with cnf.jwe, %s: %d B, of which jwe %d B", name, len(sign(t, c)), len(c.Confirmation.JWE))
	}
}
