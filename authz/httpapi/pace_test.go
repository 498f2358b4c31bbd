package httpapi_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/httpapi/origin"
	"github.com/latchkey-ace/latchkey/authz/throttle"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

// paced is a world behind a proxy, whose word on addresses it takes.
func paced(t *testing.T, limits map[throttle.Kind]throttle.Rule) *world {
	w := newWorld(t)
	w.limits, w.trust = limits, origin.Trust{Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	w.serve(w.store)
	return w
}

func (w *world) credentials(secret string) url.Values {
	return url.Values{"grant_type": {"client_credentials"}, "client_id": {"gateway"}, "client_secret": {secret}, "audience": {"door-1"}}
}

func wantSlowed(t *testing.T, what string, p page, seconds string) {
	t.Helper()
	if p.StatusCode != http.StatusTooManyRequests || p.Header.Get("Retry-After") != seconds || p.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: %d, Retry-After %q: %s", what, p.StatusCode, p.Header.Get("Retry-After"), p.body)
	}
}

// TestWrongSecretsAreSlowedDown: right ones are not, even from the same network.
func TestWrongSecretsAreSlowedDown(t *testing.T) {
	w := paced(t, map[throttle.Kind]throttle.Rule{throttle.Credential: {Free: 2, First: time.Minute, Max: time.Hour}})
	w.give("gateway", unlock)
	b := w.browser()
	guess := func(from string) page { return b.post(w.url+"/token", w.credentials("wrong"), "X-Forwarded-For", from) }
	for n := range 3 {
		if p := guess("192.0.2.7"); p.StatusCode != http.StatusUnauthorized {
			t.Fatalf("guess %d: %d", n, p.StatusCode)
		}
	}
	wantSlowed(t, "the fourth guess", guess("192.0.2.8"), "60")
	if p := guess("198.51.100.1"); p.StatusCode != http.StatusUnauthorized {
		t.Errorf("a first guess from elsewhere: %d", p.StatusCode)
	}
	if p := b.post(w.url+"/token", w.credentials(w.secret), "X-Forwarded-For", "192.0.2.9"); p.StatusCode != http.StatusOK {
		t.Errorf("the client itself, next to who guesses: %d %s", p.StatusCode, p.body)
	}
	var reasons []string
	for _, e := range w.audit() {
		if e.Event == "throttle" {
			reasons = append(reasons, e.Reason)
		}
	}
	if want := []string{"credential: gateway from 192.0.2.0/24"}; !slices.Equal(reasons, want) {
		t.Errorf("on record %q, want %q", reasons, want)
	}
	w.clock.move(time.Minute)
	if p := guess("192.0.2.7"); p.StatusCode != http.StatusUnauthorized {
		t.Errorf("after the time it was told: %d", p.StatusCode)
	}
}

// TestGuessesInTheHeaderCountForTheClient: one client's share of guesses is not another's.
func TestGuessesInTheHeaderCountForTheClient(t *testing.T) {
	w := paced(t, map[throttle.Kind]throttle.Rule{throttle.Credential: {Free: 1, First: time.Minute, Max: time.Hour}})
	b := w.browser()
	guess := func(id string) int {
		basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":wrong"))
		return b.post(w.url+"/token", url.Values{"grant_type": {"client_credentials"}}, "X-Forwarded-For", "192.0.2.7", "Authorization", basic).StatusCode
	}
	for n, want := range []int{401, 401, 429} {
		if got := guess("gateway"); got != want {
			t.Errorf("guess %d: %d, want %d", n, got, want)
		}
	}
	if got := guess("another"); got != http.StatusUnauthorized {
		t.Errorf("a first guess at another client: %d", got)
	}
}

func TestWrongCodesAreSlowedDown(t *testing.T) {
	w := paced(t, map[throttle.Kind]throttle.Rule{throttle.Credential: {Free: 1, First: time.Minute, Max: time.Hour}})
	b := w.browser()
	for n, want := range []int{400, 400, 429} {
		if p := b.post(w.url+"/token", redemption(fmt.Sprint("guess ", n)), "X-Forwarded-For", "192.0.2.7"); p.StatusCode != want {
			t.Errorf("guess %d: %d, want %d", n, p.StatusCode, want)
		}
	}
}

