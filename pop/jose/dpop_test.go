package jose_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop/jose"
	"pgregory.net/rapid"
)

// rfcExample is one entry of testdata/rfc.json.
type rfcExample struct {
	Proof       string
	Method, URL string
	Issued      int64  `json:"iat"`
	ID          string `json:"jti"`
	AccessToken string `json:"access_token"`
	JKT         string
	JWK         json.RawMessage
	Thumbprint  string
	Claims      json.RawMessage
}

func readRFC(t testing.TB, id string) rfcExample {
	t.Helper()
	data, err := os.ReadFile("testdata/rfc.json")
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]rfcExample
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	e, ok := all[id]
	if !ok {
		t.Fatalf("no example %s", id)
	}
	return e
}

func jkt(t testing.TB, s string) jose.Thumbprint {
	t.Helper()
	print, err := jose.ParseThumbprint(s)
	if err != nil {
		t.Fatal(err)
	}
	return print
}

func TestRFC9449Examples(t *testing.T) {
	const key = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
	for _, id := range []string{"rfc9449-4.1", "rfc9449-5", "rfc9449-7.1"} {
		x := readRFC(t, id)
		e := jose.ExpectProof{Method: x.Method, URL: x.URL, AccessToken: x.AccessToken, Bound: jkt(t, key), Now: time.Unix(x.Issued+5, 0)}
		got, err := jose.VerifyProof(x.Proof, e)
		if err != nil {
			t.Errorf("%s: %v", id, err)
			continue
		}
		if got.Thumbprint.String() != key || got.ID != x.ID || got.IssuedAt.Unix() != x.Issued {
			t.Errorf("%s: got %v %s %v", id, got.Thumbprint, got.ID, got.IssuedAt)
		}
		if want := sha256.Sum256(append(unb64(t, key), x.ID...)); got.Replay != want {
			t.Errorf("%s: replay key %x, want %x", id, got.Replay, want)
		}
	}
}

var proofTime = time.Unix(1_800_000_000, 0)

const (
	proofURL    = "https://as.example/token"
	accessToken = "an.access.token"
)

// proof is a good proof with header and payload changed by the test; it is signed by issuer.
func proof(t testing.TB, change func(header, payload map[string]any)) string {
	t.Helper()
	point, err := issuer.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	header := map[string]any{"typ": "dpop+jwt", "alg": "ES256", "jwk": map[string]any{
		"kty": "EC", "crv": "P-256", "x": b64(string(point[1:33])), "y": b64(string(point[33:])),
	}}
	payload := map[string]any{"jti": "0123456789abcdef", "htm": "POST", "htu": proofURL, "iat": proofTime.Unix()}
	if change != nil {
		change(header, payload)
	}
	return forge(t, toJSON(t, header), toJSON(t, payload))
}

