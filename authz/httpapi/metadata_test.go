package httpapi_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/jose"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// TestMetadata: the document says exactly this, and each value works.
func TestMetadata(t *testing.T) {
	w := newWorld(t)
	keys := w.signers()
	w.serve(w.store)
	w.give("mother", unlock)
	w.give("gateway", view)
	b := w.browser()
	p := b.get(w.url + "/.well-known/oauth-authorization-server")
	if p.StatusCode != 200 || p.Header.Get("Content-Type") != "application/json" || p.Header.Get("Cache-Control") != "public, max-age=300" {
		t.Errorf("status %d, headers %v", p.StatusCode, p.Header)
	}
	m := w.object(p)
	want := map[string]any{
		"issuer": w.url, "authorization_endpoint": w.url + "/authorize", "token_endpoint": w.url + "/token", "jwks_uri": w.url + "/jwks",
		"response_types_supported": []any{"code"}, "response_modes_supported": []any{"query"},
		"pushed_authorization_request_endpoint": w.url + "/par",
		"device_authorization_endpoint":         w.url + "/device_authorization",
		"authorization_details_types_supported": []any{"latchkey_device"},
		"grant_types_supported": []any{
			"authorization_code", "client_credentials", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code",
		},
		"code_challenge_methods_supported":                 []any{"S256"},
		"token_endpoint_auth_methods_supported":            []any{"none", "client_secret_basic", "client_secret_post", "private_key_jwt", "self_signed_tls_client_auth", "tls_client_auth"},
		"token_endpoint_auth_signing_alg_values_supported": []any{"ES256", "ES384", "EdDSA"},
		"dpop_signing_alg_values_supported":                []any{"ES256", "ES384", "EdDSA"},
		"tls_client_certificate_bound_access_tokens":       true,
		"authorization_response_iss_parameter_supported":   true,
		"introspection_endpoint":                           w.url + "/introspect",
		"introspection_endpoint_auth_methods_supported":    []any{"client_secret_basic", "client_secret_post", "private_key_jwt", "self_signed_tls_client_auth", "tls_client_auth"},
		"introspection_signing_alg_values_supported":       []any{"ES256"},
		"revocation_endpoint":                              w.url + "/revoke",
		"revocation_endpoint_auth_methods_supported":       []any{"none", "client_secret_basic", "client_secret_post", "private_key_jwt", "self_signed_tls_client_auth", "tls_client_auth"},
	}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("got  %v\nwant %v", m, want)
	}
	ways := map[string]func() page{
		"none": func() page { return b.post(w.url+"/token", redemption(w.code("mother", question()))) },
		"client_secret_basic": func() page {
			return b.post(w.url+"/token", url.Values{"grant_type": {"client_credentials"}, "audience": {"door-1"}}, "Authorization", basic("gateway", w.secret))
		},
		"client_secret_post": func() page {
			return b.post(w.url+"/token", url.Values{"grant_type": {"client_credentials"}, "audience": {"door-1"}, "client_id": {"gateway"}, "client_secret": {w.secret}})
		},
	}
	own := func(form url.Values, headers ...string) page {
		form.Set("grant_type", "client_credentials")
		form.Set("resource", apiURI)
		return b.post(w.url+"/token", form, headers...)
	}
	ways["private_key_jwt"] = func() page { return own(w.asserted(keys.signer), "DPoP", w.proof(keys.dpop)) }
	ways["self_signed_tls_client_auth"] = func() page { return own(url.Values{"client_id": {"meter"}}, "Client-Cert", inHeader(keys.own)) }
	ways["tls_client_auth"] = func() page { return own(url.Values{"client_id": {"issued"}}, "Client-Cert", inHeader(keys.issued)) }
	for _, method := range m["token_endpoint_auth_methods_supported"].([]any) {
		way, ok := ways[method.(string)]
		if !ok {
			t.Fatalf("%v is advertised, but nobody has tried it", method)
		}
		if p := way(); p.StatusCode != 200 {
			t.Errorf("%v is advertised, but: status %d: %s", method, p.StatusCode, p.body)
		}
	}
}

