package httpapi

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/authz/console"
	"github.com/latchkey-ace/latchkey/authz/policy"
	"github.com/latchkey-ace/latchkey/authz/throttle"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
)

// authorize answers the browser that an app sent (RFC 6749 §4.1.1): sign in, then ask.
func (f *face) authorize(w http.ResponseWriter, r *http.Request) {
	a, ok := f.check(w, r, r.URL.RawQuery)
	if !ok {
		return
	}
	person, ok := f.console.Person(r)
	if !ok {
		f.console.ShowSignIn(w, console.SignInPage{Request: r.URL.RawQuery, Return: formTarget(a.Request.RedirectURI)})
		return
	}
	d, err := f.server.Preview(r.Context(), a, person.Name)
	var refused *policy.RefusedError
	if errors.As(err, &refused) {
		// Not by Approve, which decides anew: a grant that begins just now would give a code nobody was asked about.
		leave(w, r, f.server.Refuse(r.Context(), a, person.Name, refused))
		return
	}
	if err != nil {
		f.broken(w, err)
		return
	}
	f.console.ShowConsent(w, person, console.Consent{
		App: appName(&a.Client), Looked: looked(&a.Client, a.Request.Verdict), Device: a.Device.Name, Actions: a.Device.Names(d.Rights), Until: d.Until,
		Once: len(d.Once) > 0, Request: r.URL.RawQuery, Rights: d.Rights.String(), Return: formTarget(a.Request.RedirectURI),
	})
}

// answer takes a person's yes or no to the very request and rights that were shown.
func (f *face) answer(w http.ResponseWriter, r *http.Request) {
	form, ok := f.form(w, r)
	if !ok {
		return
	}
	request, rights := form.Get("request"), form.Get("rights")
	person, signedIn := f.console.Person(r)
	if signedIn && !person.Sealed(request, rights, form.Get("seal")) {
		f.console.ShowError(w, http.StatusForbidden, "This answer does not belong to a question we asked you.", "Go back to the app and start again.")
		return
	}
	a, ok := f.check(w, r, request)
	if !ok {
		return
	}
	if !signedIn {
		f.console.ShowSignIn(w, console.SignInPage{Request: request, Return: formTarget(a.Request.RedirectURI)})
		return
	}
	if form.Get("answer") != "yes" {
		leave(w, r, f.server.Deny(r.Context(), a, person.Name))
		return
	}
	f.approve(w, r, a, person.Name, rights)
}

// approve gives a code for the rights that the person saw.
func (f *face) approve(w http.ResponseWriter, r *http.Request, a authz.Authorization, person, rights string) {
	var err error
	if a.Asked, err = aif.ParseText(rights); err != nil {
		f.broken(w, err) // they are sealed, so we wrote them
		return
	}
	to, err := f.server.Approve(r.Context(), a, person)
	if err != nil {
		f.broken(w, err)
		return
	}
	leave(w, r, to)
}

// leave sends the browser on. The address may hold a code, so it is kept out of caches and of the next page's Referer
// (RFC 9700 §4.2.4).
func leave(w http.ResponseWriter, r *http.Request, to string) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// login checks name and password, then goes on with the request that needed them.
func (f *face) login(w http.ResponseWriter, r *http.Request) {
	form, ok := f.form(w, r)
	if !ok {
		return
	}
	if form.Has("device") {
		f.loginToDevice(w, r, form)
		return
	}
	request := form.Get("request")
	a, ok := f.check(w, r, request)
	if !ok {
		return
	}
	ok, err := f.console.SignIn(w, r, form.Get("user"), form.Get("password"))
	var limited *throttle.Error
	if errors.As(err, &limited) {
		f.tooManyTries(w, limited)
		return
	}
	if err != nil {
		f.broken(w, err)
		return
	}
	if !ok {
		f.console.ShowSignIn(w, console.SignInPage{Request: request, Return: formTarget(a.Request.RedirectURI), Again: true})
		return
	}
	// Only the query comes from outside; the path is ours, so this cannot lead elsewhere.
	leave(w, r, "/authorize?"+request)
}

// check parses and checks an authorization request; if it is not good, the browser has been answered.
func (f *face) check(w http.ResponseWriter, r *http.Request, query string) (authz.Authorization, bool) {
	request, repeated, err := f.parseAuthorize(r.Context(), query)
	var nowhere *authz.NoRedirectError
	if errors.As(err, &nowhere) {
		f.console.ShowError(w, http.StatusBadRequest, "We cannot go on: "+nowhere.Reason+".", "Go back to the app and start again.")
		return authz.Authorization{}, false
	}
	if errors.Is(err, authz.ErrUnavailable) {
		f.broken(w, err)
		return authz.Authorization{}, false
	}
	if err != nil {
		f.console.ShowError(w, http.StatusBadRequest, "The app sent something we cannot read.", "Go back to the app and start again.")
		return authz.Authorization{}, false
	}
	a, err := f.server.Authorize(r.Context(), request)
	if err == nil && repeated {
		err = &ace.Error{Code: ace.InvalidRequest, Description: "a parameter is given twice"}
	}
	var wire *ace.Error
	switch {
	case err == nil:
		return a, true
	case errors.As(err, &nowhere):
		f.console.ShowError(w, http.StatusBadRequest, "We cannot go on: "+nowhere.Reason+".", "Tell the maker of the app. Nothing was allowed.")
	case errors.As(err, &wire):
		leave(w, r, f.server.ErrorRedirect(request, wire))
	default:
		f.broken(w, err)
	}
	return authz.Authorization{}, false
}

