package jose_test

import (
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

func TestOpenRefusesTheEnvelope(t *testing.T) {
	good := sign(t, claims(t))
	parts := strings.Split(good, ".")
	payload := string(unb64(t, parts[1]))
	hs := func(key []byte) string {
		input := b64(`{"alg":"HS256","kid":"`+serverKey+`","typ":"at+jwt"}`) + "." + parts[1]
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(input))
		return input + "." + b64(string(mac.Sum(nil)))
	}
	spki, err := x509.MarshalPKIXPublicKey(&issuer.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	point, err := issuer.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	with := func(h string) string { return forge(t, h, payload) }
	extra := func(member string) string {
		return with(strings.TrimSuffix(header, "}") + "," + member + "}")
	}
	input := parts[0] + "." + parts[1]
	tests := []struct {
		name  string
		token string
		want  error
	}{
		{"alg none without signature", b64(`{"alg":"none","typ":"at+jwt","kid":"as-2026-11"}`) + "." + parts[1] + ".", jose.ErrProtection},
		{"alg none with the signature", with(`{"alg":"none","typ":"at+jwt","kid":"as-2026-11"}`), jose.ErrProtection},
		{"alg HS256 with the public key as SPKI", hs(spki), jose.ErrProtection},
		{"alg HS256 with the public key as point", hs(point), jose.ErrProtection},
		{"alg HS256 with an empty key", hs(nil), jose.ErrProtection},
		{"alg es256", with(`{"alg":"es256","kid":"as-2026-11","typ":"at+jwt"}`), jose.ErrProtection},
		{"alg twice", with(`{"alg":"none","alg":"ES256","kid":"as-2026-11","typ":"at+jwt"}`), jose.ErrForm},
		{"alg twice, once escaped", with(`{"\u0061lg":"none","alg":"ES256","kid":"as-2026-11","typ":"at+jwt"}`), jose.ErrForm},
		{"alg under a name in capitals", with(`{"ALG":"ES256","kid":"as-2026-11","typ":"at+jwt"}`), jose.ErrProtection},
		{"no typ", with(`{"alg":"ES256","kid":"as-2026-11"}`), jose.ErrProtection},
		{"typ JWT", with(`{"alg":"ES256","kid":"as-2026-11","typ":"JWT"}`), jose.ErrProtection},
		{"typ of an attestation", with(`{"alg":"ES256","kid":"as-2026-11","typ":"oauth-client-attestation+jwt"}`), jose.ErrProtection},
		{"no kid", with(`{"alg":"ES256","typ":"at+jwt"}`), jose.ErrProtection},
		{"another kid", with(`{"alg":"ES256","kid":"as-2025-01","typ":"at+jwt"}`), jose.ErrProtection},
		{"kid as a path", with(`{"alg":"ES256","kid":"../../dev/null","typ":"at+jwt"}`), jose.ErrProtection},
		{"kid as a number", with(`{"alg":"ES256","kid":7,"typ":"at+jwt"}`), jose.ErrProtection},
		{"crit", extra(`"crit":["exp"]`), jose.ErrProtection},
		{"b64", extra(`"b64":false`), jose.ErrProtection},
		{"jku", extra(`"jku":"https://evil.example/jwks"`), jose.ErrProtection},
		{"x5u", extra(`"x5u":"https://evil.example/x5u"`), jose.ErrProtection},
		{"jwk", extra(`"jwk":{"kty":"oct","k":"AA"}`), jose.ErrProtection},
		{"zip", extra(`"zip":"DEF"`), jose.ErrProtection},
		{"a parameter that nobody knows", extra(`"x":1`), jose.ErrProtection},
		{"header is an array", with(`["ES256"]`), jose.ErrForm},
		{"header is null", with(`null`), jose.ErrForm},
		{"bytes after the header", with(header + ` {}`), jose.ErrForm},
		{"empty", "", jose.ErrForm},
		{"two parts", input, jose.ErrForm},
		{"four parts", good + ".", jose.ErrForm},
		{"dots", strings.Repeat(".", 4000), jose.ErrForm},
		{"JSON serialization", `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, jose.ErrForm},
		{"space before", " " + good, jose.ErrForm},
		{"line break after", good + "\n", jose.ErrForm},
		{"line break inside", input + ".\n" + parts[2], jose.ErrForm},
		{"padding", good + "==", jose.ErrForm},
		{"spare bits of the signature", good[:len(good)-1] + spare(good[len(good)-1]), jose.ErrForm},
		{"signature with a high s", input + "." + b64(string(rawSignature(t, input, true))), jose.ErrProtection},
		{"signature in DER", input + "." + b64(string(der(t, input))), jose.ErrProtection},
		{"no signature", input + ".", jose.ErrProtection},
		{"zero signature", input + "." + b64(strings.Repeat("\x00", 64)), jose.ErrProtection},
		{"signature of another payload", parts[0] + "." + b64(strings.Replace(payload, "mother", "mallet", 1)) + "." + parts[2], jose.ErrProtection},
		{"longer than its bound", forge(t, header, strings.Replace(payload, "mother", strings.Repeat("m", 4096), 1)), jose.ErrForm},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantRefusal(t, tt.token, tt.want)
		})
	}
	if _, err := jose.Open(with(header), find); err != nil {
		t.Errorf("the forger itself: %v", err)
	}
}

func wantRefusal(t *testing.T, token string, want error) {
	t.Helper()
	c, err := jose.Open(token, find)
	if !errors.Is(err, want) || c != nil {
		t.Errorf("got %v, %v, want %v", c, err, want)
	}
	for _, other := range []error{jose.ErrForm, jose.ErrProtection, jose.ErrClaims} {
		if other != want && errors.Is(err, other) {
			t.Errorf("got %v, which is also %v", err, other)
		}
	}
}

// spare changes the bits of the last base64 digit of 64 bytes that stand for nothing.
func spare(digit byte) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(digits[strings.IndexByte(digits, digit)|1])
}

func der(t *testing.T, input string) []byte {
	digest := sha256.Sum256([]byte(input))
	out, err := ecdsa.SignASN1(rand.Reader, issuer, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestOpenTellsWhyTheKeyIsMissing(t *testing.T) {
	token := forge(t, `{"alg":"ES256","kid":"other","typ":"at+jwt"}`, `{}`)
	if _, err := jose.Open(token, find); !errors.Is(err, errUnknownKey) {
		t.Errorf("got %v, want %v", err, errUnknownKey)
	}
	nothing := func(string) (*ecdsa.PublicKey, error) { return nil, nil }
	if _, err := jose.Open(sign(t, claims(t)), nothing); !errors.Is(err, jose.ErrProtection) {
		t.Errorf("no key, no error: got %v, want %v", err, jose.ErrProtection)
	}
	stranger := newKey()
	other := func(string) (*ecdsa.PublicKey, error) { return &stranger.PublicKey, nil }
	if _, err := jose.Open(sign(t, claims(t)), other); !errors.Is(err, jose.ErrProtection) {
		t.Errorf("another key: got %v, want %v", err, jose.ErrProtection)
	}
}

func TestOpenRefusesClaims(t *testing.T) {
	jwe := encrypted(t)
	good := `{"iss":"i","sub":"s","aud":"a","client_id":"c","exp":1800003600,"iat":1800000000,"jti":"AQ","cnf":{"jwe":"` + jwe + `"},"scope":"/door:GET /lamp:PUT"}`
	if _, err := jose.Open(forge(t, header, good), find); err != nil {
		t.Fatal(err)
	}
	swap := func(from, to string) string {
		if !strings.Contains(good, from) {
			t.Fatalf("no %s to change", from)
		}
		return strings.Replace(good, from, to, 1)
	}
	add := func(member string) string { return strings.TrimSuffix(good, "}") + "," + member + "}" }
	cnf := func(value string) string { return swap(`{"jwe":"`+jwe+`"}`, value) }
	grant := func(value string) string { return add(`"latchkey_grant":` + value) }
	oct := `{"kty":"oct","k":"` + b64(string(secret)) + `"}`
	tests := []struct {
		name    string
		payload string
	}{
		{"exp as a string", swap(`1800003600`, `"1800003600"`)},
		{"exp as a fraction", swap(`1800003600`, `1800003600.5`)},
		{"exp with an exponent", swap(`1800003600`, `1e99`)},
		{"exp negative", swap(`1800003600`, `-1`)},
		{"exp zero", swap(`1800003600`, `0`)},
		{"exp beyond all dates", swap(`1800003600`, `99999999999999999999`)},
		{"exp null", swap(`1800003600`, `null`)},
		{"exp in capitals", swap(`"exp"`, `"EXP"`)},
		{"no exp", swap(`"exp":1800003600,`, ``)},
		{"no iat", swap(`"iat":1800000000,`, ``)},
		{"no iss", swap(`"iss":"i",`, ``)},
		{"no sub", swap(`"sub":"s",`, ``)},
		{"no client", swap(`"client_id":"c",`, ``)},
		{"no aud", swap(`"aud":"a",`, ``)},
		{"aud as a list", swap(`"aud":"a"`, `"aud":["a","b"]`)},
		{"aud empty", swap(`"aud":"a"`, `"aud":""`)},
		{"no jti", swap(`"jti":"AQ",`, ``)},
		{"jti with padding", swap(`"AQ"`, `"AQ=="`)},
		{"jti with spare bits", swap(`"AQ"`, `"AR"`)},
		{"jti with a line break", swap(`"AQ"`, `"A\nQ"`)},
		{"nbf zero", add(`"nbf":0`)},
		{"exi zero", add(`"exi":0`)},
		{"nbf as a string", add(`"nbf":"1"`)},
		{"exi as a string", add(`"exi":"1"`)},
		{"exi that overflows a duration", add(`"exi":9223372036854775807`)},
		{"unknown profile", add(`"ace_profile":"coap_pigeon"`)},
		{"profile as its number", add(`"ace_profile":2`)},
		{"cnonce as a number", add(`"cnonce":7`)},
		{"scope that is no AIF", swap(`/door:GET `, `admin `)},
		{"scope in another order", swap(`/door:GET /lamp:PUT`, `/lamp:PUT /door:GET`)},
		{"no cnf", swap(`"cnf":{"jwe":"`+jwe+`"},`, ``)},
		{"cnf null", cnf(`null`)},
		{"cnf empty", cnf(`{}`)},
		{"cnf with a symmetric jwk", cnf(`{"jwk":` + oct + `}`)},
		{"cnf with jwk and jwe", cnf(`{"jwk":` + oct + `,"jwe":"` + jwe + `"}`)},
		{"cnf with kid and jwe", cnf(`{"kid":"AQ","jwe":"` + jwe + `"}`)},
		{"cnf with jku", cnf(`{"jku":"https://evil.example"}`)},
		{"cnf with jkt", cnf(`{"jkt":"AQ"}`)},
		{"cnf with a jwe of other algorithms", cnf(`{"jwe":"` + b64(`{"alg":"dir","enc":"A128GCM"}`) + `..AAAAAAAAAAAAAAAA.AA.AAAAAAAAAAAAAAAAAAAAAA"}`)},
		{"cnf with an empty kid", cnf(`{"kid":""}`)},
		{"grant without epoch", grant(`{"grant":"AQIDBAUGBwg"}`)},
		{"grant with a short id", grant(`{"epoch":1,"grant":"AQIDBAUGBw"}`)},
		{"grant without id", grant(`{"epoch":1}`)},
		{"grant with an epoch as text", grant(`{"epoch":"1","grant":"AQIDBAUGBwg"}`)},
		{"grant with an unknown member", grant(`{"epoch":1,"grant":"AQIDBAUGBwg","twice":[0]}`)},
		{"grade of nobody", grant(`{"epoch":1,"grant":"AQIDBAUGBwg","grade":[0,1,1]}`)},
		{"grade of two numbers", grant(`{"epoch":1,"grant":"AQIDBAUGBwg","grade":[1,1]}`)},
		{"grade beyond what can be", grant(`{"epoch":1,"grant":"AQIDBAUGBwg","grade":[1,16,1]}`)},
		{"grade below", grant(`{"epoch":1,"grant":"AQIDBAUGBwg","grade":[1,-1,1]}`)},
		{"grade in words", grant(`{"epoch":1,"grant":"AQIDBAUGBwg","grade":["service","hardware","verified"]}`)},
		{"grade null", grant(`{"epoch":1,"grant":"AQIDBAUGBwg","grade":null}`)},
		{"once beyond the scope", grant(`{"epoch":1,"grant":"AQIDBAUGBwg","once":[2]}`)},
		{"once empty", grant(`{"epoch":1,"grant":"AQIDBAUGBwg","once":[]}`)},
		{"once null", grant(`{"epoch":1,"grant":"AQIDBAUGBwg","once":[null]}`)},
		{"exp twice", add(`"exp":1900000000`)},
		{"exp twice, once escaped", add(`"e\u0078p":1900000000`)},
		{"a twin inside an unknown claim", add(`"other":{"a":1,"a":2}`)},
		{"a twin inside cnf", cnf(`{"jwe":"x","jwe":"` + jwe + `"}`)},
		{"nested too deep", add(`"other":[[[[[1]]]]]`)},
		{"bytes after the payload", good + `{}`},
		{"broken UTF-8", swap(`"sub":"s"`, "\"sub\":\"s\xff\"")},
		{"payload is a list", `[1]`},
		{"no payload", ``},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantRefusal(t, forge(t, header, tt.payload), jose.ErrClaims)
		})
	}
	if _, err := jose.Open(forge(t, header, strings.ReplaceAll(good, ",", " ,\n")), find); err != nil {
		t.Errorf("spaces: %v", err)
	}
	c, err := jose.Open(forge(t, header, add(`"roles":["x"],"b":{"c":null}`)), find)
	if err != nil {
		t.Fatalf("unknown claims: %v", err)
	}
	want := map[pop.ClaimLabel][]byte{{Name: "roles"}: []byte(`["x"]`), {Name: "b"}: []byte(`{"c":null}`)}
	if !reflect.DeepEqual(c.Unknown, want) {
		t.Errorf("unknown claims: got %q, want %q", c.Unknown, want)
	}
	many := good[:len(good)-1]
	for n := range 65 {
		many += fmt.Sprintf(`,"x%d":0`, n)
	}
	wantRefusal(t, forge(t, header, many+"}"), jose.ErrClaims)
}

func TestTruncatedOrChangedTokenStaysShut(t *testing.T) {
	good := sign(t, claims(t))
	for end := range len(good) {
		if c, err := jose.Open(good[:end], find); err == nil {
			t.Fatalf("cut at %d of %d: %v", end, len(good), c)
		}
	}
	for i := range len(good) {
		changed := []byte(good)
		changed[i] ^= 1 << (i % 7)
		if c, err := jose.Open(string(changed), find); err == nil {
			t.Fatalf("bit flipped in byte %d: %v", i, c)
		}
	}
}
