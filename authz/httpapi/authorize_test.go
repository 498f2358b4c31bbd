package httpapi_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/aif"
)

// TestSignInAndConsent walks the real pages from the app's link to the token.
func TestSignInAndConsent(t *testing.T) {
	w := newWorld(t)
	g := w.give("mother", unlock)
	b := w.browser()

	p := b.ask(question())
	if p.StatusCode != 200 || p.action != "/login" || !p.form.Has("user") || !p.form.Has("password") {
		t.Fatalf("not the sign-in page: %d %s", p.StatusCode, p.body)
	}
	p = b.fill(p, "user", "mother", "password", password)
	checkCookie(t, p)
	if to := p.Header.Get("Location"); p.StatusCode != 303 || !strings.HasPrefix(to, "/authorize?") {
		t.Fatalf("signed in, then sent to %q", to)
	}
	p = b.get(w.url + p.Header.Get("Location"))
	if p.StatusCode != 200 || p.action != "/authorize" {
		t.Fatalf("not the question: %d %s", p.StatusCode, p.body)
	}
	for _, says := range []string{"“phone”", "door-1", "mother", "<li>unlock</li>", "at any time"} {
		if !strings.Contains(p.body, says) {
			t.Errorf("the question lacks %q: %s", says, p.body)
		}
	}
	if csp := p.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self' http://127.0.0.1") || !strings.Contains(csp, "frame-ancestors 'none'") {
		t.Errorf("policy of the question: %s", csp)
	}
	p = b.fill(p, "answer", "yes")
	v := w.back(p)
	if v.Get("code") == "" || v.Get("state") != "st" || v.Get("iss") != w.url || len(v) != 3 {
		t.Errorf("the app gets %v", v)
	}
	if p.Header.Get("Cache-Control") != "no-store" || p.Header.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("the redirect with the code has headers %v", p.Header)
	}
	out := w.object(b.post(w.url+"/token", redemption(v.Get("code"))))
	if out["access_token"] == nil || out["scope"] != "unlock" {
		t.Errorf("the token answer is %v", out)
	}
	all := w.audit()
	if e := all[len(all)-1]; e.Event != "token" || e.User != "mother" || e.Client != "phone" || e.Grant != g.ID {
		t.Errorf("audit says %+v", e)
	}
	// Within the session the next question needs no password.
	if p := b.ask(question()); p.action != "/authorize" {
		t.Errorf("asked to sign in again: %s", p.body)
	}
}

// checkCookie looks at the header itself: a browser tells nothing of the flags.
func checkCookie(t *testing.T, p page) {
	t.Helper()
	all := p.Header.Values("Set-Cookie")
	if len(all) != 2 || !strings.HasPrefix(all[0], "__Host-latchkey=") || !strings.HasPrefix(all[1], "__Host-latchkey-browser=") {
		t.Fatalf("cookies %q", all)
	}
	for _, flag := range []string{"Path=/", "Max-Age=43200", "HttpOnly", "Secure", "SameSite=Lax"} {
		if !slices.Contains(strings.Split(all[0], "; "), flag) {
			t.Errorf("cookie lacks %s: %s", flag, all[0])
		}
	}
	if strings.Contains(all[0], "Domain") {
		t.Errorf("cookie is for other hosts too: %s", all[0])
	}
}

func TestSayingNo(t *testing.T) {
	w := newWorld(t)
	w.give("mother", unlock)
	for _, answer := range []string{"no", "", "YES", "yes "} {
		b := w.browser()
		v := w.back(b.fill(b.signIn("mother", question()), "answer", answer))
		if v.Get("error") != "access_denied" || v.Get("state") != "st" || v.Get("iss") != w.url || v.Has("code") {
			t.Errorf("%q: the app gets %v", answer, v)
		}
	}
}