// parseAuthorize reads the query. Repeated parameters are refused (RFC 6749 §3.1); of client_id and redirect_uri at
// once, of the others by redirect, for which repeated is true. The name stays out of that: it may be anything.
func parseAuthorize(query string) (r authz.AuthorizeRequest, repeated bool, err error) {
	if len(query) > maxQuery {
		return r, false, errors.New("query too long")
	}
	v, err := url.ParseQuery(query)
	if err != nil {
		return r, false, err
	}
	for _, name := range []string{"client_id", "redirect_uri"} {
		if len(v[name]) != 1 {
			return r, false, errors.New(name + " must be given once")
		}
	}
	for name, values := range v {
		repeated = repeated || len(values) > 1 && name != "resource" // several of that are one that is refused as such
	}
	return authorizeRequest(v), repeated, nil
}

// parseAuthorize reads a query, or the pushed request that it names: then nothing else in it counts but who asks (RFC 9126
// §4, RFC 9101 §6.3).
func (f *face) parseAuthorize(ctx context.Context, query string) (authz.AuthorizeRequest, bool, error) {
	v, err := url.ParseQuery(query)
	if err != nil || !v.Has("request_uri") {
		return parseAuthorize(query)
	}
	if len(query) > maxQuery || len(v["request_uri"]) != 1 || len(v["client_id"]) != 1 {
		return authz.AuthorizeRequest{}, false, errors.New("request_uri and client_id must be given once")
	}
	pushed, err := f.server.Pushed(ctx, v.Get("client_id"), v.Get("request_uri"))
	if err != nil {
		return authz.AuthorizeRequest{}, false, err
	}
	r, repeated, err := parseAuthorize(pushed.Query)
	r.Pushed, r.Verdict = string(pushed.Hash), pushed.Verdict
	return r, repeated, err
}

func authorizeRequest(v url.Values) authz.AuthorizeRequest {
	return authz.AuthorizeRequest{
		ResponseType: v.Get("response_type"), ClientID: v.Get("client_id"), RedirectURI: v.Get("redirect_uri"),
		State: v.Get("state"), Scope: v.Get("scope"), Audience: v.Get("audience"),
		CodeChallenge: v.Get("code_challenge"), CodeChallengeMethod: v.Get("code_challenge_method"),
		Details: v.Get("authorization_details"),
		DPoPKey: v.Get("dpop_jkt"), Resource: strings.Join(v["resource"], " "),
	}
}

// form reads a posted form from the body alone.
func (f *face) form(w http.ResponseWriter, r *http.Request) (url.Values, bool) {
	form, err := parseForm(w, r)
	if err == nil {
		return form, true
	}
	status := http.StatusBadRequest
	var below *httpError
	if errors.As(err, &below) {
		status = below.status
	}
	f.console.ShowError(w, status, "We could not read what your browser sent.", "Go back and try again.")
	return nil, false
}

func parseForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if mediaType(r) != ace.MediaTypeForm {
		return nil, &httpError{http.StatusUnsupportedMediaType, "send " + ace.MediaTypeForm}
	}
	body, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	return url.ParseQuery(string(body))
}

func (f *face) broken(w http.ResponseWriter, err error) {
	if errors.Is(err, authz.ErrUnavailable) {
		f.log.Warn("page", "err", err)
		w.Header().Set("Retry-After", retryAfter)
		f.console.ShowError(w, http.StatusServiceUnavailable, "We cannot look that up at the moment.", "Please try again in a minute.")
		return
	}
	f.log.Error("page", "err", err)
	f.console.ShowError(w, http.StatusInternalServerError, "Something is broken on our side.", "Please try again in a minute.")
}

// formTarget is what a form's redirect may lead to, for the page's content security policy; nothing that could end the
// policy's directive stands in it.
func formTarget(redirect string) string {
	u, err := url.Parse(redirect)
	if err != nil || strings.ContainsAny(u.Host, ";, ") {
		return ""
	}
	if u.Host == "" {
		return u.Scheme + ":"
	}
	return u.Scheme + "://" + u.Host
}

// looked is what can be said of the copy of an app that asks; a client that keeps a secret or a key of its own needs no words.
func looked(c *authz.Client, v attest.Verdict) console.Looked {
	switch {
	case v.Kind != attest.None && v.Kind != attest.Development && v.System == attest.SystemDegraded:
		return console.LookedChanged
	case v.Kind != attest.None && v.Kind != attest.Development:
		return console.LookedGenuine
	case c.AuthMethod == authz.AuthNone || c.Attested():
		return console.LookedNobody
	}
	return console.LookedSilent
}
