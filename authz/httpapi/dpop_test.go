package httpapi_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz/httpapi"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

// proof is a good DPoP proof for the token endpoint.
func (w *world) proof(key *ecdsa.PrivateKey) string {
	w.t.Helper()
	proof, err := jose.Prove(jose.ProofFor{Method: "POST", URL: w.url + "/token"}, key, w.clock.now(), rand.Reader)
	w.must(err)
	return proof
}

func publicJWK(key *ecdsa.PrivateKey) map[string]any {
	k, err := jose.NewKey(key.Public(), "")
	if err != nil {
		panic(err)
	}
	raw, err := k.JWK()
	var m map[string]any
	if err := errors.Join(err, json.Unmarshal(raw, &m)); err != nil {
		panic(err)
	}
	return m
}

// prover makes proofs by hand, good ones and others.
type prover struct {
	w      *world
	key    *ecdsa.PrivateKey
	header map[string]any
	claims map[string]any
}

func (w *world) prover() *prover {
	key := w.newKey()
	return &prover{
		w, key, map[string]any{"typ": "dpop+jwt", "alg": "ES256", "jwk": publicJWK(key)},
		map[string]any{"htm": "POST", "htu": w.url + "/token", "iat": w.clock.now().Unix()},
	}
}

// says is a fresh proof with other claims.
func (p *prover) says(pairs ...any) string {
	return p.w.jws(p.key, p.header, change(change(p.claims, "jti", unique()), pairs...))
}

// has is a fresh proof with another header.
func (p *prover) has(pairs ...any) string {
	return p.w.jws(p.key, change(p.header, pairs...), change(p.claims, "jti", unique()))
}

// TestDPoP: RFC 9449 §5, and the modules DpopProofWithIat… of the conformance suite (FAPI2-SP-FINAL).
func TestDPoP(t *testing.T) {
	w := newWorld(t)
	k := w.signers()
	w.serve(w.store)
	by := w.prover()
	says, key, now := by.says, by.key, w.clock.now().Unix()
	thumb, err := jose.NewKey(key.Public(), "")
	w.must(err)
	for name, proof := range map[string]string{
		"a proof": says(),
		"DpopProofWithIat10SecondsBeforeSucceeds": says("iat", now-10),
		"DpopProofWithIat10SecondsAfterSucceeds":  says("iat", now+10),
		"§4.3 9: htu with query and fragment":     says("htu", w.url+"/token?x=1#y"),
		"§4.3 9: htu in another spelling":         says("htu", strings.Replace(w.url, "http:", "HTTP:", 1)+"/token"),
		"CheckDpopProofNbfExp: both good":         says("nbf", now-1, "exp", now+60),
		"§4.2: a claim more":                      says("purpose", "test"),
	} {
		p := w.forAPI(w.asserted(k.signer), "DPoP", proof)
		if m := w.object(p); p.StatusCode != 200 || m["token_type"] != "DPoP" {
			t.Errorf("%s: %d %s", name, p.StatusCode, p.body)
			continue
		}
		if got := w.cnf(w.object(p)["access_token"]); got["jkt"] != thumb.Thumbprint().String() || len(got) != 1 {
			t.Errorf("%s: cnf %v", name, got)
		}
	}
	once := says()
	if p := w.forAPI(w.asserted(k.signer), "DPoP", once); p.StatusCode != 200 {
		t.Errorf("%d %s", p.StatusCode, p.body)
	}
	w.wantError("§11.1: replayed", w.forAPI(w.asserted(k.signer), "DPoP", once), 400, "invalid_dpop_proof")
	w.clock.move(50 * time.Second)
	w.wantError("§11.1: replayed late", w.forAPI(w.asserted(k.signer), "DPoP", once), 400, "invalid_dpop_proof")
	// D11: for a device the token keeps its own key and type.
	device := w.asserted(k.signer)
	device.Set("audience", "door-1")
	if m := w.object(w.forAPI(device, "DPoP", w.proof(key))); m["token_type"] != "PoP" || m["cnf"] == nil {
		t.Errorf("for a device: %v", m)
	}
}

