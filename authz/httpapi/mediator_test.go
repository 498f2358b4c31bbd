package httpapi_test

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/clientauth"
	"github.com/latchkey-ace/latchkey/authz/httpapi"
	"github.com/latchkey-ace/latchkey/pop/integrity"
)

// mediated is a mediator before a server of its own, which knows the client "app" by a secret.
type mediated struct {
	*world
	other   *world
	service *integrityService
	secret  string
	front   *httptest.Server             // where the mediator finds the other server
	answers atomic.Pointer[http.Handler] // what answers there; nil: the other server
	asked   atomic.Int32                 // how often it was asked
	address string                       // of the mediator
}

func newMediated(t *testing.T) *mediated {
	t.Helper()
	m := &mediated{world: newWorld(t), other: newWorld(t)}
	m.service = m.integrityService()
	secret, hash, err := authz.Secret(rand.Reader)
	m.must(err)
	m.secret = secret
	m.other.client(authz.Client{
		ID: "app", AuthMethod: authz.AuthSecretBasic, SecretHash: hash, RedirectURIs: []string{redirect}, ClientMadeKeys: true,
		GrantTypes: []string{authz.AuthorizationCode, authz.RefreshToken},
	})
	m.other.give("mother", view)
	m.front = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.asked.Add(1)
		if scripted := m.answers.Load(); scripted != nil {
			(*scripted).ServeHTTP(w, r)
			return
		}
		m.other.handler.ServeHTTP(w, r)
	}))
	t.Cleanup(m.front.Close)
	m.start()
	return m
}

// start starts the mediator's program anew on its store.
func (m *mediated) start() {
	m.t.Helper()
	to := httpapi.Mediation{Endpoints: map[string]*url.URL{}, Secrets: map[string]string{"app": m.secret}}
	for _, name := range []string{"token", "par", "revoke"} {
		at, err := url.Parse(m.front.URL + "/" + name)
		m.must(err)
		to.Endpoints[name] = at
	}
	h, err := httpapi.NewMediator(m.server, slog.New(slog.NewTextHandler(m.log, nil)), m.options, to)
	m.must(err)
	s := httptest.NewServer(h)
	m.t.Cleanup(s.Close)
	m.address = s.URL
}

// ask sends a form to the mediator with a good token for it.
func (m *mediated) ask(path string, form url.Values, headers ...string) page {
	m.t.Helper()
	return m.bare(path, form, append([]string{integrity.HeaderToken, m.service.token(form.Encode())}, headers...)...)
}

func (m *mediated) bare(path string, form url.Values, headers ...string) page {
	m.t.Helper()
	return m.browser().post(m.address+path, form, headers...)
}

// script lets somebody else answer in the other server's place.
func (m *mediated) script(serve http.HandlerFunc) {
	if serve == nil {
		m.answers.Store(nil)
		return
	}
	h := http.Handler(serve)
	m.answers.Store(&h)
}

// TestMediator: an app that holds no secret gets a code, a token and its renewal from a server that wants one, and ends the token.
func TestMediator(t *testing.T) {
	m := newMediated(t)
	uri, ok := m.object(m.ask("/par", question("client_id", "app")))["request_uri"].(string)
	if !ok {
		t.Fatal("not pushed")
	}
	redeem := redemption(m.other.code("mother", url.Values{"client_id": {"app"}, "request_uri": {uri}}))
	redeem.Set("client_id", "app")
	m.wantError("straight at the other server", m.browser().post(m.other.url+"/token", redeem), 401, "invalid_client")
	m.wantError("straight, with a token", m.browser().post(m.other.url+"/token", redeem, integrity.HeaderToken, m.service.token(redeem.Encode())), 401, "invalid_client")
	p := m.ask("/token", redeem)
	got := m.object(p)
	if p.StatusCode != http.StatusOK || got["scope"] != "view" || got["refresh_token"] == nil || p.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v %s", p.StatusCode, p.Header, p.body)
	}
	renew := url.Values{"grant_type": {"refresh_token"}, "client_id": {"app"}, "refresh_token": {got["refresh_token"].(string)}}
	asked := m.asked.Load()
	m.wantError("renewed without a token", m.bare("/token", renew), 401, "invalid_client")
	if m.asked.Load() != asked {
		t.Error("the other server was asked")
	}
	p = m.ask("/token", renew)
	if got = m.object(p); p.StatusCode != http.StatusOK {
		t.Fatalf("renewed: %d %s", p.StatusCode, p.body)
	}
	if p := m.ask("/revoke", url.Values{"client_id": {"app"}, "token": {got["refresh_token"].(string)}}); p.StatusCode != http.StatusOK || p.body != "" {
		t.Errorf("ended: %d %s", p.StatusCode, p.body)
	}
	m.clock.move(time.Second) // two tokens of one second for one body are the same
	m.wantError("what the other server refuses is told", m.ask("/token", renew), 400, "invalid_grant")
	all := m.audit()
	if last := all[len(all)-1]; last.Event != "app.pass" || last.Client != "app" || !strings.Contains(last.Reason, `attested by "svc"`) {
		t.Errorf("on record is %+v", last)
	}
	if strings.Contains(m.log.String()+fmt.Sprint(all), m.secret) {
		t.Error("the secret is in a log")
	}
}

