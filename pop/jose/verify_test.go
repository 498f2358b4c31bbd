package jose_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop/jose"
)

const attestation = `{"alg":"ES256","typ":"oauth-client-attestation+jwt","kid":"` + serverKey + `"}`

func issuerKey(t testing.TB, id string) *jose.Key {
	t.Helper()
	key, err := jose.NewKey(&issuer.PublicKey, id)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func expectAttestation(t testing.TB) jose.Expect {
	return jose.Expect{
		Type: jose.TypeAttestation, Keys: jose.Only(issuerKey(t, serverKey)), Issuer: "https://attester.example", Now: time.Unix(1_800_000_000, 0),
		Require: []jose.Claim{jose.ClaimSubject, jose.ClaimExpires, jose.ClaimConfirmation},
	}
}

const instanceKey = `{"kty":"EC","crv":"P-256","x":"18wHLeIgW9wVN6VD1Txgpqy2LszYkMf6J8njVAibvhM","y":"-V4dS4UaLMgP_4fY4j8ir7cl1TXlFdAgcx55o7TkcSA"}`

const attestationClaims = `{"iss":"https://attester.example","sub":"phone","exp":1800000300,"iat":1799999990.9,"nbf":1799999990.1,` +
	`"cnf":{"jwk":` + instanceKey + `},"aud":["https://as.example","https://other.example"],"wallet_name":"x","status":{"a":[1,{"b":null}]}}`

func TestVerifyGivesWhatIsSaid(t *testing.T) {
	key, err := jose.ParseKey([]byte(instanceKey))
	if err != nil {
		t.Fatal(err)
	}
	got, err := jose.Verify(forge(t, attestation, attestationClaims), expectAttestation(t))
	if err != nil {
		t.Fatal(err)
	}
	want := jose.Registered{
		Issuer: "https://attester.example", Subject: "phone", Audience: []string{"https://as.example", "https://other.example"},
		Expires: time.Unix(1800000300, 0), IssuedAt: time.Unix(1799999990, 0), NotBefore: time.Unix(1799999991, 0),
		Confirmation: &jose.Confirmation{Key: key},
	}
	if !reflect.DeepEqual(got.Registered, want) {
		t.Errorf("got %+v, want %+v", got.Registered, want)
	}
	other := map[string]json.RawMessage{"wallet_name": json.RawMessage(`"x"`), "status": json.RawMessage(`{"a":[1,{"b":null}]}`)}
	if !reflect.DeepEqual(got.Other, other) || got.KeyID != serverKey || !got.Key.Equal(issuerKey(t, "")) {
		t.Errorf("got %s, key %v", got.Other, got.Key)
	}
	if name, err := got.Text("wallet_name", 8); err != nil || name != "x" {
		t.Errorf("got %q, %v", name, err)
	}
	if _, err := got.Text("status", 8); !errors.Is(err, jose.ErrClaims) {
		t.Errorf("got %v, want %v", err, jose.ErrClaims)
	}
}

func TestVerifyRefusesTheEnvelope(t *testing.T) {
	point, err := issuer.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&issuer.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	hs := func(key []byte) string {
		input := b64(strings.Replace(attestation, "ES256", "HS256", 1)) + "." + b64(attestationClaims)
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(input))
		return input + "." + b64(string(mac.Sum(nil)))
	}
	with := func(member string) string {
		return forge(t, strings.TrimSuffix(attestation, "}")+","+member+"}", attestationClaims)
	}
	swap := func(from, to string) string {
		return forge(t, strings.Replace(attestation, from, to, 1), attestationClaims)
	}
	good := forge(t, attestation, attestationClaims)
	tests := []struct {
		name  string
		token string
		want  error
	}{
		{"alg none", strings.Replace(good, b64(attestation), b64(strings.Replace(attestation, "ES256", "none", 1)), 1), jose.ErrProtection},
		{"alg none without signature", b64(`{"alg":"none","typ":"oauth-client-attestation+jwt"}`) + "." + b64(attestationClaims) + ".", jose.ErrProtection},
		{"alg HS256 under the public point", hs(point), jose.ErrProtection},
		{"alg HS256 under the public key as SPKI", hs(spki), jose.ErrProtection},
		{"alg HS256 under no key", hs(nil), jose.ErrProtection},
		{"alg ES384 for a key on P-256", swap("ES256", "ES384"), jose.ErrProtection},
		{"alg in lower case", swap("ES256", "es256"), jose.ErrProtection},
		{"alg as a list", swap(`"ES256"`, `["ES256"]`), jose.ErrProtection},
		{"alg twice", with(`"alg":"ES256"`), jose.ErrForm},
		{"no typ", swap(`"typ":"oauth-client-attestation+jwt",`, ``), jose.ErrProtection},
		{"typ of the proof of possession", swap("attestation+jwt", "attestation-pop+jwt"), jose.ErrProtection},
		{"typ with its media type in full", swap(`"oauth-client`, `"application/oauth-client`), jose.ErrProtection},
		{"another kid", swap(serverKey, "other"), jose.ErrProtection},
		{"kid with a line break", swap(serverKey, `a\nb`), jose.ErrProtection},
		{"kid beyond bounds", swap(serverKey, strings.Repeat("k", 256)), jose.ErrProtection},
		{"jwk of the sender", with(`"jwk":` + instanceKey), jose.ErrProtection},
		{"jku", with(`"jku":"https://evil.example"`), jose.ErrProtection},
		{"x5u", with(`"x5u":"https://evil.example"`), jose.ErrProtection},
		{"crit", with(`"crit":["exp"]`), jose.ErrProtection},
		{"crit empty", with(`"crit":[]`), jose.ErrProtection},
		{"b64", with(`"b64":true`), jose.ErrProtection},
		{"zip", with(`"zip":"DEF"`), jose.ErrProtection},
		{"p2c", with(`"p2c":1000000`), jose.ErrProtection},
		{"enc", with(`"enc":"A128CBC-HS256"`), jose.ErrProtection},
		{"ten thousand dots", strings.Repeat(".", 10_000), jose.ErrForm},
		{"eight thousand dots", strings.Repeat(".", 8_000), jose.ErrForm},
		{"five parts", good + "..", jose.ErrForm},
		{"nothing", "", jose.ErrForm},
		{"two dots", "..", jose.ErrForm},
		{"longer than its bound", forge(t, attestation, `{"x":"`+strings.Repeat("x", jose.MaxForeign)+`"}`), jose.ErrForm},
		{"signature of another", good[:len(good)-6] + "AAAAAA", jose.ErrProtection},
		{"a signature with padding", good + "==", jose.ErrForm},
		{"a signature with a line break after it", good + "\n", jose.ErrForm},
		{"a space before it", " " + good, jose.ErrForm},
		{"a line break within the claims", strings.Replace(good, b64(attestationClaims), b64(attestationClaims)[:8]+"\r\n"+b64(attestationClaims)[8:], 1), jose.ErrForm},
		{"a letter of the standard alphabet", strings.Replace(good, b64(attestationClaims), b64(attestationClaims)[:8]+"+"+b64(attestationClaims)[9:], 1), jose.ErrForm},
		{"bits that stand for nothing", good[:len(good)-1] + spare(good[len(good)-1]), jose.ErrForm},
		{"a signature of 63 bytes", good[:strings.LastIndexByte(good, '.')+1] + b64(strings.Repeat("s", 63)), jose.ErrProtection},
		{"a signature of 65 bytes", good[:strings.LastIndexByte(good, '.')+1] + b64(string(unb64(t, good[strings.LastIndexByte(good, '.')+1:]))+"\x00"), jose.ErrProtection},
		{"half a character in the header", with(`"x":"\ud800"`), jose.ErrForm},
		{"zero signature", good[:strings.LastIndexByte(good, '.')+1] + b64(strings.Repeat("\x00", 64)), jose.ErrProtection},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := jose.Verify(tt.token, expectAttestation(t))
			if got != nil || !errors.Is(err, tt.want) {
				t.Errorf("got %+v, %v, want %v", got, err, tt.want)
			}
			for _, other := range []error{jose.ErrForm, jose.ErrProtection, jose.ErrClaims, jose.ErrExpired} {
				if other != tt.want && errors.Is(err, other) {
					t.Errorf("got %v, which is also %v", err, other)
				}
			}
		})
	}
	// What RFC 7515 §4 has a reader ignore.
	if _, err := jose.Verify(with(`"x5c":["AA"],"cty":"x","x":{"y":[]}`), expectAttestation(t)); err != nil {
		t.Errorf("parameters to be ignored: %v", err)
	}
}

