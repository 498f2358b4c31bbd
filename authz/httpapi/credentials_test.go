package httpapi_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/clientauth"
	"github.com/latchkey-ace/latchkey/authz/httpapi/origin"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/jose"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

const apiURI = "https://api.example/v1"

// keys are what clients show that have more than a secret.
type keys struct {
	signer, dpop      *ecdsa.PrivateKey
	own, issued       *x509.Certificate
	ownKey, issuedKey *ecdsa.PrivateKey
}

func (w *world) newKey() *ecdsa.PrivateKey {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.must(err)
	return key
}

// signers adds an HTTP API, and three clients that may use it: "signer" (private_key_jwt), "meter" (self-signed) and "issued"
// (a certificate of a root that is trusted). They count as behind a proxy on loopback. The server must be served again.
func (w *world) signers() *keys {
	w.t.Helper()
	k := &keys{signer: w.newKey(), dpop: w.newKey(), ownKey: w.newKey(), issuedKey: w.newKey()}
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	leaf := func() *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{"meter.example"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	}
	rootKey := w.newKey()
	root = w.certify(root, root, rootKey, rootKey)
	k.own, k.issued = w.certify(leaf(), nil, k.ownKey, k.ownKey), w.certify(leaf(), root, k.issuedKey, rootKey)
	w.options.Roots = x509.NewCertPool()
	w.options.Roots.AddCert(root)
	w.trust = origin.Trust{Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, CertHeader: "Client-Cert"}

	w.device(7, func(d *authz.Device) {
		d.Kind, d.Delivery, d.Resource, d.Profile, d.Shape, d.RootKey, d.SenderID = provision.KindGeneric, authz.DeliveryHTTP, apiURI, 0, provision.ShapeJWT, nil, nil
	})
	public, err := jose.NewKey(k.signer.Public(), "k")
	w.must(err)
	set, err := jose.NewSet(public)
	w.must(err)
	text, err := set.Encode()
	w.must(err)
	chain := fmt.Sprintf(`{"keys":[{"kty":"EC","x5c":[%q]}]}`, base64.StdEncoding.EncodeToString(k.own.Raw))
	for _, c := range []authz.Client{
		{ID: "signer", AuthMethod: authz.AuthPrivateKey, Keys: string(text)},
		{ID: "meter", AuthMethod: authz.AuthSelfSigned, Keys: chain},
		{ID: "issued", AuthMethod: authz.AuthTLS, Settings: authz.ClientSettings{TLSSANDNS: "meter.example"}},
	} {
		c.GrantTypes = []string{authz.ClientCredentials}
		w.client(c)
		for _, n := range []byte{1, 7} {
			_, err := w.server.Give(w.t.Context(), authz.Grant{Owner: "alice", To: authz.Subject{Client: c.ID}, Device: deviceID(n), Rights: aif.New(view)})
			w.must(err)
		}
	}
	return k
}

func (w *world) certify(c, parent *x509.Certificate, key, by *ecdsa.PrivateKey) *x509.Certificate {
	w.t.Helper()
	c.NotBefore, c.NotAfter = w.clock.now().Add(-time.Hour), w.clock.now().Add(24*time.Hour)
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), by)
	w.must(err)
	cert, err := x509.ParseCertificate(der)
	w.must(err)
	return cert
}

// inHeader is a certificate as a proxy writes it (RFC 9440 §2.1).
func inHeader(c *x509.Certificate) string {
	return ":" + base64.StdEncoding.EncodeToString(c.Raw) + ":"
}

