package httpapi_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/httpapi/origin"
	"github.com/latchkey-ace/latchkey/authz/throttle"
	"github.com/latchkey-ace/latchkey/pop/aif"
)

const (
	jsonType = "application/json"

	// exampleClient is RFC 7591 §3.1, adapted.
	exampleClient = `{"redirect_uris":["https://client.example.org/callback","https://client.example.org/callback2"],
		"client_name":"My Example Client","client_name#ja-Jpan-JP":"\u30AF\u30E9\u30A4","token_endpoint_auth_method":"client_secret_basic",
		"logo_uri":"https://client.example.org/logo.png","example_extension_parameter":"example_value"}`
	serviceClient = `{"grant_types":["client_credentials"],"client_name":"Service"}`
)

// open is a world where who was invited may register.
func open(t *testing.T) *world {
	w := newWorld(t)
	w.options.Invited = true
	w.serve(w.store)
	return w
}

func (w *world) invite(change func(*authz.RegistrationToken)) string {
	w.t.Helper()
	t := authz.RegistrationToken{Note: "test", Allowed: authz.Allowed{
		GrantTypes:  []string{authz.AuthorizationCode, authz.RefreshToken, authz.ClientCredentials},
		AuthMethods: []authz.AuthMethod{authz.AuthNone, authz.AuthSecretBasic, authz.AuthSecretPost, authz.AuthPrivateKey},
	}}
	if change != nil {
		change(&t)
	}
	value, err := w.server.Invite(w.t.Context(), &t)
	w.must(err)
	return value
}

func (w *world) register(token, body string, headers ...string) page {
	w.t.Helper()
	return w.browser().do("POST", w.url+"/register", body, append([]string{"Content-Type", jsonType, "Authorization", "Bearer " + token}, headers...)...)
}

// enlist registers a client and returns what it is told.
func (w *world) enlist(body string) map[string]any {
	w.t.Helper()
	p := w.register(w.invite(nil), body)
	if p.StatusCode != http.StatusCreated {
		w.t.Fatalf("status %d: %s", p.StatusCode, p.body)
	}
	return w.object(p)
}

func (w *world) clients() int {
	w.t.Helper()
	all, err := w.store.Clients(w.t.Context())
	w.must(err)
	return len(all)
}

// newest is the last entry of the audit log, without its time.
func (w *world) newest() authz.AuditEntry {
	w.t.Helper()
	all := w.audit()
	e := all[len(all)-1]
	e.At = time.Time{}
	return e
}

// TestClosedUnlessOpened: nothing is served or listed, invitation or not.
func TestClosedUnlessOpened(t *testing.T) {
	w := newWorld(t)
	nowhere := w.browser().do("POST", w.url+"/nowhere", exampleClient)
	for _, p := range []page{w.register(w.invite(nil), exampleClient), w.browser().get(w.url + "/register/gateway")} {
		if p.StatusCode != http.StatusNotFound || p.body != nowhere.body {
			t.Errorf("status %d: %s", p.StatusCode, p.body)
		}
	}
	if m := w.object(w.browser().get(w.url + "/.well-known/oauth-authorization-server")); m["registration_endpoint"] != nil {
		t.Errorf("listed: %v", m["registration_endpoint"])
	}
	w.options.Invited = true
	w.serve(w.store)
	if m := w.object(w.browser().get(w.url + "/.well-known/oauth-authorization-server")); m["registration_endpoint"] != w.url+"/register" {
		t.Errorf("not listed: %v", m["registration_endpoint"])
	}
}