func TestVerifyRefusesClaims(t *testing.T) {
	swap := func(from, to string) string {
		if !strings.Contains(attestationClaims, from) {
			t.Fatalf("no %s to change", from)
		}
		return strings.Replace(attestationClaims, from, to, 1)
	}
	add := func(member string) string { return strings.TrimSuffix(attestationClaims, "}") + "," + member + "}" }
	cnf := func(value string) string { return swap(`{"jwk":`+instanceKey+`}`, value) }
	many := `"a0":0`
	for i := range 64 {
		many += `,"a` + strings.Repeat("a", i+1) + `":0`
	}
	tests := []struct {
		name, payload string
		want          error
	}{
		{"no sub", swap(`"sub":"phone",`, ``), jose.ErrClaims},
		{"sub empty", swap(`"phone"`, `""`), jose.ErrClaims},
		{"sub null", swap(`"phone"`, `null`), jose.ErrClaims},
		{"no exp", swap(`"exp":1800000300,`, ``), jose.ErrClaims},
		{"no cnf", swap(`"cnf":{"jwk":`+instanceKey+`},`, ``), jose.ErrClaims},
		{"another iss", swap(`attester.example`, `attester.example/`), jose.ErrClaims},
		{"no iss", swap(`"iss":"https://attester.example",`, ``), jose.ErrClaims},
		{"exp now", swap(`1800000300`, `1800000000`), jose.ErrExpired},
		{"exp a second ago", swap(`1800000300`, `1799999999`), jose.ErrExpired},
		{"exp as text", swap(`1800000300`, `"1800000300"`), jose.ErrClaims},
		{"exp negative", swap(`1800000300`, `-1`), jose.ErrClaims},
		{"exp without end", swap(`1800000300`, `1e300`), jose.ErrClaims},
		{"exp null", swap(`1800000300`, `null`), jose.ErrClaims},
		{"iat to come", swap(`1799999990.9`, `1800000001`), jose.ErrClaims},
		{"nbf to come, by a fraction", swap(`1799999990.1`, `1800000000.1`), jose.ErrClaims},
		{"aud empty", swap(`["https://as.example","https://other.example"]`, `[]`), jose.ErrClaims},
		{"aud with an empty text", swap(`["https://as.example","https://other.example"]`, `[""]`), jose.ErrClaims},
		{"aud with a number", swap(`["https://as.example",`, `[1,`), jose.ErrClaims},
		{"aud with a list in it", swap(`["https://as.example",`, `[["https://as.example"],`), jose.ErrClaims},
		{"aud twice the same", swap(`other.example`, `as.example`), jose.ErrClaims},
		{"aud of nine", swap(`["https://as.example",`, `["1","2","3","4","5","6","7","8",`), jose.ErrClaims},
		{"aud null", swap(`["https://as.example","https://other.example"]`, `null`), jose.ErrClaims},
		{"cnf null", cnf(`null`), jose.ErrClaims},
		{"cnf empty", cnf(`{}`), jose.ErrClaims},
		{"cnf with a private key", cnf(`{"jwk":` + strings.Replace(instanceKey, `}`, `,"d":"AA"}`, 1) + `}`), jose.ErrClaims},
		{"cnf with a symmetric key", cnf(`{"jwk":{"kty":"oct","k":"` + b64(strings.Repeat("k", 32)) + `"}}`), jose.ErrClaims},
		{"cnf with jku", cnf(`{"jku":"https://keys.example"}`), jose.ErrClaims},
		{"cnf with jwk and kid", cnf(`{"jwk":` + instanceKey + `,"kid":"x"}`), jose.ErrClaims},
		{"cnf with jkt and x5t#S256", cnf(`{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I","x5t#S256":"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg0"}`), jose.ErrClaims},
		{"cnf with an unknown method alone", cnf(`{"dna":"x"}`), jose.ErrClaims},
		{"cnf with a short jkt", cnf(`{"jkt":"AAAA"}`), jose.ErrClaims},
		{"cnf with a jwe that is none", cnf(`{"jwe":"x"}`), jose.ErrClaims},
		{"a name twice", add(`"sub":"phone"`), jose.ErrClaims},
		{"a name twice, once escaped", add(`"s\u0075b":"phone"`), jose.ErrClaims},
		{"a name twice in what is not known", add(`"y":[{"a":1,"\u0061":1}]`), jose.ErrClaims},
		{"nested too deep", add(`"y":` + strings.Repeat("[", 8) + strings.Repeat("]", 8)), jose.ErrClaims},
		{"more claims than its bound", add(many), jose.ErrClaims},
		{"bytes after it", attestationClaims + `{}`, jose.ErrClaims},
		{"a comma too much", attestationClaims[:len(attestationClaims)-1] + `,}`, jose.ErrClaims},
		{"half a character", swap("phone", `\ud800`), jose.ErrClaims},
		{"half a character in what is not known", add(`"y":[{"a":"\udc00"}]`), jose.ErrClaims},
		{"broken UTF-8", swap("phone", "pho\xffne"), jose.ErrClaims},
		{"a list", `[]`, jose.ErrClaims},
		{"null", `null`, jose.ErrClaims},
		{"nothing", ``, jose.ErrClaims},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := jose.Verify(forge(t, attestation, tt.payload), expectAttestation(t))
			if got != nil || !errors.Is(err, tt.want) {
				t.Errorf("got %+v, %v, want %v", got, err, tt.want)
			}
		})
	}
	if _, err := jose.Verify(forge(t, attestation, cnf(`{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I","dna":"x"}`)), expectAttestation(t)); err != nil {
		t.Errorf("an unknown method beside a known one: %v", err)
	}
}

