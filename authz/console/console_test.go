package console

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/grant"
	"github.com/latchkey-ace/latchkey/storage"
)

var evening = time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)

// house is a console over a real store in which Alice lives.
type house struct {
	*Console
	t     *testing.T
	store authz.Store
	now   time.Time
	log   *bytes.Buffer
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, now: evening, log: &bytes.Buffer{}}
	clock := func() time.Time { return h.now }
	var err error
	h.store, err = storage.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "as.db"), storage.Options{Key: storage.StoreKey{1}, Now: clock})
	h.must(err)
	t.Cleanup(func() { h.must(h.store.Close()) })
	server, err := authz.New(t.Context(), "https://as.example", h.store, grant.New(rand.Reader), authz.Options{Now: clock})
	h.must(err)
	h.Console, err = New(server, slog.New(slog.NewTextHandler(h.log, nil)))
	h.must(err)
	hash, err := HashPassword(password)
	h.must(err)
	h.must(h.store.AddUser(t.Context(), authz.User{Name: "alice", PasswordHash: hash, CreatedAt: evening}))
	return h
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// signIn tries a password and returns the cookies that were set.
func (h *house) signIn(name, typed string) (bool, []*http.Cookie) {
	h.t.Helper()
	w := httptest.NewRecorder()
	ok, err := h.SignIn(w, httptest.NewRequestWithContext(h.t.Context(), http.MethodPost, "/login", nil), name, typed)
	h.must(err)
	return ok, w.Result().Cookies()
}

func (h *house) with(cookies ...*http.Cookie) *http.Request {
	r := httptest.NewRequestWithContext(h.t.Context(), http.MethodGet, "/authorize", nil)
	for _, c := range cookies {
		r.AddCookie(c)
	}
	return r
}

func (h *house) lastEntry() authz.AuditEntry {
	h.t.Helper()
	all, err := h.store.AuditTail(h.t.Context(), 1)
	h.must(err)
	if len(all) != 1 {
		h.t.Fatal("nothing is on record")
	}
	return all[0]
}

func TestSession(t *testing.T) {
	h := newHouse(t)
	ok, cookies := h.signIn("alice", password)
	if !ok || len(cookies) != 2 || cookies[1].Name != "__Host-latchkey-browser" {
		t.Fatalf("signed in %v with cookies %v", ok, cookies)
	}
	c := cookies[0]
	if c.Name != "__Host-latchkey" || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteLaxMode || c.MaxAge != 12*60*60 {
		t.Errorf("cookie %v", c)
	}
	if p, ok := h.Person(h.with(c)); !ok || p.Name != "alice" {
		t.Errorf("got %q, %v", p.Name, ok)
	}
	if e := h.lastEntry(); e.Event != "login" || e.Result != "granted" || e.User != "alice" {
		t.Errorf("audit says %+v", e)
	}
	_, again := h.signIn("alice", password)
	if again[0].Value == c.Value {
		t.Error("two sessions have one id")
	}
	forged := *c
	forged.Value = c.Value[:42] + "?"
	for name, r := range map[string]*http.Request{
		"no cookie": h.with(), "another name": h.with(&http.Cookie{Name: "latchkey", Value: c.Value}), "another value": h.with(&forged),
		"an empty value": h.with(&http.Cookie{Name: c.Name}),
	} {
		if p, ok := h.Person(r); ok {
			t.Errorf("%s: signed in as %q", name, p.Name)
		}
	}
	h.now = h.now.Add(authz.LoginLife)
	if _, ok := h.Person(h.with(c)); ok {
		t.Error("a session outlives its twelve hours")
	}
}

// TestWrongPasswords: nothing is set, and nothing tells an unknown name from a wrong password.
func TestWrongPasswords(t *testing.T) {
	h := newHouse(t)
	tests := []struct{ name, user, typed, onRecord string }{
		{"a wrong password", "alice", password + "!", "alice"},
		{"an empty password", "alice", "", "alice"},
		{"an unknown name", "mallory", password, ""},
		{"no name", "", password, ""},
		{"the password typed as the name", password, "alice", ""},
		{"a name in another case", "Alice", password, ""},
		{"a name with a zero byte", "alice\x00", password, ""},
		{"a very long name", strings.Repeat("a", 65), password, ""},
		{"a very long password", "alice", strings.Repeat("a", MaxPassword+1), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ok, cookies := h.signIn(tt.user, tt.typed)
			if ok || len(cookies) != 0 {
				t.Errorf("signed in %v with cookies %v", ok, cookies)
			}
			if e := h.lastEntry(); e.Event != "login" || e.Result != "refused" || e.Reason != "wrong name or password" || e.User != tt.onRecord {
				t.Errorf("audit says %+v", e)
			}
		})
	}
	all, err := h.store.AuditTail(t.Context(), 100)
	h.must(err)
	for _, e := range all {
		if strings.Contains(e.User+e.Reason+e.Client, password) {
			t.Errorf("a password stands on record: %+v", e)
		}
	}
}