// TestRefusedDPoP: the modules DpopNegativeTests, CheckDpopProofNbfExp and HolderOfKeyRequired; clauses are those of RFC 9449.
func TestRefusedDPoP(t *testing.T) {
	w := newWorld(t)
	k := w.signers()
	w.serve(w.store)
	by := w.prover()
	says, has, key, now := by.says, by.has, by.key, w.clock.now().Unix()
	parts := strings.Split(says(), ".")
	private, d := publicJWK(key), keyBytes(t, key)
	private["d"] = base64.RawURLEncoding.EncodeToString(d)
	for name, proof := range map[string]string{
		"§4.3 2: no JWT":                          "proof",
		"§4.3 2: two in one header":               says() + "," + says(),
		"§4.3 2: empty":                           "",
		"§4.3 3: no jti":                          says("jti", nil),
		"§4.3 3: no htm":                          says("htm", nil),
		"§4.3 3: no htu":                          says("htu", nil),
		"§4.3 3: no iat":                          says("iat", nil),
		"§4.3 4: no typ":                          has("typ", nil),
		"§4.3 4: typ JWT":                         has("typ", "JWT"),
		"§4.3 5: alg none":                        base64url(`{"typ":"dpop+jwt","alg":"none"}`) + "." + parts[1] + ".",
		"§4.3 5: alg HS256":                       has("alg", "HS256"),
		"§4.3 5: alg RS256":                       has("alg", "RS256"),
		"§4.3 6: no signature":                    parts[0] + "." + parts[1] + ".",
		"§4.3 6: another's signature":             w.jws(k.dpop, by.header, change(by.claims, "jti", unique())),
		"§4.3 6: other claims":                    parts[0] + "." + base64url(`{"jti":"12345678","htm":"POST"}`) + "." + parts[2],
		"§4.3 7: a private key":                   has("jwk", private),
		"§4.3 7: no key":                          has("jwk", nil),
		"§4.3 7: a symmetric key":                 has("jwk", map[string]any{"kty": "oct", "k": "AAAA"}),
		"§4.3 8: GET":                             says("htm", "GET"),
		"§4.3 8: post":                            says("htm", "post"),
		"§4.3 9: another endpoint":                says("htu", w.url+"/par"),
		"§4.3 9: another host":                    says("htu", "https://evil.example/token"),
		"§4.3 9: the host of the header":          says("htu", "http://forwarded.example/token"),
		"§4.3 11: iat 61 s ago":                   says("iat", now-61),
		"§4.3 11: iat 11 s ahead":                 says("iat", now+11),
		"§4.3 11: iat 61 s ahead":                 says("iat", now+61),
		"CheckDpopProofNbfExp: expired":           says("exp", now-11),
		"CheckDpopProofNbfExp: nbf in the future": says("nbf", now+61),
		"an embedded certificate URL":             has("x5u", "https://evil.example"),
	} {
		p := w.forAPI(w.asserted(k.signer), "DPoP", proof, "X-Forwarded-Host", "forwarded.example")
		w.wantError(name, p, 400, "invalid_dpop_proof")
	}
	p := w.forAPI(w.asserted(k.signer), "DPoP", says("htu", "http://other.example/token"), "Host", "other.example")
	w.wantError("§4.3 9: the host that the request names", p, 400, "invalid_dpop_proof")
	p = w.forAPI(w.asserted(k.signer), "DPoP", says(), "DPoP", says())
	w.wantError("§4.3 1: two headers", p, 400, "invalid_dpop_proof")
	w.wantError("no proof (HolderOfKeyRequired)", w.forAPI(w.asserted(k.signer)), 400, "invalid_request")
}

func base64url(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// TestProofInParallel: of sixteen requests with one proof, each with an assertion of its own, one succeeds.
func TestProofInParallel(t *testing.T) {
	w := newWorld(t)
	k := w.signers()
	w.serve(w.store)
	proof, assertion := w.proof(k.dpop), w.asserted(k.signer)
	for name, ask := range map[string]func() page{
		"a proof":      func() page { return w.forAPI(w.asserted(k.signer), "DPoP", proof) },
		"an assertion": func() page { return w.forAPI(assertion, "DPoP", w.proof(k.dpop)) },
	} {
		var group sync.WaitGroup
		var pages [16]page
		for i := range pages {
			group.Go(func() { pages[i] = ask() })
		}
		group.Wait()
		won := 0
		for _, p := range pages {
			switch p.StatusCode {
			case 200:
				won++
			case 400, 401:
			default:
				t.Errorf("%s: %d %s", name, p.StatusCode, p.body)
			}
		}
		if won != 1 {
			t.Errorf("%s: %d succeeded", name, won)
		}
	}
}

// flipped is another letter of base64url.
func flipped(letter byte) string {
	if letter == 'A' {
		return "B"
	}
	return "A"
}

// TestNonces: RFC 9449 §8. Two nodes know each other's nonces, and a phone with a wrong clock is let in by one.
func TestNonces(t *testing.T) {
	w := newWorld(t)
	k := w.signers()
	w.options.DPoPNonce = true
	w.serve(w.store)
	first := w.url
	prove := func(nonce string, at time.Time) string {
		proof, err := jose.Prove(jose.ProofFor{Method: "POST", URL: w.url + "/token", Nonce: nonce}, k.dpop, at, rand.Reader)
		w.must(err)
		return proof
	}
	ask := func(nonce string) page { return w.forAPI(w.asserted(k.signer), "DPoP", prove(nonce, w.clock.now())) }
	p := ask("")
	nonce := p.Header.Get("DPoP-Nonce")
	w.wantError("no nonce", p, 400, "use_dpop_nonce")
	if len(nonce) < 22 || p.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("nonce %q, %v", nonce, p.Header)
	}
	if p := ask(nonce); p.StatusCode != 200 {
		t.Errorf("with it: %d %s", p.StatusCode, p.body)
	}
	if p := w.forAPI(w.asserted(k.signer), "DPoP", prove(nonce, w.clock.now().Add(-24*time.Hour))); p.StatusCode != 200 {
		t.Errorf("a clock of yesterday: %d %s", p.StatusCode, p.body)
	}
	for name, bad := range map[string]string{"cut": nonce[:len(nonce)-1], "longer": nonce + "A", "of nobody": base64url("12345678901234567890"), "text": "nonce", "of this minute, made up": nonce[:8] + flipped(nonce[8]) + nonce[9:]} {
		p := ask(bad)
		w.wantError(name, p, 400, "use_dpop_nonce")
		if p.Header.Get("DPoP-Nonce") != nonce {
			t.Errorf("%s: given %q", name, p.Header.Get("DPoP-Nonce"))
		}
	}
	w.serve(w.store) // another node on the same store
	if p := ask(nonce); w.url == first || p.StatusCode != 200 {
		t.Errorf("at another node: %d %s", p.StatusCode, p.body)
	}
	w.clock.move(4 * time.Minute)
	if p := ask(nonce); p.StatusCode != 200 {
		t.Errorf("after four minutes: %d %s", p.StatusCode, p.body)
	}
	w.clock.move(time.Minute)
	w.wantError("after five minutes", ask(nonce), 400, "use_dpop_nonce")
	w.options = httpapi.Options{}
	w.serve(w.store)
	w.wantError("an old nonce where none is demanded", ask(nonce), 400, "use_dpop_nonce")
	if p := ask(""); p.StatusCode != 200 {
		t.Errorf("none where none is demanded: %d %s", p.StatusCode, p.body)
	}
}