func TestSkewIsGivenInBothDirections(t *testing.T) {
	e := expectAttestation(t)
	e.Skew = 10 * time.Second
	for payload, want := range map[string]error{
		strings.Replace(attestationClaims, "1800000300", "1799999991", 1):   nil,
		strings.Replace(attestationClaims, "1800000300", "1799999990", 1):   jose.ErrExpired,
		strings.Replace(attestationClaims, "1799999990.9", "1800000010", 1): nil,
		strings.Replace(attestationClaims, "1799999990.9", "1800000011", 1): jose.ErrClaims,
	} {
		if _, err := jose.Verify(forge(t, attestation, payload), e); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", payload, err, want)
		}
	}
}

func TestAudienceIsOneOfAll(t *testing.T) {
	for audience, ok := range map[string]bool{"https://as.example": true, "https://other.example": true, "https://as.example/": false, "https://as.exampl": false} {
		e := expectAttestation(t)
		e.Audience = audience
		if _, err := jose.Verify(forge(t, attestation, attestationClaims), e); (err == nil) != ok {
			t.Errorf("%s: got %v", audience, err)
		}
	}
}

// TestSharedSecret: an attester that shares a secret with the server (D21) signs HS256, and nobody else's key does.
func TestSharedSecret(t *testing.T) {
	secret := []byte(strings.Repeat("s", 32))
	shared, err := jose.NewSecretKey(secret, serverKey)
	if err != nil {
		t.Fatal(err)
	}
	input := b64(strings.Replace(attestation, "ES256", "HS256", 1)) + "." + b64(attestationClaims)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(input))
	token := input + "." + b64(string(mac.Sum(nil)))
	e := expectAttestation(t)
	e.Keys = jose.Only(shared)
	if _, err := jose.Verify(token, e); !errors.Is(err, jose.ErrProtection) {
		t.Errorf("by default: got %v, want %v", err, jose.ErrProtection)
	}
	e.Algorithms = []jose.Algorithm{jose.HS256, jose.ES256}
	if _, err := jose.Verify(token, e); err != nil {
		t.Errorf("where it is taken: %v", err)
	}
	if _, err := jose.Verify(forge(t, attestation, attestationClaims), e); !errors.Is(err, jose.ErrProtection) {
		t.Errorf("an ES256 token for a shared secret: got %v", err)
	}
	e.Keys = jose.Only(issuerKey(t, serverKey))
	if _, err := jose.Verify(token, e); !errors.Is(err, jose.ErrProtection) {
		t.Errorf("an HS256 token for a public key: got %v", err)
	}
}