// TestUnknownNamesAreHashedToo: with all places taken an unknown name waits like a known one, so it costs the same.
func TestUnknownNamesAreHashedToo(t *testing.T) {
	h := newHouse(t)
	for range parallelHashes {
		h.hashing <- struct{}{}
	}
	for _, name := range []string{"alice", "mallory"} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/login", nil)
		if ok, err := h.SignIn(httptest.NewRecorder(), r, name, password); ok || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: got %v, %v", name, ok, err)
		}
		cancel()
	}
}

// hangsUp is a store that is about to note a decision when the browser closes the connection.
type hangsUp struct {
	authz.Store
	hangUp context.CancelFunc
}

func (s hangsUp) Record(ctx context.Context, e authz.AuditEntry) error {
	s.hangUp()
	return s.Store.Record(ctx, e)
}

// TestGuessesStayOnRecord: hanging up before the answer does not keep a guess out of the audit log.
func TestGuessesStayOnRecord(t *testing.T) {
	h := newHouse(t)
	ctx, hangUp := context.WithCancel(t.Context())
	server, err := authz.New(t.Context(), "https://as.example", hangsUp{h.store, hangUp}, grant.New(rand.Reader), authz.Options{Now: func() time.Time { return h.now }})
	h.must(err)
	h.server = server
	ok, err := h.SignIn(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodPost, "/login", nil), "alice", "a wrong guess")
	if ok || err != nil || ctx.Err() == nil {
		t.Errorf("got %v, %v", ok, err)
	}
	if e := h.lastEntry(); e.Result != "refused" || e.User != "alice" {
		t.Errorf("audit says %+v", e)
	}
}

// TestDamagedRecord: a hash nobody can check is our fault, not the person's, and not a way in.
func TestDamagedRecord(t *testing.T) {
	h := newHouse(t)
	h.must(h.store.AddUser(t.Context(), authz.User{Name: "bob", PasswordHash: "$2y$10$x", CreatedAt: evening}))
	ok, err := h.SignIn(httptest.NewRecorder(), h.with(), "bob", password)
	if ok || !errors.Is(err, errPasswordHash) {
		t.Errorf("got %v, %v", ok, err)
	}
}

func TestSeal(t *testing.T) {
	alice, bob := Person{Name: "alice", session: "s1"}, Person{Name: "alice", session: "s2"}
	seal := alice.Seal("client_id=phone", "/door:GET")
	if !alice.Sealed("client_id=phone", "/door:GET", seal) {
		t.Fatal("her own seal does not hold")
	}
	for name, ok := range map[string]bool{
		"another session":  bob.Sealed("client_id=phone", "/door:GET", seal),
		"another request":  alice.Sealed("client_id=phone&x", "/door:GET", seal),
		"other rights":     alice.Sealed("client_id=phone", "/door:GET,PUT", seal),
		"no rights":        alice.Sealed("client_id=phone", "", seal),
		"moved boundary":   alice.Sealed("t\x00client_id=phone", "/door:GE", seal),
		"no seal":          alice.Sealed("client_id=phone", "/door:GET", ""),
		"a seal cut short": alice.Sealed("client_id=phone", "/door:GET", seal[:len(seal)-1]),
		"a longer seal":    alice.Sealed("client_id=phone", "/door:GET", seal+"A"),
		"nobody's session": Person{}.Sealed("client_id=phone", "/door:GET", seal),
	} {
		if ok {
			t.Errorf("%s: the seal holds", name)
		}
	}
	if strings.Contains(seal, "s1") {
		t.Error("the seal shows the session")
	}
}

const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>'{{.}}`

