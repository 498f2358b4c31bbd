package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/httpapi/origin"
	"github.com/latchkey-ace/latchkey/pop/ace"
)

// Mediation is what a mediator stands before: an authorization server, perhaps of another make, that knows its clients by secrets.
type Mediation struct {
	// Endpoints are those of the other server, by what they are called here: token, par, device_authorization, revoke. What is not
	// named is not there.
	Endpoints map[string]*url.URL
	Secrets   map[string]string // by client id, as the other server gave them; they are sent as HTTP Basic (RFC 6749 §2.3.1)
	Client    *http.Client      // nil: one that trusts the system's authorities
}

// Mediated are the names that an endpoint may have.
var Mediated = []string{"token", "par", "device_authorization", "revoke"}

// Bounds of a mediator.
const (
	forwardTime  = 10 * time.Second // until the other server has answered; apps give up soon after
	maxForwarded = 64 << 10         // bytes of its answer: a token response has under 8 KiB
	maxForwards  = 128              // at once: what waits longer is better told to come back
)

// mediator lets apps in that somebody vouches for, and adds the secret that they do not hold.
type mediator struct {
	face   *face
	to     Mediation
	places chan struct{} // holds one for each request that is being forwarded
}

// NewMediator makes the handler of a server that grants nothing itself (R206): its clients are registered with a method by which app
// instances show themselves, and what they then ask is forwarded, once and unchanged, with the client's secret for the other server.
// A proof is spent before that, so an answer that got lost is asked for again with a new one.
func NewMediator(server *authz.Server, log *slog.Logger, o Options, to Mediation) (http.Handler, error) {
	if to.Endpoints["token"] == nil || len(to.Secrets) == 0 {
		return nil, errors.New("a mediator needs the other server's token endpoint, and a client's secret")
	}
	if to.Client == nil {
		to.Client = &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}
	}
	client := *to.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // a secret goes to nobody else
	to.Client = &client
	f := newFace(server, nil, log, o)
	m := &mediator{face: f, to: to, places: make(chan struct{}, maxForwards)}
	mux := http.NewServeMux()
	for _, name := range Mediated {
		if at := to.Endpoints[name]; at != nil {
			mux.HandleFunc("POST "+issuerPath(server.Issuer())+"/"+name, func(w http.ResponseWriter, r *http.Request) { m.serve(w, r, at) })
		}
	}
	mux.HandleFunc("POST "+issuerPath(server.Issuer())+"/attestation-challenge", f.giveChallenge)
	if o.Platforms.Any() {
		mux.HandleFunc("POST "+issuerPath(server.Issuer())+"/attestation", f.vouch)
	}
	return http.NewCrossOriginProtection().Handler(f.paced(mux)), nil
}

func (m *mediator) serve(w http.ResponseWriter, r *http.Request, at *url.URL) {
	in, body, err := mediatedForm(w, r)
	if err != nil {
		m.face.tokenError(w, err)
		return
	}
	client, err := m.admit(r, in)
	if err != nil {
		m.face.tokenError(w, err)
		return
	}
	select {
	case m.places <- struct{}{}:
		defer func() { <-m.places }()
	default:
		m.face.tokenError(w, fmt.Errorf("%w: too many requests at once", authz.ErrUnavailable))
		return
	}
	answer, err := m.forward(r, at, client, body)
	if err != nil {
		m.face.tokenError(w, err)
		return
	}
	m.tell(w, answer)
}

// mediatedForm reads the request of an app that holds no secret.
func mediatedForm(w http.ResponseWriter, r *http.Request) (*ace.TokenRequest, []byte, error) {
	refuse := func(why string) (*ace.TokenRequest, []byte, error) {
		return nil, nil, &ace.Error{Code: ace.InvalidRequest, Description: why}
	}
	if r.URL.RawQuery != "" {
		return refuse("parameters belong in the body, not in the address")
	}
	form, err := parseForm(w, r)
	var below *httpError
	switch {
	case errors.As(err, &below):
		return nil, nil, err
	case err != nil:
		return refuse("the form is malformed")
	case len(r.Header.Values("Authorization")) > 0 || form.Has("client_secret") || form.Has("client_assertion") || form.Has("client_assertion_type"):
		return refuse("the app shows itself, and sends no other credential: this server adds the client's secret")
	}
	for name, values := range form {
		if len(values) > 1 && name != "resource" { // RFC 8707 §2 lets that one be repeated
			return refuse(fmt.Sprintf("%.64q is there more than once", name))
		}
	}
	return &ace.TokenRequest{ClientID: form.Get("client_id")}, bodyOf(r), nil
}

