package httpapi_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/base64"
	"fmt"
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
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/attestation"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

const attesterName = "https://attester.example"

// attester is somebody who vouches for instances of the client "app".
type attester struct {
	w    *world
	key  *ecdsa.PrivateKey
	kid  string
	keys atomic.Pointer[map[string]*ecdsa.PrivateKey] // published; nil: away
}

// attesters makes the server one that takes attestations, of one attester; "acme" vouches for "app", and "other" for nobody's.
func (w *world) attesters() *attester {
	w.t.Helper()
	a := &attester{w: w, key: w.newKey(), kid: "k1"}
	a.publish(map[string]*ecdsa.PrivateKey{"k1": a.key})
	foreign := w.newKey()
	other := &attester{w: w, key: foreign, kid: "o1"}
	other.publish(map[string]*ecdsa.PrivateKey{"o1": foreign})
	w.options.Attesters = map[string]clientauth.Attester{
		"acme":  {Issuer: attesterName, Keys: a.find, Says: true, Means: attest.Verdict{Kind: attest.Service}},
		"other": {Issuer: "https://other.example", Keys: other.find, Says: true, Means: attest.Verdict{Kind: attest.Service}},
	}
	w.client(authz.Client{
		ID: "app", AuthMethod: authz.AuthAttested, RedirectURIs: []string{redirect}, ClientMadeKeys: true,
		GrantTypes: []string{authz.AuthorizationCode, authz.RefreshToken, authz.DeviceCodeGrant, authz.ClientCredentials},
		Settings:   authz.ClientSettings{Attesters: []string{"acme"}, Apps: []string{"example.door"}},
	})
	w.serve(w.store)
	w.give("mother", view, unlock)
	_, err := w.server.Give(w.t.Context(), authz.Grant{Owner: "alice", To: authz.Subject{Client: "app"}, Device: deviceID(1), Rights: aif.New(view)})
	w.must(err)
	return a
}

func (a *attester) publish(keys map[string]*ecdsa.PrivateKey) { a.keys.Store(&keys) }

func (a *attester) find(kid string) (*jose.Key, error) {
	published := a.keys.Load()
	if published == nil {
		return nil, fmt.Errorf("%w: the attester is away", authz.ErrUnavailable)
	}
	key := (*published)[kid]
	if key == nil {
		return nil, jose.ErrUnknownKey
	}
	return jose.NewKey(key.Public(), kid)
}

// instance is one installation of the app, with its key.
type instance struct {
	a   *attester
	key *ecdsa.PrivateKey
}

func (a *attester) instance() *instance { return &instance{a, a.w.newKey()} }

// vouched is an attestation of the instance; pairs change its claims.
func (i *instance) vouched(pairs ...any) string {
	return i.vouchedBy(i.a.key, map[string]any{}, pairs...)
}

func (i *instance) vouchedBy(key *ecdsa.PrivateKey, header map[string]any, pairs ...any) string {
	now := i.a.w.clock.now()
	claims := map[string]any{
		"iss": attesterName, "sub": "app", "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(), "cnf": map[string]any{"jwk": publicJWK(i.key)},
		"latchkey_verdict": verdict("key", "hardware", "at", now.Format(time.RFC3339)),
	}
	h := map[string]any{"typ": "oauth-client-attestation+jwt", "alg": "ES256", "kid": i.a.kid}
	for name, value := range header {
		h = change(h, name, value)
	}
	return i.a.w.jws(key, h, change(claims, pairs...))
}

func verdict(pairs ...any) map[string]any {
	return change(map[string]any{"kind": "service", "app": "example.door", "key": "software", "os": "verified", "at": "2026-11-22T19:00:00Z"}, pairs...)
}

// challenge asks the server for one.
func (w *world) challenge() string {
	w.t.Helper()
	p := w.browser().post(w.url+"/attestation-challenge", nil)
	challenge, _ := w.object(p)["attestation_challenge"].(string)
	if p.StatusCode != http.StatusOK || p.Header.Get("Cache-Control") != "no-store" || challenge == "" {
		w.t.Fatalf("challenge: %d %v %s", p.StatusCode, p.Header, p.body)
	}
	return challenge
}