// TestRegister: RFC 7591 §3.2.1, and the client works.
func TestRegister(t *testing.T) {
	w := open(t)
	p := w.register(w.invite(nil), exampleClient)
	if p.StatusCode != http.StatusCreated || p.Header.Get("Cache-Control") != "no-store" || p.Header.Get("Content-Type") != jsonType {
		t.Fatalf("status %d, %v: %s", p.StatusCode, p.Header, p.body)
	}
	told := w.object(p)
	id, _ := told["client_id"].(string)
	secret, _ := told["client_secret"].(string)
	token, _ := told["registration_access_token"].(string)
	if len(id) < 22 || len(secret) < 43 || len(token) < 43 || told["registration_client_uri"] != w.url+"/register/"+id {
		t.Errorf("got %v", told)
	}
	for name, want := range map[string]any{
		"client_id_issued_at": float64(w.clock.now().Unix()), "client_secret_expires_at": 0.0, "client_name": "My Example Client",
		"grant_types": []any{"authorization_code"}, "response_types": []any{"code"}, "token_endpoint_auth_method": "client_secret_basic",
		"redirect_uris": []any{"https://client.example.org/callback", "https://client.example.org/callback2"},
	} {
		if fmt.Sprint(told[name]) != fmt.Sprint(want) {
			t.Errorf("%s: got %v, want %v", name, told[name], want)
		}
	}
	c, err := w.store.Client(t.Context(), id)
	if err != nil || string(c.SecretHash) != string(authz.HashSecret(secret)) || string(c.Management) != string(authz.HashSecret(token)) {
		t.Errorf("kept %+v, %v", c, err)
	}
	if e := w.newest(); e.Event != "client.register" || e.Result != "granted" || e.Client != id || !strings.HasPrefix(e.Reason, "invitation ") {
		t.Errorf("on record %+v", e)
	}
	for _, e := range w.audit() {
		if text := fmt.Sprint(e); strings.Contains(text, secret) || strings.Contains(text, token) {
			t.Errorf("a secret is on record: %s", text)
		}
	}
}

// TestRegisteredClientsWork: with its own credential and no other, and only at what it was given.
func TestRegisteredClientsWork(t *testing.T) {
	w := open(t)
	told := w.enlist(serviceClient)
	id, secret := told["client_id"].(string), told["client_secret"].(string)
	form := url.Values{"grant_type": {"client_credentials"}, "audience": {"door-1"}}
	if p := w.browser().post(w.url+"/token", form, "Authorization", basic(id, secret)); p.StatusCode != http.StatusBadRequest {
		t.Errorf("without a grant: status %d: %s", p.StatusCode, p.body)
	}
	_, err := w.server.Give(t.Context(), authz.Grant{Owner: "alice", To: authz.Subject{Client: id}, Device: deviceID(1), Rights: aif.New(unlock)})
	w.must(err)
	if p := w.browser().post(w.url+"/token", form, "Authorization", basic(id, secret)); p.StatusCode != http.StatusOK {
		t.Errorf("status %d: %s", p.StatusCode, p.body)
	}
	if p := w.browser().post(w.url+"/token", form, "Authorization", basic(id, told["registration_access_token"].(string))); p.StatusCode != http.StatusUnauthorized {
		t.Errorf("with its registration token: status %d", p.StatusCode)
	}

	// A public app goes through the code flow.
	w.give("mother", unlock)
	app := w.enlist(`{"redirect_uris":["` + redirect + `"],"token_endpoint_auth_method":"none","client_name":"Phone"}`)
	if app["client_secret"] != nil || app["client_secret_expires_at"] != nil {
		t.Errorf("a public client has a secret: %v", app)
	}
	id = app["client_id"].(string)
	b := w.browser()
	consent := b.signIn("mother", question("client_id", id))
	if !strings.Contains(consent.body, "Phone ("+id+")") {
		t.Errorf("the page does not say who asks: %s", consent.body)
	}
	form = redemption(w.back(b.fill(consent, "answer", "yes")).Get("code"))
	form.Set("client_id", id)
	if p := b.post(w.url+"/token", form); p.StatusCode != http.StatusOK {
		t.Errorf("status %d: %s", p.StatusCode, p.body)
	}
}

