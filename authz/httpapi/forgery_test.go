package httpapi_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/aif"
)

// TestForgedAnswers: a yes counts only from the session that was asked, for the request and the rights it was asked about.
func TestForgedAnswers(t *testing.T) {
	w := newWorld(t)
	w.give("mother", unlock)
	mother, alice := w.browser(), w.browser()
	asked := mother.signIn("mother", question("scope", "unlock"))
	alices := alice.signIn("alice", question("scope", "unlock"))
	second := w.browser().signIn("mother", question("scope", "unlock"))
	rows := []struct {
		name   string
		change func(f url.Values)
	}{
		{"no seal", func(f url.Values) { f.Del("seal") }},
		{"an empty seal", func(f url.Values) { f.Set("seal", "") }},
		{"another person's seal", func(f url.Values) { f.Set("seal", alices.form.Get("seal")) }},
		{"another session's seal", func(f url.Values) { f.Set("seal", second.form.Get("seal")) }},
		{"another request", func(f url.Values) { f.Set("request", question("scope", "unlock", "state", "other").Encode()) }},
		{"the same request in another order", func(f url.Values) {
			f.Set("request", "x=1&"+f.Get("request"))
		}},
		{"another redirect", func(f url.Values) {
			f.Set("request", question("scope", "unlock", "redirect_uri", "https://app.example/cb").Encode())
		}},
		{"another challenge", func(f url.Values) {
			f.Set("request", question("scope", "unlock", "code_challenge", strings.Repeat("A", 43)).Encode())
		}},
		{"more rights", func(f url.Values) { f.Set("rights", "/door/unlock:POST /door:GET") }},
		{"no rights", func(f url.Values) { f.Del("rights") }},
		{"a seal cut short", func(f url.Values) { f.Set("seal", f.Get("seal")[1:]) }},
	}
	count := len(w.audit())
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			form := url.Values{"answer": {"yes"}}
			for k, v := range asked.form {
				form[k] = v
			}
			row.change(form)
			p := mother.post(w.url+"/authorize", form)
			if p.StatusCode != http.StatusForbidden || p.Header.Get("Location") != "" || !strings.Contains(p.body, "does not belong") {
				t.Errorf("status %d to %q: %s", p.StatusCode, p.Header.Get("Location"), p.body)
			}
		})
	}
	if n := len(w.audit()); n != count {
		t.Errorf("%d decisions came of it", n-count)
	}
	if v := w.back(mother.fill(asked, "answer", "yes")); v.Get("code") == "" {
		t.Errorf("her own yes gives %v", v)
	}
}

// TestAnswerWithoutASession: whose session has ended is asked to sign in, and nothing is given.
func TestAnswerWithoutASession(t *testing.T) {
	w := newWorld(t)
	w.give("mother", unlock)
	asked := w.browser().signIn("mother", question())
	p := w.browser().fill(asked, "answer", "yes")
	if p.StatusCode != 200 || p.action != "/login" || p.Header.Get("Location") != "" {
		t.Errorf("status %d to %q: %s", p.StatusCode, p.Header.Get("Location"), p.body)
	}
}

// TestYesMeansWhatWasShown: a grant that comes while the page is open adds nothing to the answer.
func TestYesMeansWhatWasShown(t *testing.T) {
	w := newWorld(t)
	g := w.give("mother", unlock)
	b := w.browser()
	asked := b.signIn("mother", question())
	w.give("mother", unlock, view)
	_, err := w.server.Revoke(t.Context(), g.ID)
	w.must(err)
	code := w.back(b.fill(asked, "answer", "yes")).Get("code")
	out := w.object(b.post(w.url+"/token", redemption(code)))
	if out["scope"] != "unlock" {
		t.Errorf("she saw unlock and gave %v", out["scope"])
	}
	row := w.audit()
	if !strings.Contains(asked.body, "<li>unlock</li>") || strings.Contains(asked.body, "<li>view</li>") || row[len(row)-1].Grant == g.ID {
		t.Errorf("the page showed %s", asked.body)
	}
	if got, err := aif.ParseText(asked.form.Get("rights")); err != nil || !got.Equal(aif.New(unlock)) {
		t.Errorf("the page carries rights %v, %v", got, err)
	}
}

// TestPostsFromOtherSites: login, consent and token are closed to forms of other pages (login CSRF among them).
func TestPostsFromOtherSites(t *testing.T) {
	w := newWorld(t)
	w.give("mother", unlock)
	b := w.browser()
	asked := b.signIn("mother", question())
	asked.form.Set("answer", "yes")
	login := url.Values{"request": {question().Encode()}, "user": {"alice"}, "password": {password}}
	foreign := [][]string{
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"},
		{"Origin", "http://127.0.0.1:1"}, {"Origin", w.url, "Sec-Fetch-Site", "cross-site"},
	}
	for _, headers := range foreign {
		for path, form := range map[string]url.Values{"/login": login, "/authorize": asked.form, "/token": redemption("x")} {
			p := b.post(w.url+path, form, headers...)
			if p.StatusCode != http.StatusForbidden || p.Header.Get("Location") != "" || len(p.Header.Values("Set-Cookie")) != 0 {
				t.Errorf("%s with %q: status %d to %q", path, headers, p.StatusCode, p.Header.Get("Location"))
			}
		}
	}
	for _, headers := range [][]string{{"Sec-Fetch-Site", "same-origin"}, {"Sec-Fetch-Site", "none"}, {"Origin", w.url}} {
		if p := b.post(w.url+"/login", login, headers...); p.StatusCode != http.StatusSeeOther {
			t.Errorf("our own page with %q: status %d", headers, p.StatusCode)
		}
	}
}

// TestBadForms: what is no form of ours is refused plainly and starts no session.
func TestBadForms(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	good := url.Values{"request": {question().Encode()}, "user": {"alice"}, "password": {password}}.Encode()
	rows := []struct {
		name, kind, body string
		status           int
	}{
		{"text, as other sites may post it", "text/plain", good, 415},
		{"no content type", "", good, 415},
		{"JSON", "application/json", `{"user":"alice"}`, 415},
		{"multipart", "multipart/form-data; boundary=x", good, 415},
		{"oversized", formType, good + "&x=" + strings.Repeat("x", 17<<10), 413},
		{"a malformed escape", formType, good + "&x=%zz", 400},
		{"empty", formType, "", 400},
	}
	for _, row := range rows {
		for _, path := range []string{"/login", "/authorize"} {
			var headers []string
			if row.kind != "" {
				headers = []string{"Content-Type", row.kind}
			}
			p := b.do(http.MethodPost, w.url+path, row.body, headers...)
			if p.StatusCode != row.status || p.Header.Get("Location") != "" || len(p.Header.Values("Set-Cookie")) != 0 || !strings.Contains(p.body, "That did not work") {
				t.Errorf("%s to %s: status %d, want %d: %s", row.name, path, p.StatusCode, row.status, p.body)
			}
		}
	}
	if p := b.do(http.MethodPost, w.url+"/login?"+good, "", "Content-Type", formType); p.StatusCode != 400 {
		t.Errorf("name and password in the address: status %d", p.StatusCode)
	}
}
