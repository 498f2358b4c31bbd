package httpapi_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/authz/clientauth"
	"github.com/latchkey-ace/latchkey/pop/integrity"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

// service is an attestation service of the older form: "svc" publishes keys, "shared" shares a secret with the server.
type integrityService struct {
	w      *world
	key    *ecdsa.PrivateKey
	secret []byte
}

func (w *world) integrityService() *integrityService {
	w.t.Helper()
	s := &integrityService{w, w.newKey(), bytes.Repeat([]byte("s"), 32)}
	public, err := jose.NewKey(s.key.Public(), "")
	w.must(err)
	shared, err := jose.NewSecretKey(s.secret, "")
	w.must(err)
	means := attest.Verdict{Kind: attest.Service, App: "example.door", Key: attest.KeySoftware}
	w.options.Attesters = map[string]clientauth.Attester{
		"svc":    {Keys: jose.Only(public), Means: means},
		"shared": {Keys: jose.Only(shared), Symmetric: true, Means: means},
	}
	for id, by := range map[string]string{"app": "svc", "old-app": "shared"} {
		w.client(authz.Client{
			ID: id, AuthMethod: authz.AuthIntegrity, RedirectURIs: []string{redirect}, ClientMadeKeys: true,
			GrantTypes: []string{authz.AuthorizationCode, authz.RefreshToken}, Settings: authz.ClientSettings{Attesters: []string{by}},
		})
	}
	w.serve(w.store)
	w.give("mother", view)
	return s
}

// token is a good token for a body; pairs change its claims.
func (s *integrityService) token(body string, pairs ...any) string {
	sum := sha256.Sum256([]byte(body))
	claims := map[string]any{"exp": s.w.clock.now().Add(5 * time.Minute).Unix(), "pay": base64.StdEncoding.EncodeToString(sum[:])}
	return s.w.jws(s.key, map[string]any{"alg": "ES256", "typ": "JWT"}, change(claims, pairs...))
}

