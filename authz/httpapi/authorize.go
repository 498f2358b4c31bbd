package httpapi

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/console"
	"github.com/latchkey-ace/latchkey/authz/policy"
	"github.com/latchkey-ace/latchkey/pop/ace"
)

// authorize answers the browser that an app sent (RFC 6749 §4.1.1): sign in, then ask.
func (f *face) authorize(w http.ResponseWriter, r *http.Request) {
	a, ok := f.check(w, r, r.URL.RawQuery)
	if !ok {
		return
	}
	person, ok := f.console.Person(r)
	if !ok {
		f.console.ShowSignIn(w, r.URL.RawQuery, false)
		return
	}
	d, err := f.server.Preview(r.Context(), a, person.Name)
	var refused *policy.RefusedError
	if errors.As(err, &refused) {
		f.approve(w, r, a, person) // records the refusal and takes it to the app
		return
	}
	if err != nil {
		f.broken(w, err)
		return
	}
	f.console.ShowConsent(w, person, console.Consent{
		App: a.Client.ID, Device: a.Device.Name, Actions: a.Device.Names(d.Rights), Until: d.Until,
		Once: len(d.Once) > 0, Request: r.URL.RawQuery, Return: formTarget(a.Request.RedirectURI),
	})
}

// answer takes a person's yes or no to the very request that was shown.
func (f *face) answer(w http.ResponseWriter, r *http.Request) {
	form, ok := f.form(w, r)
	if !ok {
		return
	}
	request := form.Get("request")
	person, ok := f.console.Person(r)
	if !ok {
		f.console.ShowSignIn(w, request, false)
		return
	}
	if !person.Sealed(request, form.Get("seal")) {
		f.console.ShowError(w, http.StatusForbidden, "This answer does not belong to a question we asked you.", "Go back to the app and start again.")
		return
	}
	a, ok := f.check(w, r, request)
	if !ok {
		return
	}
	if form.Get("answer") != "yes" {
		http.Redirect(w, r, f.server.Deny(r.Context(), a, person.Name), http.StatusSeeOther)
		return
	}
	f.approve(w, r, a, person)
}

func (f *face) approve(w http.ResponseWriter, r *http.Request, a authz.Authorization, person console.Person) {
	to, err := f.server.Approve(r.Context(), a, person.Name)
	if err != nil {
		f.broken(w, err)
		return
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// login checks name and password, then goes on with the request that needed them.
func (f *face) login(w http.ResponseWriter, r *http.Request) {
	form, ok := f.form(w, r)
	if !ok {
		return
	}
	request := form.Get("request")
	if _, ok := f.check(w, r, request); !ok {
		return
	}
	ok, err := f.console.SignIn(w, r, form.Get("user"), form.Get("password"))
	if err != nil {
		f.broken(w, err)
		return
	}
	if !ok {
		f.console.ShowSignIn(w, request, true)
		return
	}
	// Only the query comes from outside; the path is ours, so this cannot lead elsewhere.
	http.Redirect(w, r, "/authorize?"+request, http.StatusSeeOther)
}

// check parses and checks an authorization request; if it is not good, the browser has been answered.
func (f *face) check(w http.ResponseWriter, r *http.Request, query string) (authz.Authorization, bool) {
	request, repeated, err := parseAuthorize(query)
	if err != nil {
		f.console.ShowError(w, http.StatusBadRequest, "The app sent something we cannot read.", "Go back to the app and start again.")
		return authz.Authorization{}, false
	}
	a, err := f.server.Authorize(r.Context(), request)
	if err == nil && repeated != "" {
		err = &ace.Error{Code: ace.InvalidRequest, Description: repeated + " is given twice"}
	}
	var nowhere *authz.NoRedirectError
	var wire *ace.Error
	switch {
	case err == nil:
		return a, true
	case errors.As(err, &nowhere):
		f.console.ShowError(w, http.StatusBadRequest, "We cannot go on: "+nowhere.Reason+".", "Tell the maker of the app. Nothing was allowed.")
	case errors.As(err, &wire):
		http.Redirect(w, r, f.server.ErrorRedirect(request, wire), http.StatusSeeOther)
	default:
		f.broken(w, err)
	}
	return authz.Authorization{}, false
}

// parseAuthorize reads the query. Repeated parameters are refused (RFC 6749 §3.1); of client_id and redirect_uri at
// once, of the others by redirect, for which repeated names the first.
func parseAuthorize(query string) (r authz.AuthorizeRequest, repeated string, err error) {
	if len(query) > maxQuery {
		return r, "", errors.New("query too long")
	}
	v, err := url.ParseQuery(query)
	if err != nil {
		return r, "", err
	}
	for _, name := range []string{"client_id", "redirect_uri"} {
		if len(v[name]) != 1 {
			return r, "", errors.New(name + " must be given once")
		}
	}
	for name, values := range v {
		if len(values) > 1 {
			repeated = name
		}
	}
	return authz.AuthorizeRequest{
		ResponseType: v.Get("response_type"), ClientID: v.Get("client_id"), RedirectURI: v.Get("redirect_uri"),
		State: v.Get("state"), Scope: v.Get("scope"), Audience: v.Get("audience"),
		CodeChallenge: v.Get("code_challenge"), CodeChallengeMethod: v.Get("code_challenge_method"),
	}, repeated, nil
}

// form reads a posted form from the body alone.
func (f *face) form(w http.ResponseWriter, r *http.Request) (url.Values, bool) {
	body, err := readBody(w, r)
	if err == nil {
		var form url.Values
		if form, err = url.ParseQuery(string(body)); err == nil {
			return form, true
		}
	}
	f.console.ShowError(w, http.StatusBadRequest, "We could not read what your browser sent.", "Go back and try again.")
	return nil, false
}

func (f *face) broken(w http.ResponseWriter, err error) {
	f.log.Error("page", "err", err)
	f.console.ShowError(w, http.StatusInternalServerError, "Something is broken on our side.", "Please try again in a minute.")
}

// formTarget is what the consent form's redirect may lead to, for the page's content security policy.
func formTarget(redirect string) string {
	u, err := url.Parse(redirect)
	if err != nil {
		return ""
	}
	if u.Host == "" {
		return u.Scheme + ":"
	}
	return u.Scheme + "://" + u.Host
}