// proof is a good proof of the instance's key; pairs change its claims.
func (i *instance) proof(pairs ...any) string {
	w := i.a.w
	claims := map[string]any{"aud": w.url, "jti": unique(), "iat": w.clock.now().Unix(), "challenge": w.challenge()}
	return w.jws(i.key, map[string]any{"typ": "oauth-client-attestation-pop+jwt", "alg": "ES256"}, change(claims, pairs...))
}

// dpop is a good DPoP proof of the instance's key for an endpoint.
func (i *instance) dpop(path string, pairs ...any) string {
	w := i.a.w
	claims := map[string]any{"htm": "POST", "htu": w.url + path, "iat": w.clock.now().Unix(), "jti": unique(), "nonce": w.challenge()}
	return w.jws(i.key, map[string]any{"typ": "dpop+jwt", "alg": "ES256", "jwk": publicJWK(i.key)}, change(claims, pairs...))
}

// shows is how an instance shows itself to an endpoint: header and value pairs.
type shows func(i *instance, path string) []string

func byProof(i *instance, _ string) []string {
	return []string{attestation.HeaderAttestation, i.vouched(), attestation.HeaderProof, i.proof()}
}

func byDPoP(i *instance, path string) []string {
	return []string{attestation.HeaderAttestation, i.vouched(), "DPoP", i.dpop(path)}
}

// pushed pushes the question of the app.
func (i *instance) pushed(show shows, pairs ...string) page {
	return i.a.w.browser().post(i.a.w.url+"/par", question(append([]string{"client_id", "app"}, pairs...)...), show(i, "/par")...)
}

// code walks to a code for the instance.
func (i *instance) code(show shows, pairs ...string) string {
	i.a.w.t.Helper()
	p := i.pushed(show, pairs...)
	uri, ok := i.a.w.object(p)["request_uri"].(string)
	if !ok {
		i.a.w.t.Fatalf("pushed: %d %s", p.StatusCode, p.body)
	}
	return i.a.w.code("mother", url.Values{"client_id": {"app"}, "request_uri": {uri}})
}

func (i *instance) redeem(code string, show shows) page {
	form := redemption(code)
	form.Set("client_id", "app")
	return i.a.w.browser().post(i.a.w.url+"/token", form, show(i, "/token")...)
}

func (i *instance) refresh(token any, show shows) page {
	form := url.Values{"grant_type": {"refresh_token"}, "client_id": {"app"}, "refresh_token": {fmt.Sprint(token)}}
	return i.a.w.browser().post(i.a.w.url+"/token", form, show(i, "/token")...)
}

// TestAttested: an instance that somebody vouches for gets a code, a token and its refreshes, with either proof; its key binds them.
func TestAttested(t *testing.T) {
	for name, show := range map[string]shows{"attest_jwt_client_auth": byProof, "attest_jwt_client_auth_dpop": byDPoP} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			i := w.attesters().instance()
			p := i.redeem(i.code(show), show)
			m := w.object(p)
			if p.StatusCode != http.StatusOK || m["scope"] != "unlock view" || m["token_type"] != "PoP" || m["refresh_token"] == nil {
				t.Fatalf("%d %s", p.StatusCode, p.body)
			}
			if next := p.Header.Get(attestation.HeaderChallenge); len(next) != 48 {
				t.Errorf("the next challenge: %q", next)
			}
			for range 2 { // it is bound to the key and stays what it is
				if p := i.refresh(m["refresh_token"], show); p.StatusCode != http.StatusOK || w.object(p)["refresh_token"] != nil {
					t.Errorf("refresh: %d %s", p.StatusCode, p.body)
				}
			}
			all := w.audit()
			if got := all[len(all)-1]; got.Event != "token" || got.Result != "granted" || !strings.Contains(got.Reason, `attested by "acme": service, app "example.door", key hardware, os verified`) {
				t.Errorf("on record: %+v", got)
			}
			other := i.a.instance()
			w.wantError("refresh with another instance's key", other.refresh(m["refresh_token"], show), 400, "invalid_grant")
			w.wantError("refresh without an attestation", i.refresh(m["refresh_token"], func(*instance, string) []string { return nil }), 401, "invalid_client")
			if p := i.refresh(m["refresh_token"], show); p.StatusCode != http.StatusOK {
				t.Errorf("it is still good for its own: %d %s", p.StatusCode, p.body)
			}
		})
	}
}