// TestUninvited: RFC 7591 §3.2.2 and RFC 6750 §3.1: one answer, whatever is wrong with the token.
func TestUninvited(t *testing.T) {
	w := open(t)
	used, expiring, ended := w.invite(nil), w.invite(nil), w.invite(nil)
	if p := w.register(used, exampleClient); p.StatusCode != http.StatusCreated {
		t.Fatalf("status %d: %s", p.StatusCode, p.body)
	}
	all, err := w.server.Invitations(t.Context())
	w.must(err)
	for _, i := range all {
		if string(i.Hash) == string(authz.HashSecret(ended)) {
			w.must(w.server.EndInvitation(t.Context(), i.ID()))
		}
	}
	if p := w.register(expiring, `{}`); p.StatusCode != http.StatusBadRequest {
		t.Fatalf("before its end: status %d: %s", p.StatusCode, p.body)
	}
	w.clock.move(authz.InviteLife)
	before := w.clients()
	told := w.object(w.register(w.invite(nil), exampleClient))
	wrong := map[string][]string{
		"used up": {"Bearer " + used}, "expired": {"Bearer " + expiring}, "taken back": {"Bearer " + ended},
		"made up": {"Bearer " + strings.Repeat("A", 43)}, "cut off": {"Bearer " + w.invite(nil)[:42]}, "with more": {"Bearer " + w.invite(nil) + "A"},
		"another kind": {"Bearer " + told["registration_access_token"].(string)}, "a client's secret": {"Bearer " + told["client_secret"].(string)},
		"none": nil, "empty": {"Bearer "}, "Basic": {basic("gateway", w.secret)}, "two": {"Bearer " + w.invite(nil), "Bearer " + w.invite(nil)},
	}
	for name, values := range wrong {
		headers := []string{"Content-Type", jsonType}
		for _, v := range values {
			headers = append(headers, "Authorization", v)
		}
		p := w.browser().do("POST", w.url+"/register", exampleClient, headers...)
		if p.StatusCode != http.StatusUnauthorized || w.object(p)["error"] != "invalid_token" || !strings.HasPrefix(p.Header.Get("WWW-Authenticate"), "Bearer ") || p.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: status %d, %v: %s", name, p.StatusCode, p.Header, p.body)
		}
	}
	if got := w.clients(); got != before+1 {
		t.Errorf("%d clients, want %d", got, before+1)
	}
	if p := w.browser().do("POST", w.url+"/register?access_token="+w.invite(nil), exampleClient, "Content-Type", jsonType); p.StatusCode != http.StatusBadRequest {
		t.Errorf("a token in the address: status %d: %s", p.StatusCode, p.body)
	}
}

// TestRefusedRegistrations: what is refused uses no invitation up.
func TestRefusedRegistrations(t *testing.T) {
	w := open(t)
	token := w.invite(func(t *authz.RegistrationToken) { t.Allowed.AuthMethods = append(t.Allowed.AuthMethods, authz.AuthTLS) })
	before := w.clients()
	for name, tt := range map[string]struct {
		body, contentType string
		status            int
		code              string
	}{
		"a fragment":            {`{"redirect_uris":["https://a.example/#"]}`, jsonType, 400, "invalid_redirect_uri"},
		"no address":            {`{}`, jsonType, 400, "invalid_redirect_uri"},
		"implicit":              {`{"grant_types":["implicit"]}`, jsonType, 400, "invalid_client_metadata"},
		"not allowed":           {`{"grant_types":["urn:ietf:params:oauth:grant-type:device_code"]}`, jsonType, 400, "invalid_client_metadata"},
		"nobody issues these":   {`{"grant_types":["client_credentials"],"token_endpoint_auth_method":"tls_client_auth","tls_client_auth_san_dns":"a.example"}`, jsonType, 400, "invalid_client_metadata"},
		"a software statement":  {`{"software_statement":"eyJ"}`, jsonType, 400, "unapproved_software_statement"},
		"keys from elsewhere":   {`{"jwks_uri":"https://a.example/"}`, jsonType, 400, "invalid_client_metadata"},
		"a member twice":        {`{"client_name":"a","client_name":"b"}`, jsonType, 400, "invalid_client_metadata"},
		"nothing":               {``, jsonType, 400, "invalid_client_metadata"},
		"a form":                {`client_name=a`, formType, 415, "invalid_request"},
		"no media type":         {exampleClient, "", 415, "invalid_request"},
		"more than anybody has": {`{"client_name":"` + strings.Repeat("a", 20_000) + `"}`, jsonType, 413, "invalid_request"},
	} {
		p := w.browser().do("POST", w.url+"/register", tt.body, "Authorization", "bearer "+token, "Content-Type", tt.contentType)
		if p.StatusCode != tt.status || w.object(p)["error"] != tt.code || p.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: status %d: %s", name, p.StatusCode, p.body)
		}
		if want := (authz.AuditEntry{Event: "client.register", Result: "refused", Reason: tt.code}); tt.code != "invalid_request" && w.newest() != want {
			t.Errorf("%s: on record %+v", name, w.newest())
		}
	}
	if got := w.clients(); got != before {
		t.Errorf("%d clients, want %d", got, before)
	}
	if p := w.register(token, exampleClient); p.StatusCode != http.StatusCreated {
		t.Errorf("the invitation is used up: status %d: %s", p.StatusCode, p.body)
	}
}

