package httpapi

import (
	"errors"
	"net/http"
	"strings"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/registration"
	"github.com/latchkey-ace/latchkey/authz/throttle"
	"github.com/latchkey-ace/latchkey/pop/ace"
)

// maxGuessed bounds what of an address stands for a client that is not there, in bytes.
const maxGuessed = 64

// invitation stands for all initial access tokens where guesses are counted: no client has a blank in its id.
const invitation = "an invitation"

// register answers RFC 7591 §3.1 requests: who was invited, then what is wanted, and both are kept together.
func (f *face) register(w http.ResponseWriter, r *http.Request) {
	client, told, err := f.registered(w, r)
	if err != nil {
		f.tokenError(w, f.guessed(r, invitation, err))
		return
	}
	f.tellRegistration(w, http.StatusCreated, &client, told)
}

func (f *face) registered(w http.ResponseWriter, r *http.Request) (authz.Client, authz.Credentials, error) {
	token, err := bearer(r)
	if err != nil {
		return authz.Client{}, authz.Credentials{}, err
	}
	by, err := f.server.Invited(r.Context(), token)
	if err != nil {
		return authz.Client{}, authz.Credentials{}, err
	}
	body, err := metadataBody(w, r)
	if err != nil {
		return authz.Client{}, authz.Credentials{}, err
	}
	client, err := f.described(body, &by)
	if err != nil {
		return authz.Client{}, authz.Credentials{}, f.refuseRegistration(r, "", err)
	}
	told, err := f.server.RegisterClient(r.Context(), by, &client)
	return client, told, err
}

func (f *face) described(body []byte, by *authz.RegistrationToken) (authz.Client, error) {
	m, err := registration.Parse(body)
	if err != nil {
		return authz.Client{}, err
	}
	return m.Client(by.Allowed, f.authMethods())
}

// showRegistration answers RFC 7592 §2.1 requests.
func (f *face) showRegistration(w http.ResponseWriter, r *http.Request) {
	client, token, err := f.managing(r)
	if err != nil {
		f.tokenError(w, err)
		return
	}
	f.tellRegistration(w, http.StatusOK, &client, authz.Credentials{Management: token})
}

// replaceRegistration answers RFC 7592 §2.2 requests.
func (f *face) replaceRegistration(w http.ResponseWriter, r *http.Request) {
	client, token, err := f.managing(r)
	told := authz.Credentials{Management: token}
	if err == nil {
		client, told.Secret, err = f.replaced(w, r, &client)
	}
	if err != nil {
		f.tokenError(w, err)
		return
	}
	f.tellRegistration(w, http.StatusOK, &client, told)
}

func (f *face) replaced(w http.ResponseWriter, r *http.Request, client *authz.Client) (next authz.Client, secret string, err error) {
	body, err := metadataBody(w, r)
	if err != nil {
		return next, "", err
	}
	m, err := registration.ParseUpdate(body, client)
	if err == nil {
		next, err = m.Replace(client, f.authMethods())
	}
	if err != nil {
		return next, "", f.refuseRegistration(r, client.ID, err)
	}
	secret, err = f.server.ReplaceClient(r.Context(), &next)
	return next, secret, err
}

// endRegistration answers RFC 7592 §2.3 requests.
func (f *face) endRegistration(w http.ResponseWriter, r *http.Request) {
	client, _, err := f.managing(r)
	if err == nil {
		err = f.server.UnregisterClient(r.Context(), &client)
	}
	if err != nil {
		f.tokenError(w, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
}

// managing finds the client whose registration a request is about, by its registration access token.
func (f *face) managing(r *http.Request) (client authz.Client, token string, err error) {
	id := r.PathValue("client")
	if token, err = bearer(r); err == nil {
		client, err = f.server.ManagedClient(r.Context(), id, token)
	}
	if err == nil {
		return client, token, f.server.Limits().Allow(throttle.Client, client.ID)
	}
	return client, "", f.guessed(r, id[:min(len(id), maxGuessed)], err)
}

// bearer is the token of a request (RFC 6750 §2.1); in the address or the body there is none.
func bearer(r *http.Request) (string, error) {
	if r.URL.RawQuery != "" {
		return "", &ace.Error{Code: ace.InvalidRequest, Description: "nothing belongs in the address: the token goes into the header Authorization"}
	}
	sent := r.Header.Values("Authorization")
	if len(sent) == 1 {
		if scheme, token, found := strings.Cut(sent[0], " "); found && strings.EqualFold(scheme, "Bearer") && token != "" {
			return token, nil
		}
	}
	return "", &ace.Error{Code: ace.InvalidToken, Description: "send one header Authorization: Bearer and the token"}
}

func metadataBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if mediaType(r) != ace.MediaTypeJSON {
		return nil, &httpError{http.StatusUnsupportedMediaType, "send application/json"}
	}
	return readBody(w, r)
}

func (f *face) refuseRegistration(r *http.Request, client string, err error) error {
	var refused *ace.Error
	if errors.As(err, &refused) {
		f.server.RegistrationRefused(r.Context(), client, refused)
	}
	return err
}

func (f *face) tellRegistration(w http.ResponseWriter, status int, client *authz.Client, told authz.Credentials) {
	body, err := registration.Information(client, registration.Told{Credentials: told, URI: f.server.Issuer() + "/register/" + client.ID})
	if err != nil {
		f.tokenError(w, err)
		return
	}
	writeJSON(w, status, body)
}