// TestCodeOfAnotherInstance: a code that somebody else caught is worth nothing to another instance, and is not burnt.
func TestCodeOfAnotherInstance(t *testing.T) {
	w := newWorld(t)
	i := w.attesters().instance()
	code := i.code(byProof)
	w.wantError("another instance", i.a.instance().redeem(code, byProof), 400, "invalid_grant")
	w.wantError("a DPoP proof of another key beside", i.redeem(code, func(i *instance, path string) []string {
		return append(byProof(i, path), "DPoP", i.a.instance().dpop(path, "nonce", nil))
	}), 400, "invalid_dpop_proof")
	if p := i.redeem(code, byProof); p.StatusCode != http.StatusOK {
		t.Errorf("its own: %d %s", p.StatusCode, p.body)
	}
	// By the browser alone no instance shows itself.
	b := w.browser()
	if got := w.back(b.ask(question("client_id", "app"))).Get("error"); got != "invalid_request" {
		t.Errorf("not pushed: %q", got)
	}
}

// refusedAttestations are the negative list of the draft and of the OpenID suite's client_attestation modules.
var refusedAttestations = []struct {
	name   string
	show   shows
	status int
	code   string
}{
	{"nothing", func(*instance, string) []string { return nil }, 401, "invalid_client"},
	{"an attestation without a proof", func(i *instance, _ string) []string { return []string{attestation.HeaderAttestation, i.vouched()} }, 400, "invalid_client_attestation"},
	{"a proof without an attestation", func(i *instance, _ string) []string { return []string{attestation.HeaderProof, i.proof()} }, 400, "invalid_request"},
	{"two attestations", func(i *instance, p string) []string {
		return append(byProof(i, p), attestation.HeaderAttestation, i.vouched())
	}, 400, "invalid_request"},
	{"two proofs", func(i *instance, p string) []string {
		return append(byProof(i, p), attestation.HeaderProof, i.proof())
	}, 400, "invalid_request"},
	{"two in one header", attested(func(i *instance) string { return i.vouched() + "," + i.vouched() }), 401, "invalid_client"},
	{"beside a secret", func(i *instance, p string) []string {
		return append(byProof(i, p), "Authorization", basic("app", "secret"))
	}, 400, "invalid_request"},

	{"garbage", attested(func(*instance) string { return "garbage" }), 401, "invalid_client"},
	{"longer than 8 KiB", attested(func(i *instance) string { return i.vouched("pad", strings.Repeat("a", 8<<10)) }), 401, "invalid_client"},
	{"typ of a proof", attested(head("typ", "oauth-client-attestation-pop+jwt")), 401, "invalid_client"},
	{"typ of an access token", attested(head("typ", "at+jwt")), 401, "invalid_client"},
	{"no typ", attested(head("typ", nil)), 401, "invalid_client"},
	{"alg none", attested(func(i *instance) string { return unsigned(i.vouchedBy(i.a.key, map[string]any{"alg": "none"})) }), 401, "invalid_client"},
	{"HS256 with the public key as secret", attested(head("alg", "HS256")), 401, "invalid_client"},
	{"ES384 in the header", attested(head("alg", "ES384")), 401, "invalid_client"},
	{"a critical parameter", attested(head("crit", []string{"x"})), 401, "invalid_client"},
	{"a key in the header", attested(func(i *instance) string {
		k := i.a.w.newKey()
		return i.vouchedBy(k, map[string]any{"jwk": publicJWK(k)})
	}), 401, "invalid_client"},
	{"a certificate chain in the header", attested(func(i *instance) string {
		return i.vouchedBy(i.a.w.newKey(), map[string]any{"x5c": []string{"AA=="}, "kid": "unknown"})
	}), 401, "invalid_client"},
	{"of a key that nobody published", attested(head("kid", "k2")), 401, "invalid_client"},
	{"signed by another key", attested(func(i *instance) string { return i.vouchedBy(i.a.w.newKey(), nil) }), 401, "invalid_client"},
	{"an attester of somebody else's apps", attested(func(i *instance) string {
		return i.vouchedBy(i.a.key, map[string]any{"kid": "o1"}, "iss", "https://other.example")
	}), 401, "invalid_client"},
	{"of an attester that is unknown", attested(says("iss", "https://nobody.example")), 401, "invalid_client"},
	{"without iss", attested(says("iss", nil)), 401, "invalid_client"},
	{"without sub", attested(says("sub", nil)), 401, "invalid_client"},
	{"of another client", attested(says("sub", "phone")), 401, "invalid_client"},
	{"without exp", attested(says("exp", nil)), 401, "invalid_client"},
	{"expired a second ago", attested(when("exp", -1)), 400, "use_fresh_attestation"},
	{"good for more than an hour", attested(when("exp", 3700)), 401, "invalid_client"},
	{"issued in the future", attested(when("iat", 60)), 401, "invalid_client"},
	{"not yet", attested(when("nbf", 60)), 401, "invalid_client"},
	{"without cnf", attested(says("cnf", nil)), 401, "invalid_client"},
	{"a private key in cnf", attested(func(i *instance) string {
		jwk := change(publicJWK(i.key), "d", base64.RawURLEncoding.EncodeToString(make([]byte, 32)))
		return i.vouched("cnf", map[string]any{"jwk": jwk})
	}), 401, "invalid_client"},
	{"a shared secret in cnf", attested(says("cnf", map[string]any{"jwk": map[string]any{"kty": "oct", "k": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}})), 401, "invalid_client"},
	{"a thumbprint in cnf", attested(says("cnf", map[string]any{"jkt": base64.RawURLEncoding.EncodeToString(make([]byte, 32))})), 401, "invalid_client"},
	{"of another app", attested(says("latchkey_verdict", verdict("app", "example.clone"))), 400, "invalid_client_attestation"},
	{"with a verdict of a strange kind", attested(says("latchkey_verdict", verdict("key", "paper"))), 400, "invalid_client_attestation"},

	{"proof: garbage", proven(func(*instance) string { return "garbage" }), 400, "invalid_client_attestation"},
	{"proof: typ of an attestation", proven(proofHead("typ", "oauth-client-attestation+jwt")), 400, "invalid_client_attestation"},
	{"proof: typ of DPoP", proven(proofHead("typ", "dpop+jwt")), 400, "invalid_client_attestation"},
	{"proof: HS256", proven(proofHead("alg", "HS256")), 400, "invalid_client_attestation"},
	{"proof: alg none", proven(func(i *instance) string { return unsigned(i.proof()) }), 400, "invalid_client_attestation"},
	{"proof: of another key", proven(func(i *instance) string { return i.a.instance().proof() }), 400, "invalid_client_attestation"},
	{"proof: for the token endpoint", proven(proves("aud", "/token")), 400, "invalid_client_attestation"},
	{"proof: aud with a slash", proven(proves("aud", "/")), 400, "invalid_client_attestation"},
	{"proof: aud in capitals", proven(func(i *instance) string { return i.proof("aud", strings.ToUpper(i.a.w.url)) }), 400, "invalid_client_attestation"},
	{"proof: two audiences", proven(func(i *instance) string { return i.proof("aud", []string{i.a.w.url, "https://rs.example"}) }), 400, "invalid_client_attestation"},
	{"proof: no aud", proven(func(i *instance) string { return i.proof("aud", nil) }), 400, "invalid_client_attestation"},
	{"proof: no jti", proven(func(i *instance) string { return i.proof("jti", nil) }), 400, "invalid_client_attestation"},
	{"proof: a short jti", proven(func(i *instance) string { return i.proof("jti", "1234567") }), 400, "invalid_client_attestation"},
	{"proof: no iat", proven(func(i *instance) string { return i.proof("iat", nil) }), 400, "invalid_client_attestation"},
	{"proof: a stale iat", proven(proofWhen(-61)), 400, "invalid_client_attestation"},
	{"proof: iat in the future", proven(proofWhen(11)), 400, "invalid_client_attestation"},
	{"proof: no challenge", proven(func(i *instance) string { return i.proof("challenge", nil) }), 400, "use_attestation_challenge"},
	{"proof: a foreign challenge", proven(func(i *instance) string {
		return i.proof("challenge", base64.RawURLEncoding.EncodeToString(make([]byte, 36)))
	}), 400, "use_attestation_challenge"},
	{"proof: a challenge under the old name", proven(func(i *instance) string { return i.proof("challenge", nil, "nonce", i.a.w.challenge()) }), 400, "use_attestation_challenge"},
	{"proof: longer than 8 KiB", proven(func(i *instance) string { return i.proof("pad", strings.Repeat("a", 8<<10)) }), 400, "invalid_client_attestation"},

	{"DPoP: of another key", combined(func(i *instance, path string) string { return i.a.instance().dpop(path) }), 400, "invalid_client_attestation"},
	{"DPoP: no challenge", combined(func(i *instance, path string) string { return i.dpop(path, "nonce", nil) }), 400, "use_attestation_challenge"},
	{"DPoP: a foreign challenge", combined(func(i *instance, path string) string { return i.dpop(path, "nonce", "foreign") }), 400, "use_attestation_challenge"},
	{"DPoP: for another endpoint", combined(func(i *instance, path string) string { return i.dpop("/other") }), 400, "invalid_dpop_proof"},
}

