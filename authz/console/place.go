package console

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"time"

	"github.com/latchkey-ace/latchkey/authz/httpapi/origin"
	"github.com/latchkey-ace/latchkey/authz/throttle"
)

// browserCookie recognises a browser that somebody signed in with. It opens nothing: its bearer only is not held up by what
// strangers guess.
const (
	browserCookie = "__Host-latchkey-browser"
	browserLife   = 400 * 24 * time.Hour // as long as browsers keep a cookie
	browserSize   = 22                   // characters of 128 bits
)

// placeOf tells where a person sits.
func placeOf(r *http.Request) throttle.Place {
	var p throttle.Place
	if a := origin.From(r.Context()).Address; a.IsValid() && !a.IsLoopback() {
		p.Network = throttle.SourceOf(a)
	}
	if cookie, err := r.Cookie(browserCookie); err == nil && len(cookie.Value) == browserSize {
		p.Browser = cookie.Value
	}
	return p
}

// recognise lets the browser be known from now on, by a new value if it has none.
func recognise(w http.ResponseWriter, browser string) string {
	if browser == "" {
		value := make([]byte, 16)
		_, _ = rand.Read(value) // it does not fail
		browser = base64.RawURLEncoding.EncodeToString(value)
	}
	http.SetCookie(w, &http.Cookie{
		Name: browserCookie, Value: browser, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode,
		MaxAge: int(browserLife / time.Second),
	})
	return browser
}

// account names an account in counts and on record: what was typed may be a password, so only a hash of it.
func account(name string) string {
	sum := sha256.Sum256([]byte(name))
	return base64.RawURLEncoding.EncodeToString(sum[:6])
}