// admit authenticates the app instance, and spends what it has shown.
func (m *mediator) admit(r *http.Request, in *ace.TokenRequest) (client string, err error) {
	by, err := m.face.identify(r, in)
	if err == nil && by.Attested == nil {
		err = &ace.Error{Code: ace.InvalidClient, Description: "unknown client or wrong credentials"}
	}
	if err = m.face.admit(r, in.ClientID, &by.Client, err); err != nil {
		return "", err
	}
	if _, ours := m.to.Secrets[by.Client.ID]; !ours {
		return "", fmt.Errorf("client %q has no secret for the other server", by.Client.ID)
	}
	if err := m.face.server.Spend(r.Context(), by.Uses...); err != nil {
		return "", err
	}
	m.face.server.Mediated(r.Context(), by.Client.ID, by.Attested)
	return by.Client.ID, nil
}

// forwardedAnswer is what the other server answered.
type forwardedAnswer struct {
	status int
	header http.Header
	body   []byte
}

var (
	errForeign = errors.New("the other server's answer is no answer of a token endpoint")
	errSecret  = errors.New("the other server refuses the client's secret")
)

// forward asks the other server once. Nothing of the app's headers goes on but what the protocol needs.
func (m *mediator) forward(r *http.Request, at *url.URL, client string, body []byte) (*forwardedAnswer, error) {
	ctx, cancel := context.WithTimeout(r.Context(), forwardTime)
	defer cancel()
	on, err := http.NewRequestWithContext(ctx, http.MethodPost, at.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	on.Header.Set("Content-Type", ace.MediaTypeForm)
	on.Header.Set("Accept", ace.MediaTypeJSON)
	on.SetBasicAuth(url.QueryEscape(client), url.QueryEscape(m.to.Secrets[client]))
	if proofs := r.Header.Values(headerDPoP); len(proofs) == 1 {
		on.Header.Set(headerDPoP, proofs[0]) // it holds here and there, where both are known by one address
	}
	if from := origin.From(r.Context()).Address; from.IsValid() {
		on.Header.Set("X-Forwarded-For", from.String())
	}
	answer, err := m.to.Client.Do(on)
	if err != nil {
		return nil, fmt.Errorf("%w: the other server: %w", authz.ErrUnavailable, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxForwarded+1))
	if err != nil {
		return nil, fmt.Errorf("%w: the other server: %w", authz.ErrUnavailable, err)
	}
	return judgeForwarded(&forwardedAnswer{answer.StatusCode, answer.Header, text})
}

// judgeForwarded lets pass what a token endpoint may answer: nothing, or a JSON object.
func judgeForwarded(a *forwardedAnswer) (*forwardedAnswer, error) {
	var said struct {
		Error string `json:"error"`
	}
	broken := len(a.body) > maxForwarded || len(a.body) > 0 && json.Unmarshal(a.body, &said) != nil
	switch {
	case broken && a.status >= 500:
		return nil, fmt.Errorf("%w: the other server: %d", authz.ErrUnavailable, a.status)
	case broken, a.status < 200, a.status >= 300 && a.status < 400:
		return nil, errForeign
	case said.Error == ace.InvalidClient.String():
		return nil, errSecret // it is not the app's
	}
	return a, nil
}

// tell passes on the answer, and of its headers what an app can use.
func (m *mediator) tell(w http.ResponseWriter, a *forwardedAnswer) {
	h := w.Header()
	for _, name := range []string{"Retry-After", headerNonce, "Www-Authenticate"} {
		if values := a.header.Values(name); len(values) > 0 {
			h[name] = values
		}
	}
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if len(a.body) > 0 {
		h.Set("Content-Type", "application/json")
	}
	w.WriteHeader(a.status)
	if _, err := w.Write(a.body); err != nil {
		m.face.log.Debug("mediated answer", "err", err)
	}
}