// attested shows this attestation, with a good proof.
func attested(token func(*instance) string) shows {
	return func(i *instance, _ string) []string {
		return []string{attestation.HeaderAttestation, token(i), attestation.HeaderProof, i.proof()}
	}
}

func proven(proof func(*instance) string) shows {
	return func(i *instance, _ string) []string {
		return []string{attestation.HeaderAttestation, i.vouched(), attestation.HeaderProof, proof(i)}
	}
}

func combined(proof func(*instance, string) string) shows {
	return func(i *instance, path string) []string {
		return []string{attestation.HeaderAttestation, i.vouched(), "DPoP", proof(i, path)}
	}
}

func head(name string, value any) func(*instance) string {
	return func(i *instance) string { return i.vouchedBy(i.a.key, map[string]any{name: value}) }
}

func says(pairs ...any) func(*instance) string {
	return func(i *instance) string { return i.vouched(pairs...) }
}

func when(claim string, seconds int64) func(*instance) string {
	return func(i *instance) string { return i.vouched(claim, i.a.w.clock.now().Unix()+seconds) }
}

func proves(claim, suffix string) func(*instance) string {
	return func(i *instance) string { return i.proof(claim, i.a.w.url+suffix) }
}

func proofWhen(seconds int64) func(*instance) string {
	return func(i *instance) string { return i.proof("iat", i.a.w.clock.now().Unix()+seconds) }
}