// TestBadQuestions: errors that the app may know go back to it, each with state and iss.
func TestBadQuestions(t *testing.T) {
	w := newWorld(t)
	rows := []struct {
		name  string
		query string
		want  string
	}{
		{"implicit", question("response_type", "token").Encode(), "unsupported_response_type"},
		{"code and token", question("response_type", "code token").Encode(), "unsupported_response_type"},
		{"code and id token", question("response_type", "code id_token").Encode(), "unsupported_response_type"},
		{"no response type", question("response_type", "").Encode(), "unsupported_response_type"},
		{"no PKCE", question("code_challenge", "", "code_challenge_method", "").Encode(), "invalid_request"},
		{"plain PKCE", question("code_challenge_method", "plain").Encode(), "invalid_request"},
		{"PKCE without a method", question("code_challenge_method", "").Encode(), "invalid_request"},
		{"a challenge too short", question("code_challenge", challenge[1:]).Encode(), "invalid_request"},
		{"no audience", question("audience", "").Encode(), "invalid_request"},
		{"an unknown audience", question("audience", "barn").Encode(), "invalid_request"},
		{"an unknown action", question("scope", "fly").Encode(), "invalid_scope"},
		{"a scope twice", question().Encode() + "&scope=unlock&scope=view", "invalid_request"},
		{"a challenge twice", question().Encode() + "&code_challenge=" + challenge, "invalid_request"},
		{"a response type twice", question().Encode() + "&response_type=token", "invalid_request"},
		{"an audience twice", question().Encode() + "&audience=door-1", "invalid_request"},
		{"a state twice", question().Encode() + "&state=st", "invalid_request"},
		{"an unknown parameter twice", question().Encode() + "&%22%3Cscript%3E=1&%22%3Cscript%3E=2", "invalid_request"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			b := w.browser()
			p := b.get(w.url + "/authorize?" + row.query)
			v := w.back(p)
			if v.Get("error") != row.want || v.Get("state") != "st" || v.Get("iss") != w.url || v.Has("code") {
				t.Errorf("the app gets %v, want %s", v, row.want)
			}
			// RFC 6749 §4.1.2.1 allows these bytes and no others.
			if strings.ContainsFunc(v.Get("error_description"), func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
				t.Errorf("description %q", v.Get("error_description"))
			}
			if p.Header.Get("Cache-Control") != "no-store" || p.Header.Get("Referrer-Policy") != "no-referrer" {
				t.Errorf("headers %v", p.Header)
			}
		})
	}
	if p := w.browser().ask(question("state", "", "favourite", "blue")); p.StatusCode != 200 || p.action != "/login" {
		t.Errorf("no state and an unknown parameter: %d %s", p.StatusCode, p.body)
	}
}

// TestNoRedirectWithoutTrust: an unknown app or address is a page, for GET and for both posts, whatever else is wrong.
func TestNoRedirectWithoutTrust(t *testing.T) {
	w := newWorld(t)
	q := question().Encode()
	rows := map[string]string{
		"unknown client": question("client_id", "nobody").Encode(), "no client": question("client_id", "").Encode(), "client twice": q + "&client_id=phone",
		"no redirect": question("redirect_uri", "").Encode(), "redirect twice": q + "&redirect_uri=" + url.QueryEscape(redirect),
		"a client without redirects": question("client_id", "gateway").Encode(), "nothing at all": "", "a malformed query": q + "&x=%zz", "a semicolon": q + ";x=1",
		"far too long": question("state", strings.Repeat("s", 5000)).Encode(),
	}
	for _, evil := range []string{
		"https://evil.example/", "//evil.example", "///evil.example", `/\evil.example`, "/authorize", "http://127.0.0.1:1@evil/", "http://127.0.0.1:1@evil.example/callback",
		"http://127.0.0.1@evil.example/callback", "http://127.0.0.1.evil.example/callback", "http://evil-127.0.0.1/callback", "http://localhost/callback",
		"http://127.0.0.1/callback/", "http://127.0.0.1/callback?x", "http://127.0.0.1/callback#x", "http://127.0.0.1/callback%2f..", "http://127.0.0.1/%63allback",
		"http%3A%2F%2F127.0.0.1%2Fcallback", "http://127.0.0.1/callback\r\nX: y", "http://127.0.0.1/callback\x00", "https://127.0.0.1/callback", "http://[::1]/callback",
		"https://app.example/cb/../evil", "https://app.example.evil.example/cb", "https://evil.example/https://app.example/cb", "https://xapp.example/cb",
		"https://app.example/cbx", "https://app.example/CB", "javascript:alert(1)//", "data:text/html,x", "*", "https://*",
	} {
		rows["redirect "+evil] = question("redirect_uri", evil).Encode()
		rows["redirect "+evil+" and a bad request"] = question("redirect_uri", evil, "response_type", "token", "code_challenge", "").Encode()
	}
	b := w.browser()
	b.signIn("alice", question()) // a session changes nothing
	w.clock.move(time.Second)
	for name, query := range rows {
		for way, p := range map[string]page{
			"GET":          b.get(w.url + "/authorize?" + query),
			"sign in":      w.browser().post(w.url+"/login", url.Values{"request": {query}, "user": {"alice"}, "password": {password}}),
			"answer":       b.post(w.url+"/authorize", url.Values{"request": {query}, "seal": {"x"}, "answer": {"yes"}}),
			"answer, anon": w.browser().post(w.url+"/authorize", url.Values{"request": {query}, "answer": {"yes"}}),
		} {
			if to, cookies := p.Header.Get("Location"), p.Header.Values("Set-Cookie"); p.StatusCode < 400 || p.StatusCode > 499 || to != "" || len(cookies) != 0 {
				t.Errorf("%s, %s: status %d to %q with cookies %q", name, way, p.StatusCode, to, cookies)
			}
			if !strings.Contains(p.body, "That did not work") || strings.Contains(p.body, "evil") {
				t.Errorf("%s, %s: the page says %s", name, way, p.body)
			}
		}
	}
	for _, e := range w.audit() {
		if e.Result == "granted" && e.At.Equal(w.clock.now()) {
			t.Errorf("granted behind such a page: %+v", e)
		}
	}
}