// TestMediatorRefuses: what does not come from a genuine app, once, does not reach the other server.
func TestMediatorRefuses(t *testing.T) {
	m := newMediated(t)
	form := url.Values{"grant_type": {"refresh_token"}, "client_id": {"app"}, "refresh_token": {"x"}}
	and := func(name, value string) url.Values {
		more := url.Values{name: {value}}
		for n, v := range form {
			more[n] = append(more[n], v...)
		}
		return more
	}
	raw, err := m.service.key.PublicKey.Bytes()
	m.must(err)
	body := form.Encode()
	with := func(pairs ...any) []string { return []string{integrity.HeaderToken, m.service.token(body, pairs...)} }
	for _, tt := range []struct {
		name    string
		form    url.Values
		headers []string
		status  int
		code    string
	}{
		{"no token", form, nil, 401, "invalid_client"},
		{"two tokens", form, append(with(), with()...), 400, "invalid_request"},
		{"for another body", form, with("pay", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), 400, "invalid_client_attestation"},
		{"expired by one second", form, with("exp", m.clock.now().Add(-time.Second).Unix()), 400, "use_fresh_attestation"},
		{"of another client", form, with("sub", "old-app"), 401, "invalid_client"},
		{"for another server", form, with("aud", m.other.url), 401, "invalid_client"},
		{"HS256 with the public key", form, []string{integrity.HeaderToken, m.service.withSecret(raw, body)}, 401, "invalid_client"},
		{"of a service that vouches for others", form, []string{integrity.HeaderToken, m.service.withSecret(m.service.secret, body)}, 401, "invalid_client"},
		{"alg none", form, []string{integrity.HeaderToken, "eyJhbGciOiJub25lIn0." + strings.Split(with()[1], ".")[1] + "."}, 401, "invalid_client"},
		{"a client that nobody knows", and("client_id", "clone"), nil, 400, "invalid_request"},
		{"a public client", url.Values{"grant_type": {"refresh_token"}, "client_id": {"phone"}, "refresh_token": {"x"}}, nil, 401, "invalid_client"},
		{"a client with a secret of its own here", url.Values{"grant_type": {"refresh_token"}, "client_id": {"gateway"}, "refresh_token": {"x"}}, nil, 401, "invalid_client"},
		{"a brought secret", and("client_secret", "x"), nil, 400, "invalid_request"},
		{"a brought assertion", and("client_assertion", "x"), nil, 400, "invalid_request"},
		{"a brought header", form, append(with(), "Authorization", basic("app", "x")), 400, "invalid_request"},
		{"a parameter twice", and("grant_type", "authorization_code"), nil, 400, "invalid_request"},
	} {
		m.wantError(tt.name, m.bare("/token", tt.form, tt.headers...), tt.status, tt.code)
	}
	if why, _ := m.object(m.bare("/token", form, "Authorization", basic("app", "x")))["error_description"].(string); !strings.Contains(why, "sends no other credential") {
		t.Errorf("who brings a secret is told %q", why)
	}
	for name, tt := range map[string]struct {
		method, path, body, kind string
		status                   int
	}{
		"what is no form":     {"POST", "/token", "{}", "application/json", 415},
		"a malformed form":    {"POST", "/token", "a=%zz", formType, 400},
		"a long body":         {"POST", "/token", "a=" + strings.Repeat("a", 16<<10), formType, 413},
		"an address":          {"POST", "/token?client_id=app", body, formType, 400},
		"a GET":               {"GET", "/token", "", "", 405},
		"what is not offered": {"POST", "/device_authorization", body, formType, 404},
		"another path":        {"POST", "/introspect", body, formType, 404},
		"pages":               {"GET", "/authorize", "", "", 404},
	} {
		if p := m.browser().do(tt.method, m.address+tt.path, tt.body, "Content-Type", tt.kind); p.StatusCode != tt.status {
			t.Errorf("%s: %d %s", name, p.StatusCode, p.body)
		}
	}
	m.must(m.server.Suspend(t.Context(), authz.Party{Client: "app"}, "stolen"))
	m.wantError("a suspended client", m.bare("/token", form, with()...), 401, "invalid_client")
	m.must(m.server.Resume(t.Context(), authz.Party{Client: "app"}, "found"))
	m.options.Attesters = map[string]clientauth.Attester{"svc": {Keys: (&attester{}).find}}
	m.start()
	away := m.bare("/token", form, with()...)
	if m.wantError("the attester is away", away, 503, "temporarily_unavailable"); away.Header.Get("Retry-After") == "" {
		t.Error("for how long is not told")
	}
	if n := m.asked.Load(); n != 0 {
		t.Errorf("the other server was asked %d times", n)
	}
}