// TestInvitationInParallel: of many requests with one invitation as many pass as it has uses.
func TestInvitationInParallel(t *testing.T) {
	w := open(t)
	token := w.invite(func(t *authz.RegistrationToken) { t.Uses = 2 })
	before := w.clients()
	var made, refused atomic.Int64
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			switch p := w.register(token, serviceClient); p.StatusCode {
			case http.StatusCreated:
				made.Add(1)
			case http.StatusUnauthorized:
				refused.Add(1)
			default:
				t.Errorf("status %d: %s", p.StatusCode, p.body)
			}
		})
	}
	all.Wait()
	if made.Load() != 2 || refused.Load() != 30 || w.clients() != before+2 {
		t.Errorf("%d made, %d refused, %d clients", made.Load(), refused.Load(), w.clients())
	}
}

// TestGuessedRegistrationTokens: who guesses waits, who knows does not.
func TestGuessedRegistrationTokens(t *testing.T) {
	w := newWorld(t)
	w.options.Invited = true
	w.limits = map[throttle.Kind]throttle.Rule{throttle.Credential: {Free: 1, First: time.Minute, Max: time.Hour}}
	w.trust = origin.Trust{Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	w.serve(w.store)
	from := []string{"X-Forwarded-For", "192.0.2.7"}
	for n, want := range []int{401, 401, 429} {
		if p := w.register(fmt.Sprint("guess ", n), serviceClient, from...); p.StatusCode != want {
			t.Errorf("guess %d: %d, want %d", n, p.StatusCode, want)
		}
	}
	p := w.register(w.invite(nil), serviceClient, from...)
	if p.StatusCode != http.StatusCreated {
		t.Fatalf("who was invited: %d %s", p.StatusCode, p.body)
	}
	told := w.object(p)
	guess := map[string]any{"registration_access_token": "guess", "registration_client_uri": told["registration_client_uri"]}
	var got []int
	for range 3 {
		got = append(got, w.manage("GET", guess, "", from...).StatusCode)
	}
	if !slices.Equal(got, []int{401, 401, 429}) {
		t.Errorf("guesses at a client: %v", got)
	}
	if p := w.manage("GET", told, "", from...); p.StatusCode != http.StatusOK {
		t.Errorf("the client itself: %d", p.StatusCode)
	}
}

// TestPagesThatCostHaveARhythm: of what is read, registrations and the page that asks are no free documents, also below a path.
func TestPagesThatCostHaveARhythm(t *testing.T) {
	for _, path := range []string{"/register/c_1", "/authorize"} {
		w := newWorld(t)
		w.options.Invited, w.issuerPath = true, "/tenant/one"
		w.limits = map[throttle.Kind]throttle.Rule{throttle.Source: {Burst: 1, Every: 10 * time.Second}}
		w.trust = origin.Trust{Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
		w.serve(w.store)
		ask := func() page { return w.browser().do("GET", w.url+path, "", "X-Forwarded-For", "192.0.2.7") }
		if p := ask(); p.StatusCode == http.StatusTooManyRequests || p.StatusCode == http.StatusNotFound {
			t.Errorf("%s: %d", path, p.StatusCode)
		}
		wantSlowed(t, path, ask(), "10")
	}
}

// TestRegistrationBelowAPath: addresses that are told lead here where the issuer has a path.
func TestRegistrationBelowAPath(t *testing.T) {
	w := newWorld(t)
	w.options.Invited, w.issuerPath = true, "/tenant/one"
	w.serve(w.store)
	told := w.enlist(serviceClient)
	if p := w.manage("DELETE", told, ""); p.StatusCode != http.StatusNoContent || !strings.HasPrefix(told["registration_client_uri"].(string), w.url+"/register/") {
		t.Errorf("status %d at %v", p.StatusCode, told["registration_client_uri"])
	}
}
