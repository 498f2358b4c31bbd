package httpapi_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/client"
)

// asked is a page in somebody's browser.
type asked struct {
	page
	from *browser
}

// atDevice opens a page about another screen and signs in.
func (w *world) atDevice(name, address string) asked {
	w.t.Helper()
	b := w.browser()
	p := b.fill(b.get(address), "user", name, "password", password)
	if p.StatusCode != http.StatusSeeOther {
		w.t.Fatalf("signing in: status %d: %s", p.StatusCode, p.body)
	}
	return asked{b.get(w.url + p.Header.Get("Location")), b}
}

// tenantApp is the tenant on pop/client; waits are passed on to wait, which moves the world's clock.
func (w *world) tenantApp(secret string, push bool, wait func(d time.Duration)) *client.Client {
	w.t.Helper()
	c, err := client.Discover(w.t.Context(), w.url, client.Options{
		ID: "tenant", Secret: secret, Rand: rand.Reader, Now: w.clock.now, Push: push,
		Wait: func(_ context.Context, d time.Duration) error {
			wait(d)
			w.clock.move(d)
			return nil
		},
	})
	w.must(err)
	return c
}

func noWait(time.Duration) {}

// TestClientRefreshes: the app renews its token; the key stays, two callers are one, and a busy server is waited for.
func TestClientRefreshes(t *testing.T) {
	w := newWorld(t)
	w.give("mother", unlock)
	var waits []time.Duration
	app := w.tenantApp(w.tenant(nil), false, func(d time.Duration) { waits = append(waits, d) })
	code, err := app.Headless(t.Context(), forDoor, "mother", password)
	w.must(err)
	var kept saved
	session, err := app.Token(t.Context(), client.Want{Code: &code}, kept.save)
	w.must(err)
	first := session.Saved()
	w.clock.move(time.Minute)
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			if err := session.Refresh(t.Context(), app, false); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	next := session.Saved()
	if string(next.Secret) != string(first.Secret) || string(next.KeyID) != string(first.KeyID) || string(next.Token) == string(first.Token) || next.Refresh == first.Refresh {
		t.Error("not a new token for the same key")
	}
	// The answer is lost: the app goes on from what it had saved, and is held up for a moment only.
	lost := client.Restore(first, kept.save, rand.Reader)
	waits = nil
	w.must(lost.Refresh(t.Context(), app, false))
	if len(waits) > 1 || lost.Saved().Refresh != next.Refresh && len(waits) == 0 {
		t.Errorf("waited %v; the same successor: %v", waits, lost.Saved().Refresh == next.Refresh)
	}
	w.clock.move(time.Hour)
	stolen := client.Restore(first, kept.save, rand.Reader)
	if err := stolen.Refresh(t.Context(), app, false); !errors.Is(err, &ace.Error{Code: ace.InvalidGrant}) && !refusedWith(err, ace.InvalidGrant) {
		t.Errorf("a stolen refresh token: %v", err)
	}
	without := first
	without.Refresh = ""
	if err := client.Restore(without, kept.save, rand.Reader).Refresh(t.Context(), app, false); !errors.Is(err, client.ErrNoRefresh) {
		t.Errorf("got %v", err)
	}
}

func refusedWith(err error, code ace.ErrorCode) bool {
	var wire *ace.Error
	return errors.As(err, &wire) && wire.Code == code
}

// TestClientPushes: with PAR what is asked does not go through the browser, and a client that has to push cannot do without.
func TestClientPushes(t *testing.T) {
	w := newWorld(t)
	w.give("mother", unlock)
	secret := w.tenant(func(c *authz.Client) { c.Settings.RequirePAR = true })
	if _, err := w.tenantApp(secret, false, noWait).Headless(t.Context(), forDoor, "mother", password); !refusedWith(err, ace.InvalidRequest) {
		t.Errorf("without pushing: %v", err)
	}
	app := w.tenantApp(secret, true, noWait)
	code, err := app.Headless(t.Context(), forDoor, "mother", password)
	w.must(err)
	var kept saved
	session, err := app.Token(t.Context(), client.Want{Code: &code}, kept.save)
	w.must(err)
	if session.Saved().Scope != "unlock" {
		t.Errorf("scope %q", session.Saved().Scope)
	}
}