// TestDPoPKeyAtAuthorize: dpop_jkt (RFC 9449 §10), MismatchedDpopJkt of the conformance suite.
func TestDPoPKeyAtAuthorize(t *testing.T) {
	w := newWorld(t)
	w.give("mother", unlock)
	key, other := w.newKey(), w.newKey()
	public, err := jose.NewKey(key.Public(), "")
	w.must(err)
	code := w.code("mother", question("dpop_jkt", public.Thumbprint().String()))
	b := w.browser()
	w.wantError("no proof", b.post(w.url+"/token", redemption(code)), 400, "invalid_grant")
	w.wantError("another key", b.post(w.url+"/token", redemption(code), "DPoP", w.proof(other)), 400, "invalid_grant")
	if p := b.post(w.url+"/token", redemption(code), "DPoP", w.proof(key)); p.StatusCode != 200 || w.object(p)["token_type"] != "PoP" {
		t.Errorf("%d %s", p.StatusCode, p.body)
	}
	v := w.back(b.ask(question("dpop_jkt", "x")))
	if v.Get("error") != "invalid_request" {
		t.Errorf("a malformed dpop_jkt: %v", v)
	}
	two := question("resource", "https://a.example")
	two.Add("resource", "https://b.example")
	if v := w.back(b.ask(two)); v.Get("error") != "invalid_target" {
		t.Errorf("two resources: %v", v)
	}
	if p := b.post(w.url+"/token", url.Values{"grant_type": {"client_credentials"}, "resource": {"https://a.example", "https://b.example"}}); w.object(p)["error"] != "invalid_target" {
		t.Errorf("two resources at /token: %s", p.body)
	}
}

// TestDPoPAtPAR: RFC 9449 §10.1, MismatchedDpopJkt of the conformance suite at the PAR endpoint.
func TestDPoPAtPAR(t *testing.T) {
	w := newWorld(t)
	w.give("mother", unlock)
	key, other := w.newKey(), w.newKey()
	public, err := jose.NewKey(key.Public(), "")
	w.must(err)
	proof := func(key *ecdsa.PrivateKey) string {
		proof, err := jose.Prove(jose.ProofFor{Method: "POST", URL: w.url + "/par"}, key, w.clock.now(), rand.Reader)
		w.must(err)
		return proof
	}
	b := w.browser()
	push := func(proof string, pairs ...string) page {
		return b.post(w.url+"/par", question(pairs...), "DPoP", proof)
	}
	w.wantError("another key", push(proof(other), "dpop_jkt", public.Thumbprint().String()), 400, "invalid_dpop_proof")
	w.wantError("a proof for /token", push(w.proof(key)), 400, "invalid_dpop_proof")
	once := proof(key)
	p := push(once)
	if p.StatusCode != 201 {
		t.Fatalf("%d %s", p.StatusCode, p.body)
	}
	w.wantError("the same proof", push(once), 400, "invalid_dpop_proof")
	code := w.code("mother", url.Values{"client_id": {"phone"}, "request_uri": {w.object(p)["request_uri"].(string)}})
	w.wantError("no proof", b.post(w.url+"/token", redemption(code)), 400, "invalid_grant")
	w.wantError("another key at /token", b.post(w.url+"/token", redemption(code), "DPoP", w.proof(other)), 400, "invalid_grant")
	if p := b.post(w.url+"/token", redemption(code), "DPoP", w.proof(key)); p.StatusCode != 200 {
		t.Errorf("%d %s", p.StatusCode, p.body)
	}
}

func keyBytes(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	d, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return d
}