func proofHead(name string, value any) func(*instance) string {
	return func(i *instance) string {
		w := i.a.w
		header := change(map[string]any{"typ": "oauth-client-attestation-pop+jwt", "alg": "ES256"}, name, value)
		return w.jws(i.key, header, map[string]any{"aud": w.url, "jti": unique(), "iat": w.clock.now().Unix(), "challenge": w.challenge()})
	}
}

func unsigned(token string) string { return token[:strings.LastIndexByte(token, '.')+1] }

// TestRefusedAttestations: each is refused at every endpoint where the client shows itself and for every grant; nothing is minted,
// and what it came with stays good for the genuine instance.
func TestRefusedAttestations(t *testing.T) {
	for _, tt := range refusedAttestations {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			i := w.attesters().instance()
			code := i.code(byProof)
			device := i.askedDevice()
			before := w.tokens()
			for name, form := range grantForms(code, device) {
				w.wantError(name, w.browser().post(w.url+"/token", form, tt.show(i, "/token")...), tt.status, tt.code)
			}
			w.wantError("PAR", i.pushed(tt.show), tt.status, tt.code)
			for path, form := range map[string]url.Values{
				"/device_authorization": {"client_id": {"app"}, "audience": {"door-1"}}, "/revoke": {"client_id": {"app"}, "token": {"t"}},
				"/introspect": {"client_id": {"app"}, "token": {"t"}},
			} {
				w.wantError(path, w.browser().post(w.url+path, form, tt.show(i, path)...), tt.status, tt.code)
			}
			if w.tokens() != before {
				t.Error("a token was minted")
			}
			if p := i.redeem(code, byProof); p.StatusCode != http.StatusOK {
				t.Errorf("the genuine instance: %d %s", p.StatusCode, p.body)
			}
		})
	}
}