// withSecret is the same, under the shared secret.
func (s *integrityService) withSecret(secret []byte, body string) string {
	sum := sha256.Sum256([]byte(body))
	claims, err := json.Marshal(map[string]any{"exp": s.w.clock.now().Add(5 * time.Minute).Unix(), "pay": base64.StdEncoding.EncodeToString(sum[:])})
	s.w.must(err)
	input := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString(claims)
	mac := hmac.New(sha256.New, secret)
	_, _ = mac.Write([]byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func (s *integrityService) post(path string, form url.Values, headers ...string) page {
	s.w.t.Helper()
	return s.w.browser().post(s.w.url+path, form, headers...)
}

// code pushes a request and walks to a code.
func (s *integrityService) code(client string, token func(body string) string) string {
	s.w.t.Helper()
	form := question("client_id", client)
	p := s.post("/par", form, integrity.HeaderToken, token(form.Encode()))
	uri, ok := s.w.object(p)["request_uri"].(string)
	if !ok {
		s.w.t.Fatalf("pushed: %d %s", p.StatusCode, p.body)
	}
	return s.w.code("mother", url.Values{"client_id": {client}, "request_uri": {uri}})
}

// TestIntegrityToken: with a token for each request an app gets a code, a token and its renewal, whether the service publishes keys or
// shares a secret.
func TestIntegrityToken(t *testing.T) {
	for client, form := range map[string]func(*integrityService) func(string) string{
		"app": func(s *integrityService) func(string) string { return func(b string) string { return s.token(b) } },
		"old-app": func(s *integrityService) func(string) string {
			return func(b string) string { return s.withSecret(s.secret, b) }
		},
	} {
		w := newWorld(t)
		s := w.integrityService()
		token := form(s)
		redeem := redemption(s.code(client, token))
		redeem.Set("client_id", client)
		p := s.post("/token", redeem, integrity.HeaderToken, token(redeem.Encode()))
		m := w.object(p)
		if p.StatusCode != http.StatusOK || m["scope"] != "view" || m["refresh_token"] == nil {
			t.Fatalf("%s: %d %s", client, p.StatusCode, p.body)
		}
		renew := url.Values{"grant_type": {"refresh_token"}, "client_id": {client}, "refresh_token": {m["refresh_token"].(string)}}
		w.wantError("without a token", s.post("/token", renew), 401, "invalid_client")
		if p := s.post("/token", renew, integrity.HeaderToken, token(renew.Encode())); p.StatusCode != http.StatusOK {
			t.Errorf("%s renews: %d %s", client, p.StatusCode, p.body)
		}
	}
}

// TestIntegrityTokenOfAKey: a token that is bound to the instance key goes with a DPoP proof of it, and binds code and renewal.
func TestIntegrityTokenOfAKey(t *testing.T) {
	w := newWorld(t)
	s := w.integrityService()
	by := w.prover()
	token := s.token("", "pay", nil, "cnf", map[string]any{"jwk": publicJWK(by.key)})
	proof := func(path string) string { return by.says("htu", w.url+path) }
	form := question("client_id", "app")
	p := s.post("/par", form, integrity.HeaderToken, token, "DPoP", proof("/par"))
	uri, ok := w.object(p)["request_uri"].(string)
	if !ok {
		t.Fatalf("%d %s", p.StatusCode, p.body)
	}
	redeem := redemption(w.code("mother", url.Values{"client_id": {"app"}, "request_uri": {uri}}))
	redeem.Set("client_id", "app")
	w.wantError("bound to the body, without the key", s.post("/token", redeem, integrity.HeaderToken, s.token(redeem.Encode())), 400, "invalid_grant")
	w.wantError("without a proof", s.post("/token", redeem, integrity.HeaderToken, token), 400, "invalid_client_attestation")
	w.wantError("a proof of another key", s.post("/token", redeem, integrity.HeaderToken, token, "DPoP", w.prover().says()), 400, "invalid_client_attestation")
	p = s.post("/token", redeem, integrity.HeaderToken, token, "DPoP", proof("/token"))
	m := w.object(p)
	if p.StatusCode != http.StatusOK || m["refresh_token"] == nil {
		t.Fatalf("%d %s", p.StatusCode, p.body)
	}
	renew := url.Values{"grant_type": {"refresh_token"}, "client_id": {"app"}, "refresh_token": {m["refresh_token"].(string)}}
	for range 2 {
		if p := s.post("/token", renew, integrity.HeaderToken, token, "DPoP", proof("/token")); p.StatusCode != http.StatusOK {
			t.Errorf("renewed: %d %s", p.StatusCode, p.body)
		}
	}
	same := proof("/token")
	s.post("/token", renew, integrity.HeaderToken, token, "DPoP", same)
	w.wantError("the proof again", s.post("/token", renew, integrity.HeaderToken, token, "DPoP", same), 400, "invalid_dpop_proof")
}

// TestRefusedIntegrityTokens: each is refused; the code is still good for the genuine app.
func TestRefusedIntegrityTokens(t *testing.T) {
	w := newWorld(t)
	s := w.integrityService()
	redeem := redemption(s.code("app", func(b string) string { return s.token(b) }))
	redeem.Set("client_id", "app")
	body := redeem.Encode()
	raw, err := s.key.PublicKey.Bytes()
	w.must(err)
	now := w.clock.now()
	good := s.token(body)
	for _, tt := range []struct {
		name    string
		headers []string
		status  int
		code    string
	}{
		{"none", nil, 401, "invalid_client"},
		{"two", []string{integrity.HeaderToken, s.token(body), integrity.HeaderToken, s.token(body)}, 400, "invalid_request"},
		{"beside a secret", []string{integrity.HeaderToken, s.token(body), "Authorization", basic("app", "x")}, 400, "invalid_request"},
		{"for another body", []string{integrity.HeaderToken, s.token(body + "&x=1")}, 400, "invalid_client_attestation"},
		{"bound to nothing", []string{integrity.HeaderToken, s.token(body, "pay", nil)}, 401, "invalid_client"},
		{"in answer to a challenge", []string{integrity.HeaderToken, s.token(body, "pay", nil, "challenge", "c")}, 400, "invalid_client_attestation"},
		{"expired", []string{integrity.HeaderToken, s.token(body, "exp", now.Unix())}, 400, "use_fresh_attestation"},
		{"good for an hour", []string{integrity.HeaderToken, s.token(body, "exp", now.Add(time.Hour).Unix())}, 401, "invalid_client"},
		{"of another client", []string{integrity.HeaderToken, s.token(body, "sub", "old-app")}, 401, "invalid_client"},
		{"for another server", []string{integrity.HeaderToken, s.token(body, "aud", "https://other.example")}, 401, "invalid_client"},
		{"of a strange service", []string{integrity.HeaderToken, w.jws(w.newKey(), map[string]any{"alg": "ES256"}, map[string]any{"exp": now.Add(time.Minute).Unix(), "challenge": "c"})}, 401, "invalid_client"},
		{"of a service that vouches for others", []string{integrity.HeaderToken, s.withSecret(s.secret, body)}, 401, "invalid_client"},
		{"HS256 with the public key as secret", []string{integrity.HeaderToken, s.withSecret(raw, body)}, 401, "invalid_client"},
		{"garbage", []string{integrity.HeaderToken, "garbage"}, 401, "invalid_client"},
		{"longer than 8 KiB", []string{integrity.HeaderToken, s.token(body, "x", strings.Repeat("a", 8<<10))}, 401, "invalid_client"},
		{"for a client without a need", []string{integrity.HeaderToken, good, "X-Client", "phone"}, 0, ""},
	} {
		if tt.status == 0 {
			form := url.Values{"grant_type": {"authorization_code"}, "client_id": {"phone"}, "code": {"x"}}
			w.wantError(tt.name, s.post("/token", form, tt.headers...), 401, "invalid_client")
			continue
		}
		w.wantError(tt.name, s.post("/token", redeem, tt.headers...), tt.status, tt.code)
	}
	if w.tokens() != 0 {
		t.Error("a token was minted")
	}
	// Of 50 at a time that show one token one passes, and the others leave the code alone.
	var passed atomic.Int32
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if s.post("/token", redeem, integrity.HeaderToken, good).StatusCode == http.StatusOK {
				passed.Add(1)
			}
		})
	}
	all.Wait()
	if passed.Load() != 1 || w.tokens() != 1 {
		t.Errorf("%d of 50 passed, %d tokens", passed.Load(), w.tokens())
	}
}

// TestIntegrityTokenAgain: one bound to a body is good once, in either spelling of its signature.
func TestIntegrityTokenAgain(t *testing.T) {
	w := newWorld(t)
	s := w.integrityService()
	form := question("client_id", "app")
	token := s.token(form.Encode())
	if p := s.post("/par", form, integrity.HeaderToken, token); p.StatusCode != http.StatusCreated {
		t.Fatalf("%d %s", p.StatusCode, p.body)
	}
	for name, again := range map[string]string{"the same": token, "with the other s": otherS(t, token)} {
		w.wantError(name, s.post("/par", form, integrity.HeaderToken, again), 401, "invalid_client")
	}
}

// otherS is the token with its signature's other spelling: (r, n − s) is as good as (r, s).
func otherS(t *testing.T, token string) string {
	t.Helper()
	at := strings.LastIndexByte(token, '.') + 1
	raw, err := base64.RawURLEncoding.DecodeString(token[at:])
	if err != nil {
		t.Fatal(err)
	}
	s := new(big.Int).SetBytes(raw[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(raw[32:])
	return token[:at] + base64.RawURLEncoding.EncodeToString(raw)
}