// TestClientLogsInElsewhere: the app polls at the server's pace until the person has answered.
func TestClientLogsInElsewhere(t *testing.T) {
	for answer, want := range map[string]ace.ErrorCode{"yes": 0, "no": ace.AccessDenied} {
		t.Run(answer, func(t *testing.T) {
			w := newWorld(t)
			w.give("mother", unlock)
			polls := 0
			var login client.DeviceLogin
			var err error
			app := w.tenantApp(w.tenant(nil), false, func(d time.Duration) {
				if polls++; d != 5*time.Second {
					t.Errorf("waited %v", d)
				}
				if polls == 3 {
					p := w.atDevice("mother", login.WithCode)
					p.from.fill(p.page, "answer", answer)
				}
			})
			login, err = app.LoginElsewhere(t.Context(), client.Ask{Audience: "door-1"})
			w.must(err)
			var kept saved
			session, err := app.Token(t.Context(), client.Want{Device: &login}, kept.save)
			if want != 0 {
				if !refusedWith(err, want) {
					t.Errorf("got %v", err)
				}
				return
			}
			w.must(err)
			if session.Saved().Scope != "unlock" || polls != 3 {
				t.Errorf("scope %q after %d polls", session.Saved().Scope, polls)
			}
		})
	}
	t.Run("nobody answers", func(t *testing.T) {
		w := newWorld(t)
		app := w.tenantApp(w.tenant(nil), false, noWait)
		login, err := app.LoginElsewhere(t.Context(), client.Ask{Audience: "door-1"})
		w.must(err)
		if _, err := app.Token(t.Context(), client.Want{Device: &login}, (&saved{}).save); !refusedWith(err, ace.ExpiredToken) {
			t.Errorf("got %v", err)
		}
	})
}

// device asks for a device code with the tenant's secret.
func (w *world) deviceCode(secret string) (device, user string) {
	w.t.Helper()
	p := w.browser().post(w.url+"/device_authorization", url.Values{"audience": {"door-1"}}, "Authorization", basic("tenant", secret))
	out := w.object(p)
	device, _ = out["device_code"].(string)
	user, _ = out["user_code"].(string)
	if p.StatusCode != http.StatusOK || device == "" || user == "" {
		w.t.Fatalf("status %d: %s", p.StatusCode, p.body)
	}
	return device, user
}

// TestPolling: the errors of RFC 8628 §3.5, and that one client's code is nothing to another.
func TestPolling(t *testing.T) {
	w := newWorld(t)
	w.give("mother", unlock)
	secret := w.tenant(nil)
	device, user := w.deviceCode(secret)
	poll := func(want string) {
		t.Helper()
		form := url.Values{"grant_type": {authz.DeviceCodeGrant}, "device_code": {device}}
		p := w.browser().post(w.url+"/token", form, "Authorization", basic("tenant", secret))
		if got, _ := w.object(p)["error"].(string); got != want {
			t.Errorf("got %d %q, want %q", p.StatusCode, got, want)
		}
	}
	poll("authorization_pending")
	poll("slow_down") // from now on 10 s
	w.clock.move(9 * time.Second)
	poll("slow_down") // 15 s
	w.clock.move(15 * time.Second)
	poll("authorization_pending")
	w.client(authz.Client{ID: "thief", AuthMethod: authz.AuthNone, GrantTypes: []string{authz.DeviceCodeGrant}})
	p := w.browser().post(w.url+"/token", url.Values{"grant_type": {authz.DeviceCodeGrant}, "device_code": {device}, "client_id": {"thief"}})
	if w.object(p)["error"] != "invalid_grant" {
		t.Errorf("another client: %s", p.body)
	}
	// Typed in small letters and without the hyphen.
	page := w.atDevice("mother", w.url+"/device")
	entered := page.from.fill(page.page, "user_code", strings.ToLower(strings.ReplaceAll(user, "-", "")))
	if !strings.Contains(entered.body, user) {
		t.Fatalf("not the question: %s", entered.body)
	}
	forged := asked{entered, page.from}
	for _, seal := range []string{"", "x"} {
		form := url.Values{"request": {user}, "rights": entered.form["rights"], "seal": {seal}, "answer": {"yes"}}
		if p := forged.from.post(w.url+"/device", form); p.StatusCode != http.StatusForbidden {
			t.Errorf("a forged yes: status %d", p.StatusCode)
		}
	}
	w.clock.move(time.Minute)
	poll("authorization_pending")
	page.from.fill(entered, "answer", "yes")
	poll("")
	poll("invalid_grant")
	device, _ = w.deviceCode(secret)
	w.clock.move(authz.DeviceCodeLife)
	poll("expired_token")
}

