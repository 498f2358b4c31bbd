package httpapi_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/aif"
)

// manage asks for or changes a registration.
func (w *world) manage(method string, told map[string]any, body string, headers ...string) page {
	w.t.Helper()
	headers = append([]string{"Authorization", "Bearer " + told["registration_access_token"].(string), "Content-Type", jsonType}, headers...)
	return w.browser().do(method, told["registration_client_uri"].(string), body, headers...)
}

// TestManageRegistration: RFC 7592 §2: a client reads, replaces and ends its registration.
func TestManageRegistration(t *testing.T) {
	w := open(t)
	told := w.enlist(serviceClient)
	id, secret := told["client_id"].(string), told["client_secret"].(string)
	p := w.manage("GET", told, "")
	shown := w.object(p)
	if p.StatusCode != http.StatusOK || shown["client_secret"] != nil || shown["registration_access_token"] != told["registration_access_token"] ||
		shown["registration_client_uri"] != told["registration_client_uri"] || shown["client_name"] != "Service" || p.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("status %d: %s", p.StatusCode, p.body)
	}

	p = w.manage("PUT", told, `{"client_id":"`+id+`","client_secret":"`+secret+`","redirect_uris":["https://a.example/cb"],"grant_types":["authorization_code","client_credentials"]}`)
	changed := w.object(p)
	if p.StatusCode != http.StatusOK || changed["client_name"] != nil || fmt.Sprint(changed["redirect_uris"]) != "[https://a.example/cb]" || changed["client_secret"] != nil {
		t.Errorf("status %d: %s", p.StatusCode, p.body)
	}
	if e := w.newest(); e.Event != "client.update" || e.Result != "granted" || e.Client != id {
		t.Errorf("on record %+v", e)
	}
	_, err := w.server.Give(t.Context(), authz.Grant{Owner: "alice", To: authz.Subject{Client: id}, Device: deviceID(1), Rights: aif.New(unlock)})
	w.must(err)
	form := url.Values{"grant_type": {"client_credentials"}, "audience": {"door-1"}}
	if p := w.browser().post(w.url+"/token", form, "Authorization", basic(id, secret)); p.StatusCode != http.StatusOK || w.tokens() != 1 {
		t.Fatalf("after a change its secret is as before: status %d: %s", p.StatusCode, p.body)
	}

	p = w.manage("DELETE", told, "")
	if p.StatusCode != http.StatusNoContent || p.body != "" || p.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("status %d: %s", p.StatusCode, p.body)
	}
	if got := w.tokens(); got != 0 {
		t.Errorf("%d tokens are left", got)
	}
	if grants, err := w.store.Grants(t.Context(), "alice"); err != nil || len(grants) != 1 || grants[0].RevokedAt.IsZero() {
		t.Errorf("grants %+v, %v", grants, err)
	}
	events := ""
	for _, e := range w.audit() {
		if e.Client == id {
			events += e.Event + " "
		}
	}
	if events != "client.register client.update grant.add token client.end client.unregister client.end " {
		t.Errorf("on record %s", events)
	}
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		if p := w.manage(method, told, serviceClient); p.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s afterwards: status %d", method, p.StatusCode)
		}
	}
	if p := w.browser().post(w.url+"/token", form, "Authorization", basic(id, secret)); p.StatusCode != http.StatusUnauthorized {
		t.Errorf("a token afterwards: status %d", p.StatusCode)
	}
}

// interrupted is a store in which something happens just before a client is forgotten.
type interrupted struct {
	authz.Store
	meanwhile func()
}

func (s interrupted) UnregisterClient(ctx context.Context, id string, management []byte, audit authz.AuditEntry) error {
	s.meanwhile()
	return s.Store.UnregisterClient(ctx, id, management, audit)
}

// TestNothingOutlivesARegistration: also not what was minted while it went.
func TestNothingOutlivesARegistration(t *testing.T) {
	w := newWorld(t)
	w.options.Invited = true
	var mint func()
	w.serve(interrupted{w.store, func() { mint() }})
	told := w.enlist(serviceClient)
	id, secret := told["client_id"].(string), told["client_secret"].(string)
	_, err := w.server.Give(t.Context(), authz.Grant{Owner: "alice", To: authz.Subject{Client: id}, Device: deviceID(1), Rights: aif.New(unlock)})
	w.must(err)
	mint = func() {
		form := url.Values{"grant_type": {"client_credentials"}, "audience": {"door-1"}}
		if p := w.browser().post(w.url+"/token", form, "Authorization", basic(id, secret)); p.StatusCode != http.StatusOK || w.tokens() != 1 {
			t.Errorf("meanwhile: status %d: %s", p.StatusCode, p.body)
		}
	}
	if p := w.manage("DELETE", told, ""); p.StatusCode != http.StatusNoContent || w.tokens() != 0 {
		t.Errorf("status %d, %d tokens: %s", p.StatusCode, w.tokens(), p.body)
	}
}