func TestExpectNeedsATypeAndAKey(t *testing.T) {
	for name, change := range map[string]func(*jose.Expect){
		"no type":             func(e *jose.Expect) { e.Type = 0 },
		"no keys":             func(e *jose.Expect) { e.Keys = nil },
		"both kinds of keys":  func(e *jose.Expect) { e.Embedded = true },
		"no key":              func(e *jose.Expect) { e.Keys = jose.Only(nil) },
		"nil without error":   func(e *jose.Expect) { e.Keys = func(string) (*jose.Key, error) { return nil, nil } },
		"the zero key":        func(e *jose.Expect) { e.Keys = jose.Only(new(jose.Key)) },
		"no algorithm":        func(e *jose.Expect) { e.Algorithms = []jose.Algorithm{} },
		"a made-up algorithm": func(e *jose.Expect) { e.Algorithms = []jose.Algorithm{0, 99} },
	} {
		e := expectAttestation(t)
		change(&e)
		if got, err := jose.Verify(forge(t, attestation, attestationClaims), e); !errors.Is(err, jose.ErrProtection) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
	e := expectAttestation(t)
	e.Keys = jose.Only(issuerKey(t, ""))
	if _, err := jose.Verify(forge(t, attestation, attestationClaims), e); err != nil {
		t.Errorf("a key without an id: %v", err)
	}
}

// TestTypesAreNeverMistaken: whatever is made as one type is refused as every other.
func TestTypesAreNeverMistaken(t *testing.T) {
	all := []jose.Type{jose.TypeAccessToken, jose.TypeDPoP, jose.TypeIntrospection, jose.TypeAssertion, jose.TypeAttestation, jose.TypeAttestationPoP}
	for _, made := range all {
		token := forge(t, `{"alg":"ES256","kid":"`+serverKey+`","typ":"`+made.String()+`"}`, attestationClaims)
		for _, as := range all {
			e := expectAttestation(t)
			e.Type = as
			if _, err := jose.Verify(token, e); (err == nil) != (made == as) {
				t.Errorf("made as %v, taken as %v: %v", made, as, err)
			}
		}
	}
	e := expectAttestation(t)
	e.Type = jose.TypeAssertion
	if _, err := jose.Verify(forge(t, `{"alg":"ES256"}`, attestationClaims), e); err != nil {
		t.Errorf("an assertion without typ: %v", err)
	}
}

func TestPossessionAfterAttestation(t *testing.T) {
	signer := newKey()
	instance, err := jose.NewKey(&signer.PublicKey, "")
	if err != nil {
		t.Fatal(err)
	}
	pop, err := jose.Make(jose.TypeAttestationPoP, jose.Registered{
		Audience: []string{"https://as.example"}, IssuedAt: time.Unix(1_800_000_000, 0), ID: "0123456789",
	}, map[jose.Claim]any{jose.ClaimChallenge: "c1"}, jose.Signer{Key: signer, ID: "instance"})
	if err != nil {
		t.Fatal(err)
	}
	e := jose.Expect{
		Type: jose.TypeAttestationPoP, Keys: jose.Only(instance), Audience: "https://as.example", Now: time.Unix(1_800_000_000, 0),
		Require: []jose.Claim{jose.ClaimID, jose.ClaimIssuedAt, jose.ClaimChallenge},
	}
	got, err := jose.Verify(pop, e)
	if err != nil {
		t.Fatal(err)
	}
	if challenge, err := got.Text(jose.ClaimChallenge, 64); err != nil || challenge != "c1" || got.ID != "0123456789" {
		t.Errorf("got %+v, %v", got, err)
	}
	e.Keys = jose.Only(issuerKey(t, ""))
	if _, err := jose.Verify(pop, e); !errors.Is(err, jose.ErrProtection) {
		t.Errorf("another instance: got %v, want %v", err, jose.ErrProtection)
	}
}