// jws signs by hand, so that it can sign anything.
func (w *world) jws(key *ecdsa.PrivateKey, header, claims map[string]any) string {
	w.t.Helper()
	var parts []string
	for _, v := range []any{header, claims} {
		raw, err := json.Marshal(v)
		w.must(err)
		parts = append(parts, base64.RawURLEncoding.EncodeToString(raw))
	}
	input := strings.Join(parts, ".")
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	w.must(err)
	return input + "." + base64.RawURLEncoding.EncodeToString(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

// change replaces pairs, nil removes one.
func change(m map[string]any, pairs ...any) map[string]any {
	m = maps.Clone(m)
	for i := 0; i < len(pairs); i += 2 {
		delete(m, pairs[i].(string))
		if pairs[i+1] != nil {
			m[pairs[i].(string)] = pairs[i+1]
		}
	}
	return m
}

func unique() string {
	return rand.Text()
}

// asserted is a form with a fresh assertion of the signer.
func (w *world) asserted(key *ecdsa.PrivateKey, pairs ...any) url.Values {
	w.t.Helper()
	now := w.clock.now().Unix()
	claims := map[string]any{"iss": "signer", "sub": "signer", "aud": w.url, "iat": now, "exp": now + 60, "jti": unique()}
	return url.Values{
		"client_id": {"signer"}, "client_assertion_type": {clientauth.AssertionType},
		"client_assertion": {w.jws(key, map[string]any{"alg": "ES256", "kid": "k"}, change(claims, pairs...))},
	}
}

// forAPI asks for a client's own token for the API.
func (w *world) forAPI(form url.Values, headers ...string) page {
	w.t.Helper()
	form = maps.Clone(form)
	form.Set("grant_type", "client_credentials")
	if !form.Has("audience") && !form.Has("resource") {
		form.Set("resource", apiURI)
	}
	return w.browser().post(w.url+"/token", form, headers...)
}

// wantError wants an OAuth error.
func (w *world) wantError(name string, p page, status int, code string) {
	w.t.Helper()
	if p.StatusCode != status || w.object(p)["error"] != code {
		w.t.Errorf("%s: %d %s, want %d %s", name, p.StatusCode, p.body, status, code)
	}
}

// TestPrivateKeyJWT: RFC 7523 §2.2 at the token endpoint.
func TestPrivateKeyJWT(t *testing.T) {
	w := newWorld(t)
	k := w.signers()
	w.serve(w.store)
	form := w.asserted(k.signer)
	p := w.forAPI(form, "DPoP", w.proof(k.dpop))
	if m := w.object(p); p.StatusCode != 200 || m["token_type"] != "DPoP" || m["scope"] != "view" {
		t.Fatalf("%d %s", p.StatusCode, p.body)
	}
	w.wantError("RFC 7523 §3 7: the same assertion", w.forAPI(form, "DPoP", w.proof(k.dpop)), 401, "invalid_client")
	form = w.asserted(k.signer)
	form.Del("client_id")
	if p := w.forAPI(form, "DPoP", w.proof(k.dpop)); p.StatusCode != 200 {
		t.Errorf("RFC 7521 §4.2: without client_id: %d %s", p.StatusCode, p.body)
	}
	both := w.asserted(k.signer)
	both.Set("client_secret", "s")
	w.wantError("two credentials", w.forAPI(both), 400, "invalid_request")
	w.wantError("two credentials, one in the header", w.forAPI(w.asserted(k.signer), "Authorization", basic("signer", "")), 400, "invalid_request")
	w.wantError("two headers", w.forAPI(url.Values{}, "Authorization", basic("gateway", w.secret), "Authorization", basic("gateway", w.secret)), 400, "invalid_request")
	w.wantError("FAPI 2.0 §5.3.2.1: the token endpoint as audience", w.forAPI(w.asserted(k.signer, "aud", w.url+"/token")), 401, "invalid_client")
	w.wantError("expired", w.forAPI(w.asserted(k.signer, "exp", w.clock.now().Unix())), 401, "invalid_client")
	w.wantError("a stranger's key", w.forAPI(w.asserted(k.dpop)), 401, "invalid_client")
	w.wantError("a secret for it", w.forAPI(url.Values{"client_id": {"signer"}, "client_secret": {w.secret}}), 401, "invalid_client")
	w.wantError("only its name", w.forAPI(url.Values{"client_id": {"signer"}}), 401, "invalid_client")
	if text := w.log.String(); strings.Contains(text, "eyJ") {
		t.Errorf("an assertion in the log: %s", text)
	}
	for _, e := range w.audit() {
		if strings.Contains(fmt.Sprint(e), "eyJ") {
			t.Errorf("an assertion on record: %+v", e)
		}
	}
	w.asks(k)
	// As JSON it is the same (D12).
	body, err := json.Marshal(map[string]string{
		"grant_type": "client_credentials", "audience": "door-1", "client_assertion_type": clientauth.AssertionType, "client_assertion": w.asserted(k.signer).Get("client_assertion"),
	})
	w.must(err)
	if p := w.browser().do(http.MethodPost, w.url+"/token", string(body), "Content-Type", "application/json"); p.StatusCode != 200 || w.object(p)["token_type"] != "PoP" {
		t.Errorf("as JSON: %d %s", p.StatusCode, p.body)
	}
}

// TestCertificatesOverTLS: RFC 8705 over a real listener, where the server sees the certificate itself.
func TestCertificatesOverTLS(t *testing.T) {
	w := newWorld(t)
	k := w.signers()
	w.trust = origin.Trust{}
	w.serve(w.store)
	s := httptest.NewUnstartedServer(w.handler)
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
	with := func(cert *x509.Certificate, key crypto.PrivateKey) *browser {
		config := s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		if cert != nil {
			config.Certificates = []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}
		}
		return &browser{w, &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}}
	}
	own, issued, none := with(k.own, k.ownKey), with(k.issued, k.issuedKey), with(nil, nil)
	form := func(id string) url.Values {
		return url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "resource": {apiURI}}
	}
	for id, b := range map[string]*browser{"meter": own, "issued": issued} {
		p := b.post(s.URL+"/token", form(id))
		m := w.object(p)
		if p.StatusCode != 200 || m["token_type"] != "Bearer" {
			t.Fatalf("%s: %d %s", id, p.StatusCode, p.body)
		}
		cert := map[string]*x509.Certificate{"meter": k.own, "issued": k.issued}[id]
		print := sha256.Sum256(cert.Raw)
		if got := w.cnf(m["access_token"]); got["x5t#S256"] != base64.RawURLEncoding.EncodeToString(print[:]) || len(got) != 1 {
			t.Errorf("%s: cnf %v", id, got)
		}
	}
	for name, p := range map[string]page{
		"no certificate":                  none.post(s.URL+"/token", form("meter")),
		"no certificate of a root":        none.post(s.URL+"/token", form("issued")),
		"another's certificate":           issued.post(s.URL+"/token", form("meter")),
		"a self-signed for an issued":     own.post(s.URL+"/token", form("issued")),
		"a header that anybody can write": none.post(s.URL+"/token", form("meter"), "Client-Cert", inHeader(k.own)),
	} {
		w.wantError(name, p, 401, "invalid_client")
	}
	// A public client's token is bound to the certificate that it shows (RFC 8705 §4).
	if p := none.post(s.URL+"/token", w.formOf("gateway")); p.StatusCode == 200 {
		t.Errorf("a token bound to nothing: %s", p.body)
	}
	if p := own.post(s.URL+"/token", w.formOf("gateway")); p.StatusCode != 200 {
		t.Errorf("a secret and a certificate: %d %s", p.StatusCode, p.body)
	}
}