// TestSecretsComeAndGo: a client that changes to a secret gets one, and one that changes away has none.
func TestSecretsComeAndGo(t *testing.T) {
	w := open(t)
	told := w.enlist(`{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"none"}`)
	id := told["client_id"].(string)
	update := func(method string) map[string]any {
		p := w.manage("PUT", told, `{"client_id":"`+id+`","redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"`+method+`"}`)
		if p.StatusCode != http.StatusOK {
			t.Fatalf("%s: status %d: %s", method, p.StatusCode, p.body)
		}
		return w.object(p)
	}
	first := update("client_secret_post")
	if s, _ := first["client_secret"].(string); len(s) < 43 || first["client_secret_expires_at"] != 0.0 {
		t.Errorf("got %v", first)
	}
	if again := update("client_secret_basic"); again["client_secret"] != nil {
		t.Errorf("another secret for the same: %v", again)
	}
	update("none")
	c, err := w.store.Client(t.Context(), id)
	if err != nil || c.SecretHash != nil {
		t.Errorf("it still has a secret, %v", err)
	}
}

// TestRefusedManagement: unknown clients, wrong tokens, those of others, of suspended and of the operator's clients are one answer.
func TestRefusedManagement(t *testing.T) {
	w := open(t)
	told, other, stopped := w.enlist(serviceClient), w.enlist(serviceClient), w.enlist(serviceClient)
	w.must(w.store.SuspendClient(t.Context(), stopped["client_id"].(string), w.clock.now()))
	with := func(told map[string]any, change ...string) map[string]any {
		out := map[string]any{"registration_access_token": told["registration_access_token"], "registration_client_uri": told["registration_client_uri"]}
		for i := 0; i < len(change); i += 2 {
			out[change[i]] = change[i+1]
		}
		return out
	}
	foreign := other["registration_access_token"].(string)
	bodies := map[string]bool{}
	for name, asked := range map[string]map[string]any{
		"wrong token":      with(told, "registration_access_token", strings.Repeat("A", 43)),
		"another's token":  with(told, "registration_access_token", foreign),
		"its secret":       with(told, "registration_access_token", told["client_secret"].(string)),
		"unknown client":   with(told, "registration_client_uri", w.url+"/register/c_unknown"),
		"operator's":       with(told, "registration_client_uri", w.url+"/register/gateway"),
		"suspended":        stopped,
		"cut off":          with(told, "registration_access_token", told["registration_access_token"].(string)[:42]),
		"invitation":       with(told, "registration_access_token", w.invite(nil)),
		"a name that long": with(told, "registration_client_uri", w.url+"/register/"+strings.Repeat("a", 4000)),
	} {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			p := w.manage(method, asked, serviceClient)
			bodies[p.body] = true
			if p.StatusCode != http.StatusUnauthorized || w.object(p)["error"] != "invalid_token" {
				t.Errorf("%s %s: status %d: %s", method, name, p.StatusCode, p.body)
			}
		}
	}
	if len(bodies) != 1 {
		t.Errorf("%d different answers: %v", len(bodies), bodies)
	}
	id := told["client_id"].(string)
	for name, body := range map[string]string{
		"another client_id":          `{"client_id":"` + other["client_id"].(string) + `","grant_types":["client_credentials"]}`,
		"no client_id":               serviceClient,
		"another's secret":           `{"client_id":"` + id + `","client_secret":"` + other["client_secret"].(string) + `","grant_types":["client_credentials"]}`,
		"what the server decides":    `{"client_id":"` + id + `","client_id_issued_at":1,"grant_types":["client_credentials"]}`,
		"more than it was allowed":   `{"client_id":"` + id + `","grant_types":["client_credentials","urn:ietf:params:oauth:grant-type:device_code"]}`,
		"what it could not register": `{"client_id":"` + id + `","grant_types":["implicit"]}`,
	} {
		if p := w.manage("PUT", told, body); p.StatusCode != http.StatusBadRequest || w.object(p)["error"] != "invalid_client_metadata" {
			t.Errorf("%s: status %d: %s", name, p.StatusCode, p.body)
		}
	}
	if shown := w.object(w.manage("GET", told, "")); fmt.Sprint(shown["grant_types"]) != "[client_credentials]" || shown["client_name"] != "Service" {
		t.Errorf("it was changed: %v", shown)
	}
	if p := w.manage("GET", with(told, "registration_client_uri", told["registration_client_uri"].(string)+"?x=1"), ""); p.StatusCode != http.StatusBadRequest {
		t.Errorf("something in the address: status %d", p.StatusCode)
	}
}