// TestMetadataIsServed: every address in the document is answered by its endpoint, at the address it says, also when the issuer
// has a path (RFC 8414 §3.1).
func TestMetadataIsServed(t *testing.T) {
	for _, path := range []string{"", "/tenant/one"} {
		w := newWorld(t)
		w.issuerPath = path
		w.serve(w.store)
		b := w.browser()
		m := w.object(b.get(w.base + "/.well-known/oauth-authorization-server" + path))
		if m["issuer"] != w.url || !strings.HasSuffix(w.url, path) {
			t.Errorf("issuer %v, want %s", m["issuer"], w.url)
		}
		listed := 0
		for name, value := range m {
			address, isText := value.(string)
			if !isText || name == "issuer" {
				continue
			}
			listed++
			method := http.MethodPost
			if name == "jwks_uri" || name == "authorization_endpoint" {
				method = http.MethodGet
			}
			if p := b.do(method, address, ""); p.StatusCode == http.StatusNotFound || p.StatusCode == http.StatusMethodNotAllowed || !strings.HasPrefix(address, w.url+"/") {
				t.Errorf("%s %s: status %d", name, address, p.StatusCode)
			}
		}
		if listed != 7 {
			t.Errorf("%d endpoints are listed", listed)
		}
	}
}

// TestCOSEKeySet: who asks for it by name gets the same keys as a COSE_KeySet, to be kept as long.
func TestCOSEKeySet(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	p := b.do(http.MethodGet, w.url+"/jwks", "", "Accept", "application/cose-key-set")
	if p.StatusCode != 200 || p.Header.Get("Content-Type") != "application/cose-key-set" || p.Header.Get("Cache-Control") != "public, max-age=300" || p.Header.Get("Vary") != "Accept" {
		t.Errorf("status %d, headers %v", p.StatusCode, p.Header)
	}
	set, err := cose.ParseKeySet([]byte(p.body))
	w.must(err)
	want := w.server.PublicKeys()
	if len(set) != 2 || len(want) != 2 {
		t.Fatalf("%d keys, want %d", len(set), len(want))
	}
	for _, k := range set {
		if k.IsPrivate() || !k.Public().Equal(want[string(k.ID())]) {
			t.Errorf("key %s", k.ID())
		}
	}
}

// TestRoutes: each address takes its methods, and what is not built is not there.
func TestRoutes(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	takes := map[string][]string{
		"/authorize": {"GET", "HEAD", "POST"}, "/token": {"POST"}, "/introspect": {"POST"}, "/revoke": {"POST"}, "/par": {"POST"},
		"/device_authorization": {"POST"}, "/device": {"GET", "HEAD", "POST"}, "/login": {"POST"}, "/jwks": {"GET", "HEAD"},
		"/.well-known/oauth-authorization-server": {"GET", "HEAD"}, "/": {"GET", "HEAD"},
	}
	for path, methods := range takes {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"} {
			p := b.do(method, w.url+path, "")
			taken := strings.Contains(strings.Join(methods, " ")+" ", method+" ")
			if refused := p.StatusCode == http.StatusMethodNotAllowed; refused == taken {
				t.Errorf("%s %s: status %d", method, path, p.StatusCode)
			}
			if origin := p.Header.Get("Access-Control-Allow-Origin"); origin != "" {
				t.Errorf("%s %s: open to scripts of %s", method, path, origin)
			}
		}
	}
	for _, path := range []string{
		"/register", "/userinfo", "/attestation-challenge", "/.well-known/openid-configuration",
		"/.well-known/jwks.json", "/api/v1", "/metrics", "/healthz", "/debug/pprof/", "/console", "/token/", "/authorize/", "/pages/signin.html", "/..%2f..%2fetc/passwd",
	} {
		for _, method := range []string{"GET", "POST"} {
			if p := b.do(method, w.url+path, ""); p.StatusCode != http.StatusNotFound {
				t.Errorf("%s %s: status %d", method, path, p.StatusCode)
			}
		}
	}
	if p := b.get(w.url + "/"); p.StatusCode != 200 || !strings.Contains(p.body, "nothing to do") {
		t.Errorf("the front page: %d %s", p.StatusCode, p.body)
	}
}