// TestPushedRequests: FAPI's and OAuch's list on PAR (RFC 9126).
func TestPushedRequests(t *testing.T) {
	w := newWorld(t)
	w.give("mother", unlock)
	secret := w.tenant(nil)
	w.client(authz.Client{ID: "other", AuthMethod: authz.AuthNone, RedirectURIs: []string{redirect}, GrantTypes: []string{authz.AuthorizationCode}})
	push := func(q url.Values) page {
		return w.browser().post(w.url+"/par", q, "Authorization", basic("tenant", secret))
	}
	good := func(change ...string) url.Values {
		return question(append([]string{"client_id", "tenant"}, change...)...)
	}
	for name, q := range map[string]url.Values{
		"request_uri inside PAR":      good("request_uri", "urn:ietf:params:oauth:request_uri:x"),
		"plain PKCE":                  good("code_challenge_method", "plain"),
		"no PKCE":                     good("code_challenge", ""),
		"implicit":                    good("response_type", "token"),
		"another redirect":            good("redirect_uri", "https://evil.example/"),
		"another client":              good("client_id", "other"),
		"an unknown device":           good("audience", "barn"),
		"an unknown action":           good("scope", "fly"),
		"scope and details":           good("scope", "unlock", "authorization_details", `[{"type":"latchkey_device","locations":["door-1"]}]`),
		"details of an unknown type":  good("audience", "", "authorization_details", `[{"type":"x","locations":["door-1"]}]`),
		"details of another audience": good("authorization_details", `[{"type":"latchkey_device","locations":["barn"]}]`),
		"duplicate parameters":        {"client_id": {"tenant"}, "scope": {"unlock", "view"}},
	} {
		if p := push(q); p.StatusCode != http.StatusBadRequest || w.object(p)["request_uri"] != nil {
			t.Errorf("%s: status %d: %s", name, p.StatusCode, p.body)
		}
	}
	if p := w.browser().post(w.url+"/par", good()); p.StatusCode != http.StatusUnauthorized {
		t.Errorf("without the secret: status %d", p.StatusCode)
	}
	if p := w.browser().get(w.url + "/par?" + good().Encode()); p.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: status %d", p.StatusCode)
	}
	pushed := func() string {
		t.Helper()
		out := push(good("state", "pushed"))
		uri, _ := w.object(out)["request_uri"].(string)
		if out.StatusCode != http.StatusCreated || len(uri) != len("urn:ietf:params:oauth:request_uri:")+43 {
			t.Fatalf("status %d: %s", out.StatusCode, out.body)
		}
		return uri
	}
	by := func(client, uri string) url.Values { return url.Values{"client_id": {client}, "request_uri": {uri}} }
	uri := pushed()
	if p := w.browser().ask(by("other", uri)); p.StatusCode != http.StatusBadRequest || p.Header.Get("Location") != "" {
		t.Errorf("another client's: status %d", p.StatusCode)
	}
	// Reuse before login is allowed; what stands beside it does not count.
	w.browser().ask(by("tenant", uri))
	b := w.browser()
	q := by("tenant", uri)
	q.Set("state", "evil")
	p := b.signIn("mother", q)
	v := w.back(b.fill(p, "answer", "yes"))
	if v.Get("code") == "" || v.Get("state") != "pushed" {
		t.Errorf("the app gets %v", v)
	}
	if p := b.ask(by("tenant", uri)); p.Header.Get("Location") != "" || p.StatusCode != http.StatusBadRequest {
		t.Errorf("a second use: status %d", p.StatusCode)
	}
	uri = pushed()
	w.clock.move(authz.PushedLife)
	if p := w.browser().ask(by("tenant", uri)); p.StatusCode != http.StatusBadRequest {
		t.Errorf("expired: status %d", p.StatusCode)
	}
}

// TestALinkAnswersNothing: whoever is brought to the question by a link has neither said yes nor no, also without rights.
func TestALinkAnswersNothing(t *testing.T) {
	w := newWorld(t)
	w.give("mother", unlock)
	_, user := w.deviceCode(w.tenant(nil))
	for range 2 {
		if p := w.atDevice("stranger", w.url+"/device?user_code="+user); p.StatusCode != http.StatusForbidden {
			t.Errorf("status %d", p.StatusCode)
		}
	}
	p := w.atDevice("mother", w.url+"/device?user_code="+user)
	if done := p.from.fill(p.page, "answer", "yes"); done.StatusCode != http.StatusOK {
		t.Errorf("status %d: %s", done.StatusCode, done.body)
	}
}