// askedDevice is a device code that was answered with yes.
func (i *instance) askedDevice() string {
	w := i.a.w
	p := w.browser().post(w.url+"/device_authorization", url.Values{"client_id": {"app"}, "audience": {"door-1"}}, byProof(i, "")...)
	m := w.object(p)
	code, _ := m["device_code"].(string)
	if p.StatusCode != http.StatusOK || code == "" {
		w.t.Fatalf("device authorization: %d %s", p.StatusCode, p.body)
	}
	return code
}

// grantForms are a request of every grant there is.
func grantForms(code, device string) map[string]url.Values {
	byCode := redemption(code)
	byCode.Set("client_id", "app")
	return map[string]url.Values{
		"authorization_code": byCode,
		"client_credentials": {"grant_type": {"client_credentials"}, "client_id": {"app"}, "audience": {"door-1"}},
		"refresh_token":      {"grant_type": {"refresh_token"}, "client_id": {"app"}, "refresh_token": {"any"}},
		"device_code":        {"grant_type": {authz.DeviceCodeGrant}, "client_id": {"app"}, "device_code": {device}},
	}
}

// TestReplayedProof: a proof, a challenge and a DPoP proof count once each, also 50 at a time.
func TestReplayedProof(t *testing.T) {
	w := newWorld(t)
	i := w.attesters().instance()
	own := grantForms("", "")["client_credentials"]
	post := func(headers []string) page { return w.browser().post(w.url+"/token", own, headers...) }
	for name, show := range map[string]shows{"proof": byProof, "DPoP": byDPoP} {
		same := show(i, "/token")
		var good atomic.Int32
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if post(same).StatusCode == http.StatusOK {
					good.Add(1)
				}
			})
		}
		all.Wait()
		if good.Load() != 1 {
			t.Errorf("%s: %d of 50 at a time, want 1", name, good.Load())
		}
	}
	used := w.challenge()
	with := func(pairs ...any) []string {
		return []string{attestation.HeaderAttestation, i.vouched(), attestation.HeaderProof, i.proof(pairs...)}
	}
	if p := post(with("challenge", used)); p.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", p.StatusCode, p.body)
	}
	p := post(with("challenge", used))
	w.wantError("a challenge that was used", p, 400, "use_attestation_challenge")
	if p.Header.Get(attestation.HeaderChallenge) == "" {
		t.Error("without another one")
	}
	w.wantError("a challenge that was used, of another instance", w.browser().post(w.url+"/token", own, func() []string {
		o := i.a.instance()
		return []string{attestation.HeaderAttestation, o.vouched(), attestation.HeaderProof, o.proof("challenge", used)}
	}()...), 400, "use_attestation_challenge")
	jti := unique()
	if p := post(with("jti", jti)); p.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", p.StatusCode, p.body)
	}
	w.wantError("a jti that was used, with a fresh challenge", post(with("jti", jti)), 401, "invalid_client")
	old := w.challenge()
	w.clock.move(6 * time.Minute)
	w.wantError("an old challenge", post(with("challenge", old)), 400, "use_attestation_challenge")
}

// TestAttesterKeys: an attester that is away closes the door with an error that says to come back; a key that it took away counts no
// more, and one that it published does.
func TestAttesterKeys(t *testing.T) {
	w := newWorld(t)
	a := w.attesters()
	i := a.instance()
	own := grantForms("", "")["client_credentials"]
	ask := func() page { return w.browser().post(w.url+"/token", own, byProof(i, "")...) }
	a.keys.Store(nil)
	p := ask()
	w.wantError("away", p, 503, "temporarily_unavailable")
	if p.Header.Get("Retry-After") == "" || w.tokens() != 0 {
		t.Errorf("away: Retry-After %q, %d tokens", p.Header.Get("Retry-After"), w.tokens())
	}
	old, next := a.key, w.newKey()
	a.publish(map[string]*ecdsa.PrivateKey{"k1": old, "k2": next})
	if p := ask(); p.StatusCode != http.StatusOK {
		t.Errorf("back: %d %s", p.StatusCode, p.body)
	}
	a.key, a.kid = next, "k2"
	if p := ask(); p.StatusCode != http.StatusOK {
		t.Errorf("the next key: %d %s", p.StatusCode, p.body)
	}
	a.key, a.kid = old, "k1"
	kept := i.vouched()
	again := func() page {
		return w.browser().post(w.url+"/token", own, attestation.HeaderAttestation, kept, attestation.HeaderProof, i.proof())
	}
	for range 2 {
		if p := again(); p.StatusCode != http.StatusOK {
			t.Errorf("an attestation of the old key: %d %s", p.StatusCode, p.body)
		}
	}
	a.publish(map[string]*ecdsa.PrivateKey{"k2": next, "k1": w.newKey()})
	w.wantError("the same one, when another key has its name", again(), 401, "invalid_client")
	a.publish(map[string]*ecdsa.PrivateKey{"k2": next})
	w.wantError("the same one, when its key was taken away", again(), 401, "invalid_client")
	w.wantError("a new one of that key", ask(), 401, "invalid_client")
	a.publish(map[string]*ecdsa.PrivateKey{"k1": old})
	if p := again(); p.StatusCode != http.StatusOK {
		t.Errorf("back again: %d %s", p.StatusCode, p.body)
	}
	a.keys.Store(nil)
	w.wantError("the same one, while the attester is away", again(), 503, "temporarily_unavailable")
	a.publish(map[string]*ecdsa.PrivateKey{"k1": old})
	w.clock.move(5 * time.Minute)
	w.wantError("the same one, at its end", again(), 400, "use_fresh_attestation")
}