// TestMediatorForwardsOnce: of fifty that show one token one passes, and none after a restart.
func TestMediatorForwardsOnce(t *testing.T) {
	m := newMediated(t)
	m.script(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"access_token":"x"}`)) })
	form := url.Values{"grant_type": {"refresh_token"}, "client_id": {"app"}, "refresh_token": {"x"}}
	token := m.service.token(form.Encode())
	var passed atomic.Int32
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if m.bare("/token", form, integrity.HeaderToken, token).StatusCode == http.StatusOK {
				passed.Add(1)
			}
		})
	}
	all.Wait()
	m.start()
	m.wantError("after a restart", m.bare("/token", form, integrity.HeaderToken, token), 401, "invalid_client")
	if passed.Load() != 1 || m.asked.Load() != 1 {
		t.Errorf("%d of 50 passed, the other server was asked %d times", passed.Load(), m.asked.Load())
	}
}

// TestMediatorAndWhatIsBehind: what the other server answers, and what becomes of it; the secret goes to it alone, with nothing of the
// app's that it need not see.
func TestMediatorAndWhatIsBehind(t *testing.T) {
	m := newMediated(t)
	form := url.Values{"grant_type": {"refresh_token"}, "client_id": {"app"}, "refresh_token": {"x"}}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the request went elsewhere") }))
	defer elsewhere.Close()
	answer := func(status int, body string, headers ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			user, password, _ := r.BasicAuth()
			if user != "app" || password != url.QueryEscape(m.secret) || len(r.Header.Values(integrity.HeaderToken)) > 0 || r.Header.Get("Cookie") != "" ||
				r.Header.Get("X-Forwarded-For") != "" {
				t.Errorf("the other server gets %v", r.Header)
			}
			for i := 0; i < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	for _, tt := range []struct {
		name   string
		serve  http.HandlerFunc
		status int
		code   any
	}{
		{"an error", answer(400, `{"error":"invalid_grant"}`), 400, "invalid_grant"},
		{"asks to wait", answer(429, `{"error":"slow_down"}`, "Retry-After", "9"), 429, "slow_down"},
		{"refuses the secret", answer(401, `{"error":"invalid_client"}`), 500, "server_error"},
		{"sends elsewhere", answer(307, ``, "Location", elsewhere.URL), 500, "server_error"},
		{"answers a page", answer(200, `<html>`), 500, "server_error"},
		{"answers a list", answer(200, `[]`), 500, "server_error"},
		{"answers without end", answer(200, `{}`+strings.Repeat(" ", 64<<10)), 500, "server_error"},
		{"is broken", answer(502, `<html>`), 503, "temporarily_unavailable"},
		{"hangs up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 503, "temporarily_unavailable"},
	} {
		m.script(tt.serve)
		m.clock.move(time.Second) // two tokens of one second for one body are the same
		before := m.asked.Load()
		p := m.ask("/token", form, "Cookie", "a=b", "X-Forwarded-For", "192.0.2.1")
		if p.StatusCode != tt.status || m.object(p)["error"] != tt.code || m.asked.Load() != before+1 || p.Header.Get("Location") != "" {
			t.Errorf("%s: %d %s, asked %d times", tt.name, p.StatusCode, p.body, m.asked.Load()-before)
		}
		if tt.status == 429 && p.Header.Get("Retry-After") != "9" {
			t.Error("for how long is not told")
		}
	}
	m.front.Close()
	m.clock.move(time.Second)
	m.wantError("is away", m.ask("/token", form), 503, "temporarily_unavailable")
	if !strings.Contains(m.log.String(), "refuses the client's secret") || strings.Contains(m.log.String(), m.secret) {
		t.Errorf("the log says %s", m.log)
	}
}

// TestMediatorIsWhole: one that could let nobody through does not start.
func TestMediatorIsWhole(t *testing.T) {
	w := newWorld(t)
	at, err := url.Parse("https://as.example/token")
	w.must(err)
	for name, to := range map[string]httpapi.Mediation{
		"nothing": {}, "no secret": {Endpoints: map[string]*url.URL{"token": at}},
		"no token endpoint": {Endpoints: map[string]*url.URL{"par": at}, Secrets: map[string]string{"app": "x"}},
	} {
		if _, err := httpapi.NewMediator(w.server, slog.New(slog.DiscardHandler), w.options, to); err == nil {
			t.Errorf("%s: started", name)
		}
	}
}
