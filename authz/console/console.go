// Package console is what people see: the sign-in page, the page that asks whether an app may do something, and the
// page that says what went wrong. It uses no protocol words and works without scripts.
//
// It decides nothing: authz.Server does. Start from New.
package console

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
)

// cookieName has the __Host- prefix: the browser then insists on Secure, on Path=/ and on this very host.
const cookieName = "__Host-latchkey"

// parallelHashes bounds the sign-ins being checked at once: 4 × 19 MiB.
const parallelHashes = 4

//go:embed pages/*.html
var pageFiles embed.FS

// Console shows pages and keeps people signed in. It is safe for concurrent use.
type Console struct {
	server  *authz.Server
	pages   *template.Template
	log     *slog.Logger
	hashing hashing
	dummy   string // compared when the person is unknown, so that this takes as long
}

// New makes a Console.
func New(server *authz.Server, log *slog.Logger) (*Console, error) {
	pages, err := template.ParseFS(pageFiles, "pages/*.html")
	if err != nil {
		return nil, err
	}
	return &Console{server: server, pages: pages, log: log, hashing: make(hashing, parallelHashes), dummy: nobodysHash()}, nil
}

// Person is who is signed in on a request, with the session that proves it.
type Person struct {
	Name    string
	session string
}

// Consent is what the question page shows. Request and Rights come back with the answer, unchanged: the request is
// checked anew, and yes means these rights, whatever the person may have got in the meantime.
type Consent struct {
	App     string
	Looked  Looked
	Device  string
	Actions []string
	Until   time.Time
	Once    bool
	Request string
	Rights  string // all of Actions as the protocol writes them
	Return  string // origin or scheme the browser will be sent to
}

// Looked is what a person is told of the very copy of the app that asks.
type Looked uint8

// What there is to tell.
const (
	LookedSilent  Looked = iota // nothing: it proved itself in a way that needs no words
	LookedGenuine               // somebody who is trusted has looked at it
	LookedChanged               // it is genuine as far as its phone can be believed
	LookedNobody                // anybody could call himself so
)

var looked = [...]string{
	LookedGenuine: "We checked this copy of the app: it is the real one.",
	LookedChanged: "We checked this copy of the app, but its phone was changed or is not up to date.",
	LookedNobody:  "We could not check that this app is what it calls itself. Say yes only if you have just opened it yourself.",
}

// String is the sentence for people, "" for none.
func (l Looked) String() string { return looked[l] }

// Person finds who is signed in.
func (c *Console) Person(r *http.Request) (Person, bool) {
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return Person{}, false
	}
	login, err := c.server.Store().Login(r.Context(), authz.HashSecret(cookie.Value), c.server.Now())
	if err != nil {
		if !errors.Is(err, authz.ErrNotFound) {
			c.log.Error("login", "err", err)
		}
		return Person{}, false
	}
	if user, err := c.server.Store().User(r.Context(), login.User); err != nil || !user.SuspendedAt.IsZero() {
		if err != nil && !errors.Is(err, authz.ErrNotFound) {
			c.log.Error("login", "err", err)
		}
		return Person{}, false // the session of somebody who is suspended, or not known any more
	}
	return Person{Name: login.User, session: cookie.Value}, true
}

// SignIn checks name and password and starts a session. It reports whether they were right; wrong name, wrong
// password and a suspended person look and last the same. What was typed as a name is noted only if a person has it: it may
// be a password.
//
// Who guesses is refused with a *throttle.Error before anything is compared.
func (c *Console) SignIn(w http.ResponseWriter, r *http.Request, name, password string) (bool, error) {
	from := placeOf(r)
	if err := c.server.Limits().SignIn(account(name), from); err != nil {
		return false, err
	}
	known, refused, err := c.check(r.Context(), name, password)
	if err != nil {
		return false, err
	}
	entry := authz.AuditEntry{At: c.server.Now(), Event: "login", Result: "granted"}
	if known {
		entry.User = name
	}
	if refused != "" {
		entry.Result, entry.Reason = "refused", refused
		return false, c.record(r.Context(), entry)
	}
	value, hash, err := authz.Secret(rand.Reader)
	if err != nil {
		return false, err
	}
	login := authz.Login{Hash: hash, User: name, ExpiresAt: c.server.Now().Add(authz.LoginLife)}
	if err := c.server.Store().AddLogin(r.Context(), login); err != nil {
		return false, err
	}
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		MaxAge: int(authz.LoginLife / time.Second),
	})
	from.Browser = recognise(w, from.Browser)
	c.server.Limits().SignedIn(account(name), from)
	return true, c.record(r.Context(), entry)
}