// TestDemands: a degraded phone may look, only a key in hardware opens, and what is stale is told so; the app learns why.
func TestDemands(t *testing.T) {
	w := newWorld(t)
	w.device(2, func(d *authz.Device) {
		d.Demands = map[string]attest.Demand{"unlock": {Key: attest.KeyHardware, System: attest.SystemVerified, MaxAge: 2 * time.Minute}}
	})
	a := w.attesters()
	_, err := w.server.Give(t.Context(), authz.Grant{Owner: "alice", To: authz.Subject{User: "mother"}, Device: deviceID(2), Rights: aif.New(view, unlock)})
	w.must(err)
	i := a.instance()
	as := func(pairs ...any) shows {
		return proofOf(func(i *instance) string {
			return i.vouched("latchkey_verdict", verdict(append([]any{"at", w.clock.now().Format(time.RFC3339)}, pairs...)...))
		})
	}
	good, degraded, software := as("key", "strongbox"), as("key", "hardware", "os", "degraded"), as()
	m := w.object(i.redeem(i.code(good, "audience", "door-2"), good))
	if m["scope"] != "unlock view" {
		t.Fatalf("a good phone: %v", m)
	}
	// What was agreed to stays; the phone is judged anew each time.
	token := m["refresh_token"]
	for name, tt := range map[string]struct {
		show shows
		says string
	}{
		"a changed system":  {degraded, "a phone with an unchanged system"},
		"a key in software": {software, "a phone that keeps the app's key in hardware"},
	} {
		p := i.refresh(token, tt.show)
		w.wantError(name, p, 400, "invalid_scope")
		if why, _ := w.object(p)["error_description"].(string); !strings.Contains(why, tt.says) {
			t.Errorf("%s: the app is told %q", name, why)
		}
		all := w.audit()
		if got := all[len(all)-1]; !strings.Contains(got.Reason, tt.says) || !strings.Contains(got.Reason, `attested by "acme"`) {
			t.Errorf("%s: on record is %q", name, got.Reason)
		}
		p = w.browser().post(w.url+"/token", url.Values{"grant_type": {"refresh_token"}, "client_id": {"app"}, "refresh_token": {fmt.Sprint(token)}, "scope": {"view"}}, tt.show(i, "/token")...)
		if p.StatusCode != http.StatusOK || w.object(p)["scope"] != "view" {
			t.Errorf("%s may look: %d %s", name, p.StatusCode, p.body)
		}
	}
	w.wantError("a finding of three minutes ago", i.refresh(token, as("key", "hardware", "at", w.clock.now().Add(-3*time.Minute).Format(time.RFC3339))), 400, "use_fresh_attestation")
	// Where everything was asked for, a degraded phone is asked about what it may have.
	if m := w.object(i.redeem(i.code(degraded, "audience", "door-2"), degraded)); m["scope"] != "view" {
		t.Errorf("a degraded phone gets %v", m)
	}
	// A person may think for longer than a finding is fresh; the app shows a fresh one when it redeems the code.
	uri := w.object(i.pushed(good, "audience", "door-2"))["request_uri"].(string)
	b := w.browser()
	asked := b.signIn("mother", url.Values{"client_id": {"app"}, "request_uri": {uri}})
	w.clock.move(3 * time.Minute)
	if m := w.object(i.redeem(w.back(b.fill(asked, "answer", "yes")).Get("code"), good)); m["scope"] != "unlock view" {
		t.Errorf("after a while: %v", m)
	}
	// An app that nobody vouches for gets no more.
	if m := w.object(w.browser().post(w.url+"/token", redemption(w.code("mother", question("audience", "door-2"))))); m["scope"] != "view" {
		t.Errorf("an app that nobody vouches for gets %v", m)
	}
	if got := w.back(w.browser().signIn("mother", question("audience", "door-2", "scope", "unlock"))); got.Get("error") != "invalid_scope" || !strings.Contains(got.Get("error_description"), "vouches") {
		t.Errorf("asked for it by name: %v", got)
	}
}