// TestPages: every page has its headers, and nothing a stranger chose becomes markup.
func TestPages(t *testing.T) {
	h := newHouse(t)
	consent := Consent{App: evil, Device: evil, Actions: []string{evil}, Request: evil, Rights: evil, Return: "http://127.0.0.1:51004", Once: true, Until: evening}
	tests := []struct {
		name   string
		show   func(w http.ResponseWriter)
		status int
		form   string // form-action
		says   []string
	}{
		{"sign in", func(w http.ResponseWriter) {
			h.ShowSignIn(w, SignInPage{Request: evil, Return: "http://127.0.0.1:51004"})
		}, 200, "'self' http://127.0.0.1:51004", []string{`action="/login"`, `name="user"`, `type="password"`, `autocomplete="current-password"`}},
		{"sign in again", func(w http.ResponseWriter) { h.ShowSignIn(w, SignInPage{Request: evil, Again: true}) }, 401, "'self'", []string{"do not go together", `role="alert"`}},
		{"consent", func(w http.ResponseWriter) { h.ShowConsent(w, Person{Name: evil, session: "s"}, consent) }, 200, "'self' http://127.0.0.1:51004", []string{`action="/authorize"`, "works once", "22 November 2026", `value="no"`}},
		{"error", func(w http.ResponseWriter) { h.ShowError(w, 418, evil, evil) }, 418, "'none'", []string{"That did not work"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			tt.show(w)
			body := w.Body.String()
			if w.Code != tt.status {
				t.Errorf("status %d, want %d", w.Code, tt.status)
			}
			for _, says := range tt.says {
				if !strings.Contains(body, says) {
					t.Errorf("the page lacks %q", says)
				}
			}
			if strings.Contains(body, "<script") || strings.Contains(body, "<img") || !strings.Contains(body, "&lt;script&gt;") {
				t.Errorf("what a stranger chose is markup: %s", body)
			}
			policy := "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'; form-action " + tt.form
			for name, want := range map[string]string{
				"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
				"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Content-Security-Policy": policy,
			} {
				if got := strings.TrimSpace(w.Header().Get(name)); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestConsentWithoutEnd(t *testing.T) {
	h := newHouse(t)
	w := httptest.NewRecorder()
	h.ShowConsent(w, Person{Name: "alice"}, Consent{App: "phone", Device: "door", Actions: []string{"unlock"}})
	if body := w.Body.String(); !strings.Contains(body, "at any time") || strings.Contains(body, "works once") || strings.Contains(body, "0001") {
		t.Errorf("the page says %s", body)
	}
}

// TestBrokenPage: a page that cannot be made says so plainly and leaves no half.
func TestBrokenPage(t *testing.T) {
	h := newHouse(t)
	w := httptest.NewRecorder()
	h.show(w, http.StatusOK, "signin.html", "'self'", struct{}{})
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "<") || h.log.Len() == 0 {
		t.Errorf("status %d: %s; log: %s", w.Code, w.Body, h.log)
	}
}

// F91: a suspended person is not signed in and cannot sign in, and gets no other answer than for a wrong password.
func TestSuspendedPerson(t *testing.T) {
	h := newHouse(t)
	_, cookies := h.signIn("alice", password)
	if p, ok := h.Person(h.with(cookies...)); !ok || p.Name != "alice" {
		t.Fatalf("got %v, %v", p, ok)
	}
	h.must(h.store.SuspendUser(t.Context(), "alice", h.now))
	if p, ok := h.Person(h.with(cookies...)); ok {
		t.Errorf("the session of a suspended person is good: %+v", p)
	}
	if ok, set := h.signIn("alice", password); ok || len(set) != 0 {
		t.Errorf("got %v and %v", ok, set)
	}
	if e := h.lastEntry(); e.Result != "refused" || e.Reason != "the person is suspended" || e.User != "alice" {
		t.Errorf("on record is %+v", e)
	}
	h.signIn("alice", "wrong password")
	if e := h.lastEntry(); e.Reason != "wrong name or password" {
		t.Errorf("on record is %+v", e)
	}
	h.must(h.store.SuspendUser(t.Context(), "alice", time.Time{}))
	if _, ok := h.Person(h.with(cookies...)); !ok {
		t.Error("the session did not come back with the person")
	}
	if ok, _ := h.signIn("alice", password); !ok {
		t.Error("a person who may go on cannot sign in")
	}
}