// record also writes for a browser that has hung up: guesses must be seen.
func (c *Console) record(ctx context.Context, e authz.AuditEntry) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), authz.AuditTime)
	defer cancel()
	return c.server.Store().Record(ctx, e)
}

// check finds why somebody is not let in, "" if they are, and whether there is a person of that name.
func (c *Console) check(ctx context.Context, name, password string) (known bool, refused string, err error) {
	const wrong = "wrong name or password"
	if len(name) > maxName || len(password) > MaxPassword {
		return false, wrong, nil
	}
	user, err := c.server.Store().User(ctx, name)
	known = err == nil
	if err != nil && !errors.Is(err, authz.ErrNotFound) {
		return false, "", err
	}
	stored := user.PasswordHash
	if !known {
		stored = c.dummy
	}
	var ok bool
	var herr error
	if err := c.hashing.run(ctx, func() { ok, herr = checkPassword(stored, password) }); err != nil {
		return false, "", err
	}
	switch {
	case !ok || !known:
		refused = wrong
	case !user.SuspendedAt.IsZero():
		refused = "the person is suspended"
	}
	return known, refused, herr
}

const maxName = 64

// Seal binds the answer of a question page to this session, this very request and the rights that were shown, against
// forged posts. Neither a request nor rights can hold the byte between them.
func (p Person) Seal(request, rights string) string {
	m := hmac.New(sha256.New, []byte(p.session))
	m.Write([]byte("consent\x00" + rights + "\x00" + request))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// Sealed reports whether seal was made for this session, request and rights.
func (p Person) Sealed(request, rights, seal string) bool {
	return hmac.Equal([]byte(p.Seal(request, rights)), []byte(seal))
}

// SignInPage is what the sign-in page carries.
type SignInPage struct {
	Request string
	Return  string // origin or scheme the browser may be sent to right after: some browsers ask the form's page for leave
	Again   bool   // the last try was wrong
	Device  bool   // to answer for another screen, with the code shown there
	Code    string
}

// CodeEntry is the page where the code of another screen is typed.
type CodeEntry struct {
	Again bool // the code that was typed is not, or no longer, good
}

// ShowCodeEntry asks for a code.
func (c *Console) ShowCodeEntry(w http.ResponseWriter, q CodeEntry) {
	status := http.StatusOK
	if q.Again {
		status = http.StatusNotFound
	}
	c.show(w, status, "code.html", "'self'", q)
}

// ShowDeviceConsent asks the person for another screen. Request is the code that stands on it.
func (c *Console) ShowDeviceConsent(w http.ResponseWriter, p Person, q Consent) {
	c.show(w, http.StatusOK, "device.html", "'self'", struct {
		Consent
		Person string
		Seal   string
	}{q, p.Name, p.Seal("device "+q.Request, q.Rights)})
}

// ShowSignIn asks for name and password.
func (c *Console) ShowSignIn(w http.ResponseWriter, q SignInPage) {
	status := http.StatusOK
	if q.Again {
		status = http.StatusUnauthorized
	}
	c.show(w, status, "signin.html", "'self' "+q.Return, q)
}

// ShowConsent asks the person.
func (c *Console) ShowConsent(w http.ResponseWriter, p Person, q Consent) {
	c.show(w, http.StatusOK, "consent.html", "'self' "+q.Return, struct {
		Consent
		Person string
		Seal   string
	}{q, p.Name, p.Seal(q.Request, q.Rights)})
}

// ShowError says what went wrong and what to do.
func (c *Console) ShowError(w http.ResponseWriter, status int, what, next string) {
	c.show(w, status, "error.html", "'none'", struct{ What, Next string }{what, next})
}

// show writes a page. formAction is where its form, redirects included, may lead.
func (c *Console) show(w http.ResponseWriter, status int, page, formAction string, data any) {
	var out bytes.Buffer
	if err := c.pages.ExecuteTemplate(&out, page, data); err != nil {
		c.log.Error("page", "page", page, "err", err)
		http.Error(w, "something went wrong; please try again", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'; form-action "+formAction)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes()) // the person may have gone
}
