package httpapi_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
)

// checklist is what the public suites ask of an authorization server, after their modules: those of the OpenID Foundation's
// FAPI2-SP-FINAL plan, and OAuch's. Modules that other tests have already are named in docs/conformance.md.
var checklist = map[string]func(t *testing.T, w *world, secret string){
	"FAPI2/HappyFlow": func(t *testing.T, w *world, secret string) {
		p := w.spend(w.code("mother", w.asked()), secret)
		if p.StatusCode != http.StatusOK || w.object(p)["access_token"] == nil || w.object(p)["refresh_token"] == nil {
			t.Errorf("%d %s", p.StatusCode, p.body)
		}
	},
	"FAPI2/AttemptReuseAuthorizationCodeAfterOneSecond": func(_ *testing.T, w *world, secret string) {
		code := w.code("mother", w.asked())
		w.spend(code, secret)
		w.clock.move(time.Second)
		w.wantError("again", w.spend(code, secret), http.StatusBadRequest, "invalid_grant")
	},
	"FAPI2/AttemptToUseExpiredAuthCode": func(_ *testing.T, w *world, secret string) {
		code := w.code("mother", w.asked())
		w.clock.move(62 * time.Second)
		w.wantError("62 s old", w.spend(code, secret), http.StatusBadRequest, "invalid_grant")
	},
	"FAPI2/EnsureRequestWithoutStateSucceeds": func(t *testing.T, w *world, _ string) {
		if v := w.answered(w.asked("state", "")); v.Get("code") == "" || v.Has("state") {
			t.Errorf("the app gets %v", v)
		}
	},
	"FAPI2/EnsureAuthorizationRequestWithLongState": func(t *testing.T, w *world, _ string) {
		long := strings.Repeat("state.~-", 48) // 384 letters
		if v := w.answered(w.asked("state", long)); v.Get("state") != long {
			t.Errorf("the app gets %v", v)
		}
	},
	"FAPI2/EnsureAuthorizationRequestWithLongNonce": func(t *testing.T, w *world, _ string) {
		if v := w.answered(w.asked("nonce", strings.Repeat("n", 384))); v.Get("code") == "" { // OpenID Connect's; not known here
			t.Errorf("the app gets %v", v)
		}
	},
	"FAPI2/EnsureOtherScopeOrderSucceeds": func(t *testing.T, w *world, secret string) {
		one, two := w.spend(w.code("mother", w.asked("scope", "view unlock")), secret), w.spend(w.code("mother", w.asked("scope", "unlock view")), secret)
		if a, b := w.object(one)["scope"], w.object(two)["scope"]; one.StatusCode != http.StatusOK || two.StatusCode != http.StatusOK || a != b {
			t.Errorf("scope %v and %v", a, b)
		}
	},
	"FAPI2/EnsureResponseTypeTokenFails":            refusedResponseType("token"),
	"FAPI2/EnsureResponseTypeCodeIdTokenFails":      refusedResponseType("code id_token"),
	"FAPI2/EnsureRegisteredRedirectUri":             refusedRedirect("https://app.example/cb/more"),
	"FAPI2/EnsureRedirectUriInAuthorizationRequest": refusedRedirect(""),
	"FAPI2/EnsureUnsignedAuthorizationRequestWithoutUsingParFails": func(t *testing.T, w *world, _ string) {
		w.client(authz.Client{ID: "pusher", AuthMethod: authz.AuthNone, RedirectURIs: []string{redirect}, GrantTypes: []string{authz.AuthorizationCode}, Settings: authz.ClientSettings{RequirePAR: true}})
		if v := w.back(w.browser().ask(w.asked("client_id", "pusher"))); v.Get("error") != "invalid_request" || v.Has("code") {
			t.Errorf("the app gets %v", v)
		}
	},
	"FAPI2/RequestObjectIsNotUsed": func(t *testing.T, w *world, secret string) { // none is announced; its members count for nothing
		object := base64url(`{"alg":"none"}`) + "." + base64url(`{"redirect_uri":"https://evil.example/","scope":"configure","state":"inside"}`) + "."
		if p := w.browser().ask(url.Values{"client_id": {"tenant"}, "request": {object}}); p.StatusCode != http.StatusBadRequest || p.Header.Get("Location") != "" {
			t.Errorf("alone: status %d to %q", p.StatusCode, p.Header.Get("Location"))
		}
		v := w.answered(w.asked("request", object, "scope", "view", "state", ""))
		if scope := w.object(w.spend(v.Get("code"), secret))["scope"]; v.Has("state") || scope != "view" {
			t.Errorf("the app gets %v and %v", v, scope)
		}
	},
	"FAPI2/ParEnsurePkceCodeVerifierIsRequired": func(_ *testing.T, w *world, secret string) {
		uri, _ := w.object(w.asTenant("/par", w.asked(), secret))["request_uri"].(string)
		code := w.code("mother", url.Values{"client_id": {"tenant"}, "request_uri": {uri}})
		for name, verifier := range map[string]string{"none": "", "another": strings.Repeat("w", 43), "a short one": strings.Repeat("v", 42)} {
			form := w.redeemed(code)
			form.Set("code_verifier", verifier)
			w.wantError(name, w.asTenant("/token", form, secret), http.StatusBadRequest, "invalid_grant")
		}
	},
	"FAPI2/ParAttemptInvalidHttpMethod": func(t *testing.T, w *world, secret string) {
		for _, method := range []string{http.MethodGet, http.MethodPut} {
			p := w.browser().do(method, w.url+"/par", w.asked().Encode(), "Content-Type", formType, "Authorization", basic("tenant", secret))
			if p.StatusCode != http.StatusMethodNotAllowed || p.Header.Get("Allow") != http.MethodPost {
				t.Errorf("%s: status %d, Allow %q", method, p.StatusCode, p.Header.Get("Allow"))
			}
		}
	},
	"FAPI2/RefreshToken": func(t *testing.T, w *world, secret string) {
		token, _ := w.object(w.spend(w.code("mother", w.asked()), secret))["refresh_token"].(string)
		without := w.browser().post(w.url+"/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}, "client_id": {"tenant"}})
		w.wantError("without authentication", without, http.StatusUnauthorized, "invalid_client")
		if p := w.refresh(token, secret); p.StatusCode != http.StatusOK {
			t.Errorf("%d %s", p.StatusCode, p.body)
		}
	},

	"OAuch/AuthEndpoint/CodePollution": refusedRedirect(redirect + "?code=planted"),
	"OAuch/AuthEndpoint/PathMatched":   refusedRedirect("https://app.example/cb/../other"),
	"OAuch/AuthEndpoint/Confusion":     refusedRedirect("https://app.example@evil.example/cb"),
	"OAuch/AuthEndpoint/FragmentFix":   refusedRedirect("https://app.example/cb#"),
	"OAuch/AuthEndpoint/SameParameterTwice": func(t *testing.T, w *world, _ string) {
		q := w.asked()
		q.Add("scope", "unlock")
		q.Add("scope", "view")
		if p := w.browser().ask(q); p.StatusCode == http.StatusOK || strings.Contains(p.Header.Get("Location"), "code=") {
			t.Errorf("status %d to %q", p.StatusCode, p.Header.Get("Location"))
		}
	},
	"OAuch/AuthEndpoint/UnrecognizedParameterAllowed": func(t *testing.T, w *world, _ string) {
		if v := w.answered(w.asked("colour", "green")); v.Get("code") == "" {
			t.Errorf("the app gets %v", v)
		}
	},
	"OAuch/AuthEndpoint/RequireUserConsent": func(t *testing.T, w *world, _ string) {
		b := w.browser()
		w.back(b.fill(b.signIn("mother", w.asked()), "answer", "yes"))
		if p := b.ask(w.asked()); p.StatusCode != http.StatusOK || p.Header.Get("Location") != "" { // who said yes once is asked again
			t.Errorf("status %d to %q", p.StatusCode, p.Header.Get("Location"))
		}
	},
	"OAuch/AuthEndpoint/FrameOptions": func(t *testing.T, w *world, _ string) {
		h := w.browser().ask(w.asked()).Header
		if !strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") || h.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%v", h)
		}
	},
	"OAuch/TokenEndpoint/RefreshTokenValidAfterMultiExchange": func(_ *testing.T, w *world, secret string) {
		code := w.code("mother", w.asked())
		token, _ := w.object(w.spend(code, secret))["refresh_token"].(string)
		w.clock.move(authz.ReplayGrace + time.Second)
		w.spend(code, secret)
		w.wantError("after the replay", w.refresh(token, secret), http.StatusBadRequest, "invalid_grant")
	},
	"OAuch/TokenEndpoint/IsGetSupported": func(t *testing.T, w *world, _ string) {
		if p := w.browser().get(w.url + "/token?" + redemption("x").Encode()); p.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("status %d", p.StatusCode)
		}
	},
	"OAuch/TokenEndpoint/HasCacheControlHeader": func(t *testing.T, w *world, secret string) {
		if p := w.spend(w.code("mother", w.asked()), secret); p.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%v", p.Header)
		}
	},
	"OAuch/Pkce/TokenDowngrade": func(_ *testing.T, w *world, secret string) {
		form := w.redeemed(w.code("mother", w.asked()))
		form.Del("code_verifier")
		w.wantError("no verifier", w.asTenant("/token", form, secret), http.StatusBadRequest, "invalid_grant")
	},
	"OAuch/Revocation/RefreshRevokesAccess": func(t *testing.T, w *world, secret string) {
		got := w.object(w.spend(w.code("mother", w.asked()), secret))
		access, _ := got["access_token"].(string)
		refresh, _ := got["refresh_token"].(string)
		if p := w.asTenant("/revoke", url.Values{"token": {refresh}}, secret); p.StatusCode != http.StatusOK {
			t.Errorf("revoke: %d %s", p.StatusCode, p.body)
		}
		if p := w.asTenant("/introspect", url.Values{"token": {access}}, secret); w.object(p)["active"] != false {
			t.Errorf("the access token: %s", p.body)
		}
		w.wantError("the refresh token", w.refresh(refresh, secret), http.StatusBadRequest, "invalid_grant")
	},
	"OAuch/Tokens/Entropy": func(t *testing.T, w *world, secret string) {
		code := w.code("mother", w.asked())
		refresh, _ := w.object(w.spend(code, secret))["refresh_token"].(string)
		device, _ := w.object(w.asTenant("/device_authorization", url.Values{"client_id": {"tenant"}, "audience": {"door-1"}}, secret))["device_code"].(string)
		for name, value := range map[string]string{"code": code, "refresh token": refresh, "device code": device, "client secret": w.secret} {
			if raw, err := base64.RawURLEncoding.DecodeString(value); err != nil || len(raw) < 32 {
				t.Errorf("%s: %d bytes, %v", name, len(raw), err)
			}
		}
	},
}