func (w *world) formOf(id string) url.Values {
	w.t.Helper()
	if _, err := w.server.Give(w.t.Context(), authz.Grant{Owner: "alice", To: authz.Subject{Client: id}, Device: deviceID(7), Rights: aif.New(view)}); err != nil {
		w.t.Fatal(err)
	}
	return url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {w.secret}, "resource": {apiURI}}
}

// cnf is the claim of a token.
func (w *world) cnf(token any) map[string]any {
	w.t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token.(string), ".")[1])
	w.must(err)
	var claims struct{ Cnf map[string]any }
	w.must(json.Unmarshal(raw, &claims))
	return claims.Cnf
}

// asks uses assertions where nothing is minted: there they are spent at once.
func (w *world) asks(k *keys) {
	w.t.Helper()
	token := w.object(w.forAPI(w.asserted(k.signer), "DPoP", w.proof(k.dpop)))["access_token"].(string)
	form := w.asserted(k.signer)
	form.Set("token", token)
	ask := func(path string) page { return w.browser().post(w.url+path, form) }
	p := ask("/introspect")
	if m := w.object(p); p.StatusCode != 200 || m["active"] != true || m["token_type"] != "DPoP" || m["cnf"] == nil {
		w.t.Errorf("introspection: %d %s", p.StatusCode, p.body)
	}
	w.wantError("introspection with the same assertion", ask("/introspect"), 401, "invalid_client")
	w.wantError("revocation with the same assertion", ask("/revoke"), 401, "invalid_client")
	w.wantError("a token with the same assertion", w.forAPI(form, "DPoP", w.proof(k.dpop)), 401, "invalid_client")
	form = w.asserted(k.signer)
	form.Set("token", token)
	if p := ask("/revoke"); p.StatusCode != 200 {
		w.t.Errorf("revocation: %d %s", p.StatusCode, p.body)
	}
	form = w.asserted(k.signer)
	form.Set("token", token)
	if p := ask("/introspect"); w.object(p)["active"] != false {
		w.t.Errorf("revoked, but: %s", p.body)
	}
}
