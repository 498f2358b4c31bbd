package httpapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/latchkey-ace/latchkey/pop/ace"
)

// credentialNames are the parameters with which a client proves itself: they are no part of what it asks.
var credentialNames = []string{"client_secret", "client_assertion", "client_assertion_type"}

// push answers pushed authorization requests (RFC 9126 §2).
func (f *face) push(w http.ResponseWriter, r *http.Request) {
	sender, form, err := f.asking(w, r)
	if err != nil {
		f.tokenError(w, err)
		return
	}
	if form.Has("request_uri") { // RFC 9126 §2.1
		f.tokenError(w, &ace.Error{Code: ace.InvalidRequest, Description: "request_uri cannot be pushed"})
		return
	}
	caller, err := f.bind(r, sender, form)
	if err != nil {
		f.tokenError(w, err)
		return
	}
	asked := authorizeRequest(form)
	if caller.Attested != nil {
		asked.Verdict = caller.Attested.Verdict
	}
	uri, life, err := f.server.Push(r.Context(), caller.Client, asked, form.Encode())
	if err != nil {
		f.tokenError(w, err)
		return
	}
	f.write(w, http.StatusCreated, map[string]any{"request_uri": uri, "expires_in": int(life / time.Second)})
}

// askDevice answers device authorization requests (RFC 8628 §3.1).
func (f *face) askDevice(w http.ResponseWriter, r *http.Request) {
	sender, form, err := f.asking(w, r)
	if err != nil {
		f.tokenError(w, err)
		return
	}
	caller, err := f.bind(r, sender, form)
	if err != nil {
		f.tokenError(w, err)
		return
	}
	d, err := f.server.AuthorizeDevice(r.Context(), caller, authorizeRequest(form))
	if err != nil {
		f.tokenError(w, err)
		return
	}
	page := f.server.Issuer() + "/device"
	f.write(w, http.StatusOK, map[string]any{
		"device_code": d.DeviceCode, "user_code": d.UserCode, "verification_uri": page,
		"verification_uri_complete": page + "?user_code=" + d.UserCode,
		"expires_in":                int(d.ExpiresIn / time.Second), "interval": int(d.Interval / time.Second),
	})
}

// asking reads a form in which a client asks for something, and finds out who asks. What it gives back is what is asked.
func (f *face) asking(w http.ResponseWriter, r *http.Request) (sender, url.Values, error) {
	if r.URL.RawQuery != "" {
		return sender{}, nil, &ace.Error{Code: ace.InvalidRequest, Description: "parameters belong in the body, not in the address"}
	}
	form, err := parseForm(w, r)
	var below *httpError
	if err != nil && !errors.As(err, &below) {
		err = &ace.Error{Code: ace.InvalidRequest, Description: "the form is malformed"}
	}
	if err != nil {
		return sender{}, nil, err
	}
	for name, values := range form {
		if len(values) > 1 {
			return sender{}, nil, &ace.Error{Code: ace.InvalidRequest, Description: "a parameter is given twice: " + name}
		}
	}
	by, err := f.authenticate(r, &ace.TokenRequest{
		ClientID: form.Get("client_id"), ClientSecret: form.Get("client_secret"),
		AssertionType: form.Get("client_assertion_type"), Assertion: form.Get("client_assertion"),
	})
	if err = f.admit(r, form.Get("client_id"), &by.Client, err); err != nil {
		return sender{}, nil, err
	}
	for _, name := range credentialNames {
		form.Del(name)
	}
	form.Set("client_id", by.Client.ID)
	return by, form, nil
}

func (f *face) write(w http.ResponseWriter, status int, answer any) {
	body, err := json.Marshal(answer)
	if err != nil {
		f.tokenError(w, err)
		return
	}
	writeJSON(w, status, body)
}
