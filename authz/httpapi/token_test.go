package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-ace/latchkey/authz"
)

// TestTokenInEveryForm: form and JSON in, credentials in each allowed place, JSON out.
func TestTokenInEveryForm(t *testing.T) {
	w := newWorld(t)
	w.give("gateway", view, unlock)
	b, own := w.browser(), url.Values{"grant_type": {"client_credentials"}, "audience": {"door-1"}, "scope": {"unlock"}}
	inBody := url.Values{"client_id": {"gateway"}, "client_secret": {w.secret}}
	for k, v := range own {
		inBody[k] = v
	}
	asJSON := `{"grant_type":"client_credentials","audience":"door-1","scope":"unlock"}`
	auth := []string{"Authorization", basic("gateway", w.secret)}
	tests := []struct {
		name, kind, body string
		headers          []string
	}{
		{"a form, Basic", formType, own.Encode(), auth},
		{"a form, credentials inside", formType, inBody.Encode(), nil},
		{"a form with a charset", formType + "; charset=UTF-8", own.Encode(), auth},
		{"a form in capitals", "Application/X-WWW-Form-URLEncoded", own.Encode(), auth},
		{"a form, Basic and the same id inside", formType, own.Encode() + "&client_id=gateway", auth},
		{"a form with parameters we do not know", formType, own.Encode() + "&favourite=blue", auth},
		{"JSON, Basic", "application/json", asJSON, auth},
		{"ACE JSON, Basic", "application/ace+json", asJSON, auth},
		{"JSON, credentials inside", "application/json", asJSON[:len(asJSON)-1] + `,"client_id":"gateway","client_secret":"` + w.secret + `"}`, nil},
		{"binary scope in JSON", "application/json", `{"grant_type":"client_credentials","audience":"door-1","scope_aif":"gYJsL2Rvb3IvdW5sb2NrAg"}`, auth},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := b.do(http.MethodPost, w.url+"/token", tt.body, append([]string{"Content-Type", tt.kind}, tt.headers...)...)
			m := w.object(p)
			if p.StatusCode != 200 || m["token_type"] != "PoP" || m["ace_profile"] != "coap_oscore" || m["expires_in"] != 3600.0 || m["access_token"] == "" {
				t.Errorf("status %d: %s", p.StatusCode, p.body)
			}
			if want := any("unlock"); tt.name != "binary scope in JSON" && m["scope"] != want {
				t.Errorf("scope %v", m["scope"])
			}
			checkTokenHeaders(t, p)
		})
	}
}