// TestLoopbackPortIsFree is RFC 8252 §7.3.
func TestLoopbackPortIsFree(t *testing.T) {
	w := newWorld(t)
	w.give("mother", unlock)
	const port = "http://127.0.0.1:51004/callback"
	b := w.browser()
	p := b.fill(b.signIn("mother", question("redirect_uri", port)), "answer", "yes")
	to := p.Header.Get("Location")
	code, ok := strings.CutPrefix(to, port+"?code=")
	if !ok {
		t.Fatalf("sent to %q", to)
	}
	form := redemption(code[:43])
	if p := b.post(w.url+"/token", form); p.StatusCode != 400 {
		t.Errorf("the registered address without the port redeems the code: %s", p.body)
	}
	form.Set("redirect_uri", port)
	if p := b.post(w.url+"/token", form); p.StatusCode != 200 {
		t.Errorf("status %d: %s", p.StatusCode, p.body)
	}
}

// TestWrongPassword: the page comes again without a session, and an unknown name gets the very same page.
func TestWrongPassword(t *testing.T) {
	w := newWorld(t)
	var bodies []string
	for _, try := range [][2]string{{"mother", "wrong password"}, {"nobody", "wrong password"}, {"nobody", password}, {"", ""}, {"mother", ""}} {
		b := w.browser()
		p := b.fill(b.ask(question()), "user", try[0], "password", try[1])
		if p.StatusCode != 401 || p.action != "/login" || len(p.Header.Values("Set-Cookie")) != 0 || !strings.Contains(p.body, "do not go together") {
			t.Errorf("%q: status %d: %s", try, p.StatusCode, p.body)
		}
		if p := b.ask(question()); p.action != "/login" {
			t.Errorf("%q: signed in", try)
		}
		bodies = append(bodies, p.body)
		// The right password on that page still leads on.
		if p := b.fill(p, "user", "mother", "password", password); p.StatusCode != 303 {
			t.Errorf("%q: then the right one: status %d", try, p.StatusCode)
		}
	}
	for _, body := range bodies {
		if body != bodies[0] {
			t.Errorf("the pages can be told apart:\n%s\n%s", bodies[0], body)
		}
	}
}

// TestRefusedAfterSignIn: a person without the right is not asked; the app hears why, and the sign-in page lets the browser go.
func TestRefusedAfterSignIn(t *testing.T) {
	w := newWorld(t)
	w.give("mother", unlock)
	for name, row := range map[string]struct {
		who    string
		query  url.Values
		reason string
	}{
		"no grant":              {"stranger", question(), "no grant"},
		"more than was granted": {"mother", question("scope", "view"), "more than was granted"},
		"a reserved action":     {"alice", question("scope", "configure"), "the owner needs a grant to oneself for this"},
	} {
		b := w.browser()
		p := b.ask(row.query)
		if csp := p.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self' http://127.0.0.1") {
			t.Errorf("%s: a browser that checks redirects of forms stops at %s", name, csp)
		}
		p = b.fill(p, "user", row.who, "password", password)
		v := w.back(b.get(w.url + p.Header.Get("Location")))
		if v.Get("error") != "invalid_scope" || v.Get("error_description") != row.reason || v.Get("iss") != w.url || v.Get("state") != "st" {
			t.Errorf("%s: the app gets %v", name, v)
		}
		all := w.audit()
		if e := all[len(all)-1]; e.Event != "authorize" || e.Result != "refused" || e.Reason != row.reason || e.User != row.who {
			t.Errorf("%s: audit says %+v", name, e)
		}
	}
}

// TestGrantBeginsDuringARefusal: whatever the clock does between decision and answer, no code leaves without a question.
func TestGrantBeginsDuringARefusal(t *testing.T) {
	w := newWorld(t)
	_, err := w.server.Give(t.Context(), authz.Grant{Owner: "alice", To: authz.Subject{User: "mother"}, Device: deviceID(1), Rights: aif.New(unlock), From: w.clock.now().Add(time.Hour)})
	w.must(err)
	b := w.browser()
	p := b.fill(b.ask(question()), "user", "mother", "password", password)
	// The clock runs while the page is made: one reading is before the grant's start, the next is after it.
	w.serveTicking(2 * time.Hour)
	p = b.get(w.url + p.Header.Get("Location"))
	if to := p.Header.Get("Location"); strings.Contains(to, "code=") {
		t.Errorf("a code nobody was asked about: %s", to)
	}
}
