package httpapi

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/console"
	"github.com/latchkey-ace/latchkey/authz/policy"
	"github.com/latchkey-ace/latchkey/authz/throttle"
	"github.com/latchkey-ace/latchkey/pop/aif"
)

// device is the page where a person types the code that an app without a browser shows (RFC 8628 §3.3). A code in the
// address is filled in, and the question is asked all the same: the address may have come from somebody else.
func (f *face) device(w http.ResponseWriter, r *http.Request) {
	typed := r.URL.Query().Get("user_code")
	person, ok := f.console.Person(r)
	switch {
	case !ok:
		f.console.ShowSignIn(w, console.SignInPage{Code: typed, Device: true})
	case typed == "":
		f.console.ShowCodeEntry(w, console.CodeEntry{})
	default:
		f.askAbout(w, r, person, typed)
	}
}

// askAbout shows what the code is about.
func (f *face) askAbout(w http.ResponseWriter, r *http.Request, person console.Person, typed string) {
	q, ok := f.question(w, r, person, typed)
	if !ok {
		return
	}
	d, err := f.server.Preview(r.Context(), q.Authorization, person.Name)
	var refused *policy.RefusedError
	if errors.As(err, &refused) {
		err = nil
		if r.Method == http.MethodPost { // a link that somebody sent answers nothing
			err = f.server.AnswerDevice(r.Context(), q, person.Name, nil)
		}
		if err == nil || errors.Is(err, authz.ErrNotFound) {
			f.console.ShowError(w, http.StatusForbidden, "You cannot allow this: "+refused.Why()+".", "Ask the owner of "+q.Device.Name+".")
			return
		}
	}
	if err != nil {
		f.broken(w, err)
		return
	}
	f.console.ShowDeviceConsent(w, person, console.Consent{
		App: appName(&q.Client), Looked: looked(&q.Client, q.Request.Verdict), Device: q.Device.Name, Actions: q.Device.Names(d.Rights), Until: d.Until, Once: len(d.Once) > 0,
		Request: q.UserCode, Rights: d.Rights.String(),
	})
}

func (f *face) question(w http.ResponseWriter, r *http.Request, person console.Person, typed string) (authz.DeviceQuestion, bool) {
	var limited *throttle.Error
	if errors.As(f.server.Limits().Guess(throttle.UserCode, person.Name), &limited) {
		f.tooManyTries(w, limited)
		return authz.DeviceQuestion{}, false
	}
	q, err := f.server.DeviceQuestion(r.Context(), typed)
	if err == nil {
		f.server.Limits().Succeeded(throttle.UserCode, person.Name)
	}
	if errors.Is(err, authz.ErrNotFound) {
		f.console.ShowCodeEntry(w, console.CodeEntry{Again: true})
		return q, false
	}
	if err != nil {
		f.broken(w, err)
		return q, false
	}
	return q, true
}

// answerDevice takes a code that was typed, or the answer to the question about it.
func (f *face) answerDevice(w http.ResponseWriter, r *http.Request) {
	form, ok := f.form(w, r)
	if !ok {
		return
	}
	person, signedIn := f.console.Person(r)
	code, rights := form.Get("request"), form.Get("rights")
	switch {
	case !signedIn:
		f.console.ShowSignIn(w, console.SignInPage{Code: form.Get("user_code"), Device: true})
	case form.Get("answer") == "":
		f.askAbout(w, r, person, strings.TrimSpace(form.Get("user_code")))
	case !person.Sealed("device "+code, rights, form.Get("seal")):
		f.console.ShowError(w, http.StatusForbidden, "This answer does not belong to a question we asked you.", "Type the code again.")
	default:
		f.decideDevice(w, r, person, form)
	}
}

// decideDevice writes the answer down. A yes is for the rights that were shown.
func (f *face) decideDevice(w http.ResponseWriter, r *http.Request, person console.Person, form url.Values) {
	q, ok := f.question(w, r, person, form.Get("request"))
	if !ok {
		return
	}
	var agreed aif.Rights
	if form.Get("answer") == "yes" {
		var err error
		if agreed, err = aif.ParseText(form.Get("rights")); err != nil {
			f.broken(w, err) // they are sealed, so we wrote them
			return
		}
	}
	err := f.server.AnswerDevice(r.Context(), q, person.Name, agreed)
	switch {
	case errors.Is(err, authz.ErrNotFound):
		f.console.ShowError(w, http.StatusConflict, "This was answered already.", "If it was not you, begin again on the other screen.")
	case err != nil:
		f.broken(w, err)
	default:
		f.console.ShowError(w, http.StatusOK, "Thank you. That is noted.", "Go back to the other screen; it goes on by itself.")
	}
}

func (f *face) loginToDevice(w http.ResponseWriter, r *http.Request, form url.Values) {
	ok, err := f.console.SignIn(w, r, form.Get("user"), form.Get("password"))
	var limited *throttle.Error
	switch {
	case errors.As(err, &limited):
		f.tooManyTries(w, limited)
	case err != nil:
		f.broken(w, err)
	case !ok:
		f.console.ShowSignIn(w, console.SignInPage{Code: form.Get("user_code"), Device: true, Again: true})
	default:
		leave(w, r, "/device?"+url.Values{"user_code": {form.Get("user_code")}}.Encode())
	}
}

// appName is how people know an app.
func appName(c *authz.Client) string {
	if c.Settings.Registered != nil && c.Name != "" { // it chose the name itself, perhaps another's
		return c.Name + " (" + c.ID + ")"
	}
	return cmp.Or(c.Name, c.ID)
}