// checkTokenHeaders is RFC 6749 §5.1: no answer of /token is kept by anyone.
func checkTokenHeaders(t *testing.T, p page) {
	t.Helper()
	for name, want := range map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Location": "", "Access-Control-Allow-Origin": ""} {
		if got := p.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// TestTokenCarriesTheACEParameters: a phone's request in both encodings, whole, and what comes back.
func TestTokenCarriesTheACEParameters(t *testing.T) {
	w := newWorld(t)
	w.give("mother", view, unlock)
	b := w.browser()
	form := redemption(w.code("mother", question()))
	form.Set("audience", "door-1")
	form.Set("scope", "/door/unlock:POST view")
	form.Set("req_cnf", `{"jwk":{"kty":"oct","k":"MDEyMzQ1Njc4OWFiY2RlZg"}}`)
	form.Set("ace_profile", "")
	form.Set("cnonce", "AQI")
	form.Set("token_upload", "1")
	form.Set("to_rs", "UKIYKEhub25jZTEhIRgrQQE")
	members := map[string]any{}
	for k := range form {
		members[k] = form.Get(k)
	}
	members["code"] = w.code("mother", question())
	members["req_cnf"] = json.RawMessage(`{"jwk":{"kty":"oct","k":"MTEyMzQ1Njc4OWFiY2RlZg"}}`)
	members["token_upload"] = 1
	asJSON, err := json.Marshal(members)
	w.must(err)
	for kind, body := range map[string]string{formType: form.Encode(), "application/json": string(asJSON)} {
		p := b.do(http.MethodPost, w.url+"/token", body, "Content-Type", kind)
		m := w.object(p)
		cnf, _ := m["cnf"].(map[string]any)
		osc, _ := cnf["osc"].(map[string]any)
		if p.StatusCode != 200 || m["scope"] != "unlock view" || osc["ms"] == nil || osc["id"] == nil || m["ace_profile"] != "coap_oscore" {
			t.Fatalf("%s: status %d: %s", kind, p.StatusCode, p.body)
		}
		if !strings.HasSuffix(osc["ms"].(string), "EyMzQ1Njc4OWFiY2RlZg") {
			t.Errorf("%s: the key is not the phone's: %v", kind, osc["ms"])
		}
		if _, tried := m["token_upload"]; tried || m["access_token"] == nil {
			t.Errorf("%s: the door is not registered, but an upload was tried: %s", kind, p.body)
		}
	}
}

// badToken is a request to /token that must be refused.
type badToken struct {
	name, method, path, kind, body string
	headers                        []string
	status                         int
	code                           string // of the JSON error; "": no JSON
}

const ownRights = "grant_type=client_credentials&audience=door-1"

// badMessages are not what this endpoint reads.
func badMessages(secret string) []badToken {
	const own, asJSON = ownRights, "application/json"
	auth := []string{"Authorization", basic("gateway", secret)}
	long := strings.Repeat("x", 17<<10)
	return []badToken{
		{name: "GET", method: "GET", status: 405},
		{name: "GET with everything in the address", method: "GET", path: "?" + own + "&client_id=gateway&client_secret=" + secret, status: 405},
		{name: "PUT", method: "PUT", kind: formType, body: own, headers: auth, status: 405},
		{name: "DELETE", method: "DELETE", headers: auth, status: 405},
		{name: "credentials in the address", path: "?client_id=gateway&client_secret=" + secret, kind: formType, body: own, status: 400, code: "invalid_request"},
		{name: "a parameter in the address", path: "?scope=view", kind: formType, body: own, headers: auth, status: 400, code: "invalid_request"},
		{name: "no content type", body: own, headers: auth, status: 415, code: "invalid_request"},
		{name: "text", kind: "text/plain", body: own, headers: auth, status: 415, code: "invalid_request"},
		{name: "multipart", kind: "multipart/form-data; boundary=x", body: own, headers: auth, status: 415, code: "invalid_request"},
		{name: "CBOR", kind: "application/ace+cbor", body: "\xa0", headers: auth, status: 415, code: "invalid_request"},
		{name: "a malformed content type", kind: "application/", body: own, headers: auth, status: 415, code: "invalid_request"},
		{name: "a form that says it is JSON", kind: asJSON, body: own, headers: auth, status: 400, code: "invalid_request"},
		{name: "JSON that says it is a form", kind: formType, body: `{"grant_type":"client_credentials"}`, headers: auth, status: 400, code: "invalid_request"},
		{name: "no body", kind: formType, headers: auth, status: 400, code: "invalid_request"},
		{name: "no grant type", kind: formType, body: "audience=door-1", headers: auth, status: 400, code: "invalid_request"},
		{name: "an oversized form", kind: formType, body: own + "&x=" + long, headers: auth, status: 413, code: "invalid_request"},
		{name: "oversized JSON", kind: asJSON, body: `{"x":"` + long + `"}`, headers: auth, status: 413, code: "invalid_request"},
		{name: "a malformed escape", kind: formType, body: own + "&x=%zz", headers: auth, status: 400, code: "invalid_request"},
		{name: "a semicolon", kind: formType, body: own + ";scope=view", headers: auth, status: 400, code: "invalid_request"},
		{name: "a zero byte", kind: formType, body: own + "&scope=view%00", headers: auth, status: 400},
		{name: "broken UTF-8", kind: formType, body: own + "&audience2=x&scope=%ff", headers: auth, status: 400},
		{name: "a parameter twice", kind: formType, body: own + "&audience=door-1", headers: auth, status: 400, code: "invalid_request"},
		{name: "an unknown parameter twice", kind: formType, body: own + "&x=1&x=2", headers: auth, status: 400, code: "invalid_request"},
		{name: "a client twice", kind: formType, body: own + "&client_id=gateway&client_id=phone", headers: auth, status: 400, code: "invalid_request"},
		{name: "a member twice", kind: asJSON, body: `{"grant_type":"client_credentials","audience":"door-1","audience":"door-1"}`, headers: auth, status: 400, code: "invalid_request"},
		{name: "an array", kind: asJSON, body: `[]`, headers: auth, status: 400, code: "invalid_request"},
		{name: "JSON with more behind it", kind: asJSON, body: `{"grant_type":"client_credentials","audience":"door-1"} {}`, headers: auth, status: 400, code: "invalid_request"},
		{name: "deep JSON", kind: asJSON, body: strings.Repeat(`{"a":`, 1000) + "1" + strings.Repeat("}", 1000), headers: auth, status: 400, code: "invalid_request"},
		{name: "a number as the grant type", kind: asJSON, body: `{"grant_type":2,"audience":"door-1"}`, headers: auth, status: 400, code: "invalid_request"},
	}
}

// badQuestions can be read, but come from the wrong client or ask for the wrong thing.
func badQuestions(secret string) []badToken {
	const own = ownRights
	auth := []string{"Authorization", basic("gateway", secret)}
	return []badToken{
		{name: "an unknown client", kind: formType, body: own + "&client_id=nobody&client_secret=" + secret, status: 401, code: "invalid_client"},
		{name: "no client", kind: formType, body: own, status: 401, code: "invalid_client"},
		{name: "no secret", kind: formType, body: own + "&client_id=gateway", status: 401, code: "invalid_client"},
		{name: "a wrong secret", kind: formType, body: own, headers: []string{"Authorization", basic("gateway", secret+"x")}, status: 401, code: "invalid_client"},
		{name: "an unknown client by Basic", kind: formType, body: own, headers: []string{"Authorization", basic("nobody", secret)}, status: 401, code: "invalid_client"},
		{name: "Basic that is not base64", kind: formType, body: own, headers: []string{"Authorization", "Basic !!"}, status: 401, code: "invalid_client"},
		{name: "Basic with a malformed escape", kind: formType, body: own, headers: []string{"Authorization", basic("gateway", "%zz")}, status: 401, code: "invalid_client"},
		{name: "a bearer token", kind: formType, body: own + "&client_id=gateway&client_secret=" + secret, headers: []string{"Authorization", "Bearer x"}, status: 401, code: "invalid_client"},
		{name: "credentials in two places", kind: formType, body: own + "&client_id=gateway&client_secret=" + secret, headers: auth, status: 400, code: "invalid_request"},
		{name: "two headers", kind: formType, body: own, headers: slices.Concat(auth, auth), status: 400, code: "invalid_request"},
		{name: "another client inside", kind: formType, body: own + "&client_id=phone", headers: auth, status: 400, code: "invalid_request"},

		{name: "a refresh token", kind: formType, body: "grant_type=refresh_token&refresh_token=x", headers: auth, status: 400, code: "unauthorized_client"},
		{name: "a password", kind: formType, body: "grant_type=password&username=alice&password=x", headers: auth, status: 400, code: "unsupported_grant_type"},
		{name: "a device code", kind: formType, body: "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code", headers: auth, status: 400, code: "unauthorized_client"},
		{name: "an invented grant", kind: formType, body: "grant_type=implicit", headers: auth, status: 400, code: "unsupported_grant_type"},
		{name: "a code by a client for itself only", kind: formType, body: redemption("x").Encode() + "&client_id", headers: auth, status: 400, code: "invalid_request"},
		{name: "a public client's own rights", kind: formType, body: own + "&client_id=phone", status: 400, code: "unauthorized_client"},
		{name: "no code", kind: formType, body: redemption("").Encode(), status: 400, code: "invalid_request"},
		{name: "an unknown code", kind: formType, body: redemption("x").Encode(), status: 400, code: "invalid_grant"},
		{name: "no audience", kind: formType, body: "grant_type=client_credentials", headers: auth, status: 400, code: "invalid_request"},
		{name: "an unknown audience", kind: formType, body: "grant_type=client_credentials&audience=barn", headers: auth, status: 400, code: "invalid_request"},
		{name: "an unknown action", kind: formType, body: own + "&scope=fly", headers: auth, status: 400, code: "invalid_scope"},
		{name: "more than was granted", kind: formType, body: own + "&scope=unlock", headers: auth, status: 400, code: "invalid_scope"},
		{name: "a public key", kind: formType, body: own + "&req_cnf=" + url.QueryEscape(`{"jwk":{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}}`), headers: auth, status: 400, code: "unsupported_pop_key"},
		{name: "another profile", kind: formType, body: own + "&ace_profile=coap_dtls", headers: auth, status: 400, code: "incompatible_ace_profiles"},
	}
}

// TestBadTokenRequests: each gets its own clear error, in JSON that nobody keeps, and changes nothing.
func TestBadTokenRequests(t *testing.T) {
	w := newWorld(t)
	w.give("gateway", view)
	b := w.browser()
	for _, tt := range append(badMessages(w.secret), badQuestions(w.secret)...) {
		t.Run(tt.name, func(t *testing.T) {
			headers := tt.headers
			if tt.kind != "" {
				headers = append([]string{"Content-Type", tt.kind}, headers...)
			}
			method := tt.method
			if method == "" {
				method = http.MethodPost
			}
			p := b.do(method, w.url+"/token"+tt.path, tt.body, headers...)
			if p.StatusCode != tt.status || strings.Contains(p.body, w.secret) {
				t.Fatalf("status %d, want %d: %s", p.StatusCode, tt.status, p.body)
			}
			if tt.status == http.StatusMethodNotAllowed {
				if p.Header.Get("Allow") != http.MethodPost {
					t.Errorf("Allow is %q", p.Header.Get("Allow"))
				}
				return
			}
			m := w.object(p)
			if tt.code != "" && m["error"] != tt.code || m["error_description"] == "" || len(m) != 2 {
				t.Errorf("got %s, want %s", p.body, tt.code)
			}
			if challenge := p.Header.Get("WWW-Authenticate"); (challenge != "") != (tt.status == 401) || challenge != "" && !strings.HasPrefix(challenge, "Basic realm=") {
				t.Errorf("WWW-Authenticate is %q", challenge)
			}
			checkTokenHeaders(t, p)
		})
	}
	if n := w.tokens(); n != 0 {
		t.Errorf("%d tokens", n)
	}
	for _, e := range w.audit() {
		if e.Result == "granted" && e.Event != "grant.add" {
			t.Errorf("granted: %+v", e)
		}
	}
	if strings.Contains(w.log.String(), w.secret) {
		t.Error("the secret stands in the log")
	}
}

// TestClientErrorsLookAlike: unknown client, wrong secret and wrong method are one answer, byte for byte.
func TestClientErrorsLookAlike(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	answers := map[string][]string{}
	for _, id := range []string{"gateway", "phone", "nobody"} {
		p := b.post(w.url+"/token", url.Values{"grant_type": {"client_credentials"}, "audience": {"door-1"}}, "Authorization", basic(id, "wrong"))
		key := fmt.Sprint(p.StatusCode, p.body, p.Header.Get("WWW-Authenticate"))
		answers[key] = append(answers[key], id)
	}
	if len(answers) != 1 {
		t.Errorf("they can be told apart: %v", answers)
	}
}

// broken is a store whose disk is gone.
type broken struct{ authz.Store }

var errDisk = errors.New("disk I/O error on /var/lib/secret-place")

func (broken) Client(context.Context, string) (authz.Client, error) {
	return authz.Client{}, errDisk
}

// TestFaultsOfOurOwn leave as a bare server_error or a plain page; what happened goes to the log.
func TestFaultsOfOurOwn(t *testing.T) {
	w := newWorld(t)
	w.serve(broken{w.store})
	b := w.browser()
	p := b.post(w.url+"/token", redemption("x"))
	if p.StatusCode != 500 || p.body != `{"error":"server_error"}` {
		t.Errorf("status %d: %s", p.StatusCode, p.body)
	}
	checkTokenHeaders(t, p)
	page := b.ask(question())
	if page.StatusCode != 500 || strings.Contains(page.body, "disk") || !strings.Contains(page.body, "broken on our side") {
		t.Errorf("status %d: %s", page.StatusCode, page.body)
	}
	if n := strings.Count(w.log.String(), "disk I/O error"); n != 2 {
		t.Errorf("the cause stands %d times in the log", n)
	}
}

// TestCodeOverHTTPBy64: one code, 64 connections, one token.
func TestCodeOverHTTPBy64(t *testing.T) {
	w := newWorld(t)
	w.give("mother", unlock)
	form := redemption(w.code("mother", question()))
	status := make([]int, 64)
	var all sync.WaitGroup
	for i := range status {
		all.Go(func() {
			response, err := http.PostForm(w.url+"/token", form) //nolint:noctx // the test ends with it
			if err != nil {
				t.Error(err)
				return
			}
			status[i] = response.StatusCode
			if err := response.Body.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	got := map[int]int{}
	for _, s := range status {
		got[s]++
	}
	if want := map[int]int{200: 1, 400: 63}; !reflect.DeepEqual(got, want) || w.tokens() != 1 {
		t.Errorf("got %v and %d tokens, want %v", got, w.tokens(), want)
	}
}