func proofOf(token func(*instance) string) shows {
	return func(i *instance, _ string) []string {
		return []string{attestation.HeaderAttestation, token(i), attestation.HeaderProof, i.proof()}
	}
}

// TestAttestationMetadata: what is offered is listed, and nothing where nobody may vouch.
func TestAttestationMetadata(t *testing.T) {
	w := newWorld(t)
	w.serve(w.store)
	names := []string{"challenge_endpoint", "client_attestation_signing_alg_values_supported", "client_attestation_pop_signing_alg_values_supported", "client_attestation_pop_methods_supported"}
	get := func() map[string]any {
		return w.object(w.browser().get(w.url + "/.well-known/oauth-authorization-server"))
	}
	for _, name := range names {
		if got := get()[name]; got != nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	if p := w.browser().post(w.url+"/attestation-challenge", nil); p.StatusCode != http.StatusNotFound {
		t.Errorf("a challenge: %d", p.StatusCode)
	}
	w.attesters()
	m := get()
	for _, name := range names {
		if m[name] == nil {
			t.Errorf("%s is not there", name)
		}
	}
	if m["challenge_endpoint"] != w.url+"/attestation-challenge" || !strings.Contains(fmt.Sprint(m["token_endpoint_auth_methods_supported"]), "attest_jwt_client_auth attest_jwt_client_auth_dpop") {
		t.Errorf("%v", m)
	}
	if strings.Contains(fmt.Sprint(m["client_attestation_signing_alg_values_supported"]), "HS256") {
		t.Error("HS256 without a shared secret")
	}
}

// TestPersonIsToldOfTheApp: the page says whether the copy of the app that asks is genuine, in words for people.
func TestPersonIsToldOfTheApp(t *testing.T) {
	w := newWorld(t)
	i := w.attesters().instance()
	_, hash, err := authz.Secret(rand.Reader)
	w.must(err)
	w.client(authz.Client{
		ID: "shop", AuthMethod: authz.AuthSecretBasic, SecretHash: hash, RedirectURIs: []string{redirect},
		GrantTypes: []string{authz.AuthorizationCode}, ClientMadeKeys: true,
	})
	const genuine, changed, nobody = "it is the real one", "its phone was changed", "could not check that this app"
	as := func(pairs ...any) url.Values {
		show := proofOf(func(i *instance) string { return i.vouched("latchkey_verdict", verdict(pairs...)) })
		uri, _ := w.object(i.pushed(show))["request_uri"].(string)
		return url.Values{"client_id": {"app"}, "request_uri": {uri}}
	}
	for name, tt := range map[string]struct {
		ask  url.Values
		want string
	}{
		"genuine":                            {as("key", "hardware"), genuine},
		"on a changed phone":                 {as("os", "degraded"), changed},
		"of an attester that proves nothing": {as("kind", "development"), nobody},
		"for which nobody vouches":           {question(), nobody},
		"a server with a secret":             {question("client_id", "shop"), ""},
	} {
		page := w.browser().signIn("mother", tt.ask).body
		if !strings.Contains(page, "Yes, allow") {
			t.Fatalf("%s: no question: %s", name, page)
		}
		for _, says := range []string{genuine, changed, nobody} {
			if strings.Contains(page, says) != (says == tt.want) {
				t.Errorf("%s: want %q, the page says %s", name, tt.want, page)
			}
		}
	}
}