// TestPasswordsAreSlowedDown: who guesses is told to wait in plain words; the browser she signed in with before is let in.
func TestPasswordsAreSlowedDown(t *testing.T) {
	w := paced(t, map[throttle.Kind]throttle.Rule{
		throttle.Account: {Free: 1, First: 2 * time.Minute, Max: time.Hour}, throttle.Strangers: {Burst: 4, Every: time.Hour},
	})
	w.give("mother", unlock)
	own := w.browser()
	own.signIn("mother", question())
	form := url.Values{"request": {question().Encode()}, "user": {"mother"}, "password": {"a wrong guess"}}
	for n, want := range []int{401, 401, 429} {
		p := w.browser().post(w.url+"/login", form, "X-Forwarded-For", "192.0.2.7")
		if p.StatusCode != want {
			t.Fatalf("guess %d: %d", n, p.StatusCode)
		}
		if want == 429 {
			wantSlowed(t, "the third guess", p, "120")
		}
	}
	for n, want := range []int{401, 429} { // the account's whole share for strangers is used up: one was her own first time
		if p := w.browser().post(w.url+"/login", form, "X-Forwarded-For", fmt.Sprintf("198.51.%d.7", n)); p.StatusCode != want {
			t.Errorf("guess from elsewhere %d: %d", n, p.StatusCode)
		}
	}
	form.Set("password", password)
	if p := w.browser().post(w.url+"/login", form, "X-Forwarded-For", "203.0.113.1"); p.StatusCode != http.StatusTooManyRequests {
		t.Errorf("a new browser while strangers guess: %d", p.StatusCode)
	}
	if p := own.post(w.url+"/login", form, "X-Forwarded-For", "192.0.2.7"); p.StatusCode != http.StatusSeeOther {
		t.Errorf("her own browser, next to who guesses: %d", p.StatusCode)
	}
}

func TestNetworksAndClientsHaveARhythm(t *testing.T) {
	w := paced(t, map[throttle.Kind]throttle.Rule{
		throttle.Source: {Burst: 3, Every: 10 * time.Second}, throttle.Client: {Burst: 2, Every: 10 * time.Second},
	})
	w.give("gateway", unlock)
	b := w.browser()
	ask := func(from string) page {
		return b.post(w.url+"/token", w.credentials(w.secret), "X-Forwarded-For", from)
	}
	for range 2 {
		if p := ask("192.0.2.1"); p.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", p.StatusCode, p.body)
		}
	}
	wantSlowed(t, "a third request of the client", ask("192.0.2.2"), "10")
	wantSlowed(t, "a fourth of the network", ask("192.0.2.3"), "10")
	wantSlowed(t, "the client from elsewhere", ask("198.51.100.1"), "10")
	if p := b.get(w.url + "/jwks"); p.StatusCode != http.StatusOK {
		t.Errorf("a public document: %d", p.StatusCode)
	}
	w.clock.move(10 * time.Second)
	if p := ask("192.0.2.2"); p.StatusCode != http.StatusOK {
		t.Errorf("after the time it was told: %d", p.StatusCode)
	}
}

// TestLentInstallation: one genuine installation that serves ever more people is slowed down, at the code and at the renewal alike, and
// it is on record once; who was served before goes on (F104).
func TestLentInstallation(t *testing.T) {
	w := newWorld(t)
	w.limits = map[throttle.Kind]throttle.Rule{throttle.People: {Burst: 1, Every: time.Hour}}
	w.serve(w.store)
	i := w.attesters().instance()
	token := w.object(i.redeem(i.code(byProof), byProof))["refresh_token"]
	uri, _ := w.object(i.pushed(byProof))["request_uri"].(string)
	code := w.code("alice", url.Values{"client_id": {"app"}, "request_uri": {uri}})
	wantSlowed(t, "another person", i.redeem(code, byProof), "3600")
	if p := i.refresh(token, byProof); p.StatusCode != http.StatusOK {
		t.Errorf("who was there before: %d %s", p.StatusCode, p.body)
	}
	key, err := jose.NewKey(i.key.Public(), "")
	w.must(err)
	if !slices.ContainsFunc(w.audit(), func(e authz.AuditEntry) bool {
		return e.Event == "throttle" && e.Reason == "people: "+key.Thumbprint().String()
	}) {
		t.Error("it is not on record")
	}
	w.clock.move(time.Hour)
	// The code is over, and was not used up: the next one is good.
	uri, _ = w.object(i.pushed(byProof))["request_uri"].(string)
	if p := i.redeem(w.code("alice", url.Values{"client_id": {"app"}, "request_uri": {uri}}), byProof); p.StatusCode != http.StatusOK {
		t.Errorf("an hour later: %d %s", p.StatusCode, p.body)
	}
}