// TestKeysVerifyTokens: a JWT that this server signs verifies with what /jwks says, and only with that.
func TestKeysVerifyTokens(t *testing.T) {
	w := newWorld(t)
	public := w.deviceForJWT(2)
	_, err := w.server.Give(t.Context(), authz.Grant{Owner: "alice", To: authz.Subject{Client: "gateway"}, Device: deviceID(2), Rights: public})
	w.must(err)
	b := w.browser()
	p := b.get(w.url + "/jwks")
	if p.StatusCode != 200 || p.Header.Get("Cache-Control") != "public, max-age=300" {
		t.Errorf("status %d, headers %v", p.StatusCode, p.Header)
	}
	keys := parseKeys(t, p.body)
	out := w.object(b.post(w.url+"/token", url.Values{"grant_type": {"client_credentials"}, "audience": {"door-2"}}, "Authorization", basic("gateway", w.secret)))
	token, _ := out["access_token"].(string)
	claims, err := jose.Open(token, func(kid string) (*ecdsa.PublicKey, error) {
		if key, ok := keys[kid]; ok {
			return key, nil
		}
		return nil, errors.New("unknown key")
	})
	if err != nil || claims.Issuer != w.url || claims.Audience != provision.Audience(deviceID(2)) || claims.ClientID != "gateway" {
		t.Errorf("got %+v, %v", claims, err)
	}
	if strings.Contains(p.body, `"d"`) {
		t.Error("the set shows a private key")
	}
}

// parseKeys reads a JWK Set as a stranger would.
func parseKeys(t *testing.T, body string) map[string]*ecdsa.PublicKey {
	t.Helper()
	var set struct {
		Keys []map[string]string `json:"keys"`
	}
	if err := json.Unmarshal([]byte(body), &set); err != nil || len(set.Keys) != 2 {
		t.Fatalf("key set %s: %v", body, err)
	}
	keys := map[string]*ecdsa.PublicKey{}
	for _, k := range set.Keys {
		if k["kty"] != "EC" || k["crv"] != "P-256" || k["alg"] != "ES256" || k["use"] != "sig" || len(k) != 7 {
			t.Errorf("key %v", k)
		}
		x, err1 := base64.RawURLEncoding.DecodeString(k["x"])
		y, err2 := base64.RawURLEncoding.DecodeString(k["y"])
		if err1 != nil || err2 != nil || len(x) != 32 || len(y) != 32 {
			t.Fatalf("key %v", k)
		}
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...))
		if err != nil {
			t.Fatal(err)
		}
		keys[k["kid"]] = key
	}
	return keys
}

// TestHalfClosedConnection: who stops sending, but listens on, gets the answer; the refusal is on record all the same.
func TestHalfClosedConnection(t *testing.T) {
	w := newWorld(t)
	for i := range 20 {
		before := len(w.audit())
		status, err := halfClosed(t, w.url, redemption("guess").Encode())
		w.must(err)
		if status == http.StatusInternalServerError {
			continue // it was noticed before anything was decided
		}
		deadline := time.Now().Add(5 * time.Second)
		for len(w.audit()) == before && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
		if len(w.audit()) == before {
			t.Fatalf("try %d was answered %d, but is not on record", i, status)
		}
	}
}

func halfClosed(t *testing.T, address, body string) (int, error) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", formType, len(body), body)
	if err != nil {
		return 0, err
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return 0, err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}

// TestOversizedHeaders: the server that serves this has bounds on what comes before the body.
func TestOversizedHeaders(t *testing.T) {
	w := newWorld(t)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/jwks", nil)
	w.must(err)
	r.Header.Set("X-Long", strings.Repeat("x", 64<<10))
	response, err := http.DefaultClient.Do(r)
	if err == nil {
		w.must(response.Body.Close())
	}
	if err == nil && response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", response.StatusCode)
	}
}