func refusedResponseType(name string) func(*testing.T, *world, string) {
	return func(t *testing.T, w *world, _ string) {
		if v := w.back(w.browser().ask(w.asked("response_type", name))); v.Get("error") != "unsupported_response_type" || v.Has("code") {
			t.Errorf("the app gets %v", v)
		}
	}
}

// refusedRedirect wants a page, and no browser sent anywhere.
func refusedRedirect(to string) func(*testing.T, *world, string) {
	return func(t *testing.T, w *world, _ string) {
		if p := w.browser().ask(w.asked("redirect_uri", to)); p.StatusCode != http.StatusBadRequest || p.Header.Get("Location") != "" {
			t.Errorf("status %d to %q", p.StatusCode, p.Header.Get("Location"))
		}
	}
}

// asked is the tenant's question.
func (w *world) asked(change ...string) url.Values {
	return question(append([]string{"client_id", "tenant", "scope", ""}, change...)...)
}

// answered is what the app gets when mother says yes.
func (w *world) answered(q url.Values) url.Values {
	w.t.Helper()
	b := w.browser()
	return w.back(b.fill(b.signIn("mother", q), "answer", "yes"))
}

func (w *world) asTenant(path string, form url.Values, secret string) page {
	w.t.Helper()
	return w.browser().post(w.url+path, form, "Authorization", basic("tenant", secret))
}

func (w *world) redeemed(code string) url.Values {
	form := redemption(code)
	form.Set("client_id", "tenant")
	return form
}

func (w *world) spend(code, secret string) page {
	w.t.Helper()
	return w.asTenant("/token", w.redeemed(code), secret)
}

func (w *world) refresh(token, secret string) page {
	w.t.Helper()
	return w.asTenant("/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}, secret)
}

// TestChecklists runs the modules, each on a server of its own.
func TestChecklists(t *testing.T) {
	for name, module := range checklist {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.give("mother", unlock, view)
			module(t, w, w.tenant(nil))
		})
	}
}