func toJSON(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func issuerThumbprint(t testing.TB) jose.Thumbprint {
	t.Helper()
	key, err := jose.NewKey(&issuer.PublicKey, "")
	if err != nil {
		t.Fatal(err)
	}
	return key.Thumbprint()
}

func expectProof() jose.ExpectProof {
	return jose.ExpectProof{Method: "POST", URL: proofURL, Now: proofTime}
}

func TestProofsThatAreTaken(t *testing.T) {
	jwkOf := func(h map[string]any) map[string]any { return h["jwk"].(map[string]any) }
	tests := []struct {
		name   string
		change func(h, p map[string]any)
	}{
		{"as it should be", nil},
		{"with a high s", nil},
		{"htu with a query and a fragment", func(_, p map[string]any) { p["htu"] = proofURL + "?a=b#c" }},
		{"htu in other case with the default port", func(_, p map[string]any) { p["htu"] = "HTTPS://AS.example:443/token" }},
		{"iat as far ahead as allowed", func(_, p map[string]any) { p["iat"] = proofTime.Add(10 * time.Second).Unix() }},
		{"iat as old as allowed", func(_, p map[string]any) { p["iat"] = proofTime.Add(-60 * time.Second).Unix() }},
		{"iat with a fraction", func(_, p map[string]any) { p["iat"] = float64(proofTime.Unix()) + 0.5 }},
		{"exp and nbf around now", func(_, p map[string]any) { p["exp"], p["nbf"] = proofTime.Unix()+1, proofTime.Unix() }},
		{"a nonce that nobody asked for", func(_, p map[string]any) { p["nonce"] = "n" }},
		{"an ath at the token endpoint", func(_, p map[string]any) { p["ath"] = "x" }},
		{"unknown claims and header parameters", func(h, p map[string]any) { h["x"], p["y"] = 1, []int{1} }},
		{"a kid beside the key", func(h, _ map[string]any) { h["kid"] = "mine" }},
		{"a jwk as WebCrypto exports it", func(h, _ map[string]any) { jwkOf(h)["ext"], jwkOf(h)["key_ops"] = true, []string{"verify"} }},
		{"a jwk with alg and use", func(h, _ map[string]any) { jwkOf(h)["alg"], jwkOf(h)["use"] = "ES256", "sig" }},
		{"jti of eight bytes", func(_, p map[string]any) { p["jti"] = "12345678" }},
		{"jti of 128 bytes", func(_, p map[string]any) { p["jti"] = strings.Repeat("j", 128) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			token := proof(t, tt.change)
			if tt.name == "with a high s" {
				input := token[:strings.LastIndexByte(token, '.')]
				token = input + "." + b64(string(rawSignature(t, input, true)))
			}
			got, err := jose.VerifyProof(token, expectProof())
			if err != nil || got.Thumbprint != issuerThumbprint(t) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestProofsThatAreRefused(t *testing.T) {
	jwkOf := func(h map[string]any) map[string]any { return h["jwk"].(map[string]any) }
	tests := []struct {
		name   string
		change func(h, p map[string]any)
	}{
		{"typ JWT", func(h, _ map[string]any) { h["typ"] = "JWT" }},
		{"typ in capitals", func(h, _ map[string]any) { h["typ"] = "DPoP+jwt" }},
		{"no typ", func(h, _ map[string]any) { delete(h, "typ") }},
		{"typ of an access token", func(h, _ map[string]any) { h["typ"] = "at+jwt" }},
		{"alg none", func(h, _ map[string]any) { h["alg"] = "none" }},
		{"alg HS256", func(h, _ map[string]any) { h["alg"] = "HS256" }},
		{"alg of another key", func(h, _ map[string]any) { h["alg"] = "ES384" }},
		{"no alg", func(h, _ map[string]any) { delete(h, "alg") }},
		{"no jwk", func(h, _ map[string]any) { delete(h, "jwk") }},
		{"jwk null", func(h, _ map[string]any) { h["jwk"] = nil }},
		{"jwk as a string", func(h, _ map[string]any) { h["jwk"] = toJSON(t, h["jwk"]) }},
		{"jwk with the private key", func(h, _ map[string]any) { jwkOf(h)["d"] = b64(strings.Repeat("d", 32)) }}, // CVE-2026-54431
		{"jwk with an empty private key", func(h, _ map[string]any) { jwkOf(h)["d"] = "" }},
		{"jwk with a symmetric key beside", func(h, _ map[string]any) { jwkOf(h)["k"] = "AAAA" }},
		{"jwk with a prime of RSA", func(h, _ map[string]any) { jwkOf(h)["oth"] = []int{} }},
		{"jwk that is symmetric", func(h, _ map[string]any) { h["jwk"] = map[string]any{"kty": "oct", "k": b64(strings.Repeat("k", 32))} }},
		{"jwk for encryption", func(h, _ map[string]any) { jwkOf(h)["use"] = "enc" }},
		{"jwk for another algorithm", func(h, _ map[string]any) { jwkOf(h)["alg"] = "ECDH-ES" }},
		{"jwk that may only sign", func(h, _ map[string]any) { jwkOf(h)["key_ops"] = []string{"sign"} }},
		{"jwk off the curve", func(h, _ map[string]any) { jwkOf(h)["y"] = jwkOf(h)["x"] }},
		{"jwk of another key", func(h, _ map[string]any) {
			point, _ := newKey().PublicKey.Bytes()
			jwkOf(h)["x"], jwkOf(h)["y"] = b64(string(point[1:33])), b64(string(point[33:]))
		}},
		{"crit", func(h, _ map[string]any) { h["crit"] = []string{"b64"} }},
		{"b64", func(h, _ map[string]any) { h["b64"] = true }},
		{"zip", func(h, _ map[string]any) { h["zip"] = "DEF" }},
		{"jku", func(h, _ map[string]any) { h["jku"] = "https://evil.example" }},
		{"x5u", func(h, _ map[string]any) { h["x5u"] = "https://evil.example" }},
		{"no htm", func(_, p map[string]any) { delete(p, "htm") }},
		{"htm of another method", func(_, p map[string]any) { p["htm"] = "GET" }},
		{"htm in lower case", func(_, p map[string]any) { p["htm"] = "post" }},
		{"htm as a list", func(_, p map[string]any) { p["htm"] = []string{"POST"} }},
		{"no htu", func(_, p map[string]any) { delete(p, "htu") }},
		{"htu of another host", func(_, p map[string]any) { p["htu"] = "https://as.example.evil/token" }},
		{"htu of another path", func(_, p map[string]any) { p["htu"] = "https://as.example/token/" }},
		{"htu of another scheme", func(_, p map[string]any) { p["htu"] = "http://as.example/token" }},
		{"htu of another port", func(_, p map[string]any) { p["htu"] = "https://as.example:8443/token" }},
		{"htu with a user", func(_, p map[string]any) { p["htu"] = "https://as.example@evil.example/token" }},
		{"htu that is a path", func(_, p map[string]any) { p["htu"] = "/token" }},
		{"no iat", func(_, p map[string]any) { delete(p, "iat") }},
		{"iat as text", func(_, p map[string]any) { p["iat"] = "1800000000" }},
		{"iat too far ahead", func(_, p map[string]any) { p["iat"] = proofTime.Add(11 * time.Second).Unix() }},
		{"iat too old", func(_, p map[string]any) { p["iat"] = proofTime.Add(-61 * time.Second).Unix() }},
		{"exp passed", func(_, p map[string]any) { p["exp"] = proofTime.Unix() - 10 }},
		{"nbf to come", func(_, p map[string]any) { p["nbf"] = proofTime.Unix() + 11 }},
		{"no jti", func(_, p map[string]any) { delete(p, "jti") }},
		{"jti empty", func(_, p map[string]any) { p["jti"] = "" }},
		{"jti of seven bytes", func(_, p map[string]any) { p["jti"] = "1234567" }},
		{"jti of 129 bytes", func(_, p map[string]any) { p["jti"] = strings.Repeat("j", 129) }},
		{"jti as a number", func(_, p map[string]any) { p["jti"] = 12345678 }},
		{"nonce as a number", func(_, p map[string]any) { p["nonce"] = 1 }},
		{"longer than its bound", func(_, p map[string]any) { p["x"] = strings.Repeat("x", 4096) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := jose.VerifyProof(proof(t, tt.change), expectProof())
			if got != nil || !errors.Is(err, jose.ErrInvalidProof) || errors.Is(err, jose.ErrUseNonce) {
				t.Errorf("got %+v, %v, want %v", got, err, jose.ErrInvalidProof)
			}
		})
	}
}

func TestProofBesideAnAccessToken(t *testing.T) {
	sum := sha256.Sum256([]byte(accessToken))
	good := func(_, p map[string]any) { p["ath"] = b64(string(sum[:])) }
	e := expectProof()
	e.AccessToken, e.Bound = accessToken, issuerThumbprint(t)
	if _, err := jose.VerifyProof(proof(t, good), e); err != nil {
		t.Errorf("as it should be: %v", err)
	}
	stranger, err := jose.NewKey(&newKey().PublicKey, "")
	if err != nil {
		t.Fatal(err)
	}
	other := sha256.Sum256([]byte("another"))
	tests := []struct {
		name   string
		change func(h, p map[string]any)
		expect func(*jose.ExpectProof)
	}{
		{"no ath", nil, nil},
		{"ath of another token", func(_, p map[string]any) { p["ath"] = b64(string(other[:])) }, nil},
		{"ath as bytes of the token", func(_, p map[string]any) { p["ath"] = accessToken }, nil},
		{"ath as a list", func(_, p map[string]any) { p["ath"] = []string{b64(string(sum[:]))} }, nil},
		{"token bound to another key", good, func(e *jose.ExpectProof) { e.Bound = stranger.Thumbprint() }},
		{"token bound to no key", good, func(e *jose.ExpectProof) { e.Bound = jose.Thumbprint{} }},
	}
	for _, tt := range tests {
		expect := e
		if tt.expect != nil {
			tt.expect(&expect)
		}
		if got, err := jose.VerifyProof(proof(t, tt.change), expect); !errors.Is(err, jose.ErrInvalidProof) {
			t.Errorf("%s: got %+v, %v", tt.name, got, err)
		}
	}
}

// TestProofOfABoundCode is dpop_jkt (RFC 9449 §10): the proof at the token endpoint must be by the key that was announced.
func TestProofOfABoundCode(t *testing.T) {
	e := expectProof()
	e.Bound = jkt(t, issuerThumbprint(t).String())
	if _, err := jose.VerifyProof(proof(t, nil), e); err != nil {
		t.Error(err)
	}
	e.Bound = jkt(t, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I")
	if _, err := jose.VerifyProof(proof(t, nil), e); !errors.Is(err, jose.ErrInvalidProof) {
		t.Errorf("another key: got %v", err)
	}
}

// TestNoncesReplaceTheClock is F27: where a server gives nonces, a phone whose clock is off by a day still gets in.
func TestNoncesReplaceTheClock(t *testing.T) {
	e := expectProof()
	e.Nonce, e.NonceLife = func(n string) bool { return n == "fresh" }, 5*time.Minute
	tests := []struct {
		name   string
		change func(h, p map[string]any)
		want   error
	}{
		{"good", func(_, p map[string]any) { p["nonce"] = "fresh" }, nil},
		{"good, a day late", func(_, p map[string]any) { p["nonce"], p["iat"] = "fresh", proofTime.Unix()-86400 }, nil},
		{"good, a day ahead", func(_, p map[string]any) { p["nonce"], p["iat"] = "fresh", proofTime.Unix()+86400 }, nil},
		{"stale", func(_, p map[string]any) { p["nonce"] = "stale" }, jose.ErrUseNonce},
		{"missing", nil, jose.ErrUseNonce},
		{"missing, a day late", func(_, p map[string]any) { p["iat"] = proofTime.Unix() - 86400 }, jose.ErrUseNonce},
		{"good, but for another method", func(_, p map[string]any) { p["nonce"], p["htm"] = "fresh", "GET" }, jose.ErrInvalidProof},
		{"missing, and for another method", func(_, p map[string]any) { p["htm"] = "GET" }, jose.ErrInvalidProof},
		{"longer than its bound", func(_, p map[string]any) { p["nonce"] = strings.Repeat("n", 256) }, jose.ErrInvalidProof},
	}
	for _, tt := range tests {
		got, err := jose.VerifyProof(proof(t, tt.change), e)
		if tt.want == nil && (err != nil || got.Nonce != "fresh" || got.Keep < e.NonceLife) || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: got %+v, %v, want %v", tt.name, got, err, tt.want)
		}
	}
}

func TestExpectationsThatForgetSomething(t *testing.T) {
	tests := map[string]func(*jose.ExpectProof){
		"no method":                    func(e *jose.ExpectProof) { e.Method = "" },
		"no URL":                       func(e *jose.ExpectProof) { e.URL = "" },
		"a path for a URL":             func(e *jose.ExpectProof) { e.URL = "/token" },
		"no time":                      func(e *jose.ExpectProof) { e.Now = time.Time{} },
		"a negative window":            func(e *jose.ExpectProof) { e.MaxAge = -time.Second },
		"a window without end":         func(e *jose.ExpectProof) { e.MaxAge = time.Hour },
		"a clock far ahead":            func(e *jose.ExpectProof) { e.Ahead = time.Hour },
		"a token without its key":      func(e *jose.ExpectProof) { e.AccessToken = accessToken },
		"a nonce without its lifetime": func(e *jose.ExpectProof) { e.Nonce = func(string) bool { return true } },
		"a symmetric algorithm":        func(e *jose.ExpectProof) { e.Algorithms = []jose.Algorithm{jose.HS256} },
		"algorithms without this one":  func(e *jose.ExpectProof) { e.Algorithms = []jose.Algorithm{jose.EdDSA} },
	}
	for name, change := range tests {
		e := expectProof()
		change(&e)
		if got, err := jose.VerifyProof(proof(t, nil), e); !errors.Is(err, jose.ErrInvalidProof) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

// TestReplayKeysOutliveTheirProofs: at every moment at which a proof is taken, what is remembered of it since is remembered
// still, whatever the clocks say, and never for no time or less.
func TestReplayKeysOutliveTheirProofs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := expectProof()
		e.MaxAge = time.Duration(rapid.IntRange(0, 600).Draw(t, "age")) * time.Second
		e.Ahead = time.Duration(rapid.IntRange(0, 600).Draw(t, "ahead")) * time.Second
		issued := proofTime.Add(time.Duration(rapid.IntRange(-700, 700).Draw(t, "issued")) * time.Second)
		token, err := jose.Prove(jose.ProofFor{Method: e.Method, URL: e.URL}, issuer, issued, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		first, err := jose.VerifyProof(token, e)
		if err != nil {
			return
		}
		if first.Keep <= 0 {
			t.Fatalf("kept for %v", first.Keep)
		}
		e.Now = e.Now.Add(time.Duration(rapid.IntRange(0, 2000).Draw(t, "later")) * time.Second)
		if _, err := jose.VerifyProof(token, e); err == nil && e.Now.Sub(proofTime) >= first.Keep {
			t.Errorf("taken again after %v, forgotten after %v", e.Now.Sub(proofTime), first.Keep)
		}
	})
}

// TestReplayKeysTellClientsApart: with bare jti one client could use up another's.
func TestReplayKeysTellClientsApart(t *testing.T) {
	keys := map[[32]byte]bool{}
	for _, change := range []func(h, p map[string]any){nil, func(_, p map[string]any) { p["jti"] = "another one" }} {
		got, err := jose.VerifyProof(proof(t, change), expectProof())
		if err != nil {
			t.Fatal(err)
		}
		keys[got.Replay] = true
	}
	same, err := jose.VerifyProof(proof(t, func(_, p map[string]any) { p["iat"] = proofTime.Unix() - 1 }), expectProof())
	if err != nil || !keys[same.Replay] || len(keys) != 2 {
		t.Errorf("got %x among %d, %v", same.Replay, len(keys), err)
	}
}

// signers are one key of each kind that signs.
func signers(t testing.TB) map[jose.Algorithm]crypto.Signer {
	t.Helper()
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return map[jose.Algorithm]crypto.Signer{jose.ES256: newKey(), jose.ES384: p384, jose.EdDSA: ed}
}

func TestProofsWeMakeAreTaken(t *testing.T) {
	for alg, key := range signers(t) {
		public, err := jose.NewKey(key.Public(), "")
		if err != nil || public.Algorithm() != alg {
			t.Fatalf("%v: %v, %v", alg, public, err)
		}
		f := jose.ProofFor{Method: "PUT", URL: "https://Lock.example:443/door?secret=1#x", AccessToken: accessToken, Nonce: "n1"}
		e := jose.ExpectProof{
			Method: "PUT", URL: "https://lock.example/door", AccessToken: accessToken, Bound: public.Thumbprint(), Now: proofTime,
			Nonce: func(n string) bool { return n == "n1" }, NonceLife: time.Minute, Algorithms: []jose.Algorithm{alg},
		}
		token, err := jose.Prove(f, key, proofTime, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		got, err := jose.VerifyProof(token, e)
		if err != nil || !got.Key.Equal(public) || got.Nonce != "n1" || len(got.ID) != 22 {
			t.Errorf("%v: got %+v, %v", alg, got, err)
		}
		if parts := strings.Split(token, "."); strings.Contains(string(unb64(t, parts[1])), "secret") {
			t.Errorf("%v: the query is in the proof", alg)
		}
		for i := range len(token) {
			changed := []byte(token)
			changed[i] ^= 1 << (i % 7)
			if _, err := jose.VerifyProof(string(changed), e); err == nil {
				t.Errorf("%v: bit flipped in byte %d", alg, i)
			}
			if _, err := jose.VerifyProof(token[:i], e); err == nil {
				t.Errorf("%v: cut at %d", alg, i)
			}
		}
	}
}

func TestProveRefuses(t *testing.T) {
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := jose.ProofFor{Method: "GET", URL: proofURL}
	tests := []struct {
		name   string
		change func(*jose.ProofFor)
		key    crypto.Signer
	}{
		{"no method", func(f *jose.ProofFor) { f.Method = "" }, issuer},
		{"no URL", func(f *jose.ProofFor) { f.URL = "" }, issuer},
		{"a URL with a user", func(f *jose.ProofFor) { f.URL = "https://a:b@as.example/" }, issuer},
		{"a long nonce", func(f *jose.ProofFor) { f.Nonce = strings.Repeat("n", 256) }, issuer},
		{"no key", nil, nil},
		{"a key on P-521", nil, p521},
		{"a signer that signs nothing", nil, badSigner{issuer, nil}},
	}
	for _, tt := range tests {
		f := good
		if tt.change != nil {
			tt.change(&f)
		}
		if got, err := jose.Prove(f, tt.key, proofTime, rand.Reader); err == nil {
			t.Errorf("%s: got %s", tt.name, got)
		}
	}
	if got, err := jose.Prove(good, issuer, proofTime, strings.NewReader("short")); err == nil {
		t.Errorf("no randomness: got %s", got)
	}
}
