// Package httpapi is the authorization server's HTTP face: /authorize, /token, /introspect, /revoke, /jwks and the metadata document
// (RFC 6749, RFC 7009, RFC 7662, RFC 9701, RFC 7636, RFC 8252, RFC 8414, RFC 9207). It parses and writes; authz.Server decides, authz/console shows
// pages. Start from New.
package httpapi

import (
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/authz/attest/platform"
	"github.com/latchkey-ace/latchkey/authz/clientauth"
	"github.com/latchkey-ace/latchkey/authz/console"
	"github.com/latchkey-ace/latchkey/authz/throttle"
	"github.com/latchkey-ace/latchkey/pop/ace"
)

// Bounds of what a stranger may send.
const (
	maxBody  = 16 << 10 // bytes of a form or JSON body; the longest honest one has under 2 KiB
	maxQuery = 4 << 10  // bytes of an /authorize query
)

// retryAfter is how many seconds a client waits for the store to come back.
const retryAfter = "5"

type face struct {
	server  *authz.Server
	console *console.Console
	log     *slog.Logger
	clients *clientauth.Authenticator
	nonces  nonces
	options Options

	challenges nonces
}

// Options of the handler; the zero value is the safe default.
type Options struct {
	Roots     *x509.CertPool // who issues the certificates of clients (tls_client_auth); nil: nobody does
	DPoPNonce bool           // each DPoP proof must hold a nonce of this server (RFC 9449 §8)
	Invited   bool           // who was invited may register a client (RFC 7591)
	// Attesters are those who may vouch for app instances, by the names that clients are registered with.
	Attesters map[string]clientauth.Attester
	// Platforms are those whose evidence this server itself judges, to vouch for instances as the attester AttesterPlatform; nil: none.
	Platforms *platform.Verifiers
}

// New makes the handler of all HTTP endpoints.
func New(server *authz.Server, pages *console.Console, log *slog.Logger, o Options) http.Handler {
	f := newFace(server, pages, log, o)
	mux := f.mux()
	// Forged posts from other sites are stopped here for browsers that say where a post comes from; the sealed
	// request of the consent form stops the others.
	return http.NewCrossOriginProtection().Handler(f.paced(mux))
}

func newFace(server *authz.Server, pages *console.Console, log *slog.Logger, o Options) *face {
	if o.Platforms.Any() {
		o.Attesters = withPlatform(o.Attesters, server)
	}
	f := &face{server: server, console: pages, log: log, nonces: newNonces(server, "DPoP nonce"), challenges: newNonces(server, "challenge"), options: o}
	f.clients = clientauth.New(server.Store(), clientauth.Options{
		Issuer: server.Issuer(), Roots: o.Roots, Now: server.Now, Refused: server.ClientRefused, Attesters: o.Attesters,
		Challenge: func(challenge string) bool { return f.challenges.good(challenge, server.Now()) },
	})
	return f
}

// withPlatform adds this server to those who may vouch.
func withPlatform(others map[string]clientauth.Attester, server *authz.Server) map[string]clientauth.Attester {
	all := map[string]clientauth.Attester{
		authz.AttesterPlatform: {Issuer: server.Issuer(), Keys: server.PlatformKeys, Says: true, Means: attest.Verdict{Kind: attest.Service}},
	}
	for name, a := range others {
		if name != authz.AttesterPlatform {
			all[name] = a
		}
	}
	return all
}

// Serve returns an http.Server with limits on time and header size.
func Serve(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second,
		WriteTimeout: 60 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
	}
}

func (f *face) home(w http.ResponseWriter, _ *http.Request) {
	f.console.ShowError(w, http.StatusOK, "There is nothing to do on this page.", "Open the app of your door or device; it brings you to the right place.")
}

// token answers RFC 6749 §3.2 requests, with the ACE parameters of RFC 9200 in the encodings of D12.
func (f *face) token(w http.ResponseWriter, r *http.Request) {
	in, err := parseToken(w, r)
	if err != nil {
		f.tokenError(w, err)
		return
	}
	by, err := f.identify(r, in)
	if err = f.admit(r, in.ClientID, &by.Client, err); err != nil {
		f.tokenError(w, err)
		return
	}
	caller, err := f.caller(r, by)
	if err != nil {
		f.tokenError(w, err)
		return
	}
	out, err := f.server.Token(r.Context(), caller, in)
	if err = f.guessed(r, by.Client.ID, err); err != nil {
		f.tokenError(w, err)
		return
	}
	body, err := out.JSON()
	if err != nil {
		f.tokenError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, body)
}

// httpError refuses below the level of OAuth.
type httpError struct {
	status int
	text   string
}

func (e *httpError) Error() string { return e.text }

// parseToken reads form or JSON. Parameters in the address are refused: they would end up in logs (RFC 6749 §2.3.1).
func parseToken(w http.ResponseWriter, r *http.Request) (*ace.TokenRequest, error) {
	if r.URL.RawQuery != "" {
		return nil, &ace.Error{Code: ace.InvalidRequest, Description: "parameters belong in the body, not in the address"}
	}
	body, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	switch mediaType(r) {
	case ace.MediaTypeForm:
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, &ace.Error{Code: ace.InvalidRequest, Description: "the form is malformed"}
		}
		return ace.ParseTokenRequestForm(form)
	case ace.MediaTypeJSON, ace.MediaTypeACE:
		return ace.ParseTokenRequestJSON(body)
	}
	return nil, &httpError{http.StatusUnsupportedMediaType, "send application/x-www-form-urlencoded or application/json"}
}

// mediaType is the body's, without parameters; "" if it has none that can be read.
func mediaType(r *http.Request) string {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return kind
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, &httpError{http.StatusRequestEntityTooLarge, "the body is larger than 16 KiB"}
	}
	if err != nil {
		return nil, &httpError{http.StatusBadRequest, "the body ended early"}
	}
	r.Body = &readBefore{body: body}
	return body, nil
}

// readBefore is a body that was read, for those who ask what it was.
type readBefore struct {
	io.ReadCloser // nil: nobody reads it again
	body          []byte
}

// Close does nothing: net/http closes the body that it made.
func (*readBefore) Close() error { return nil }

func bodyOf(r *http.Request) []byte {
	if b, ok := r.Body.(*readBefore); ok {
		return b.body
	}
	return nil
}

// tokenError is the one place where errors become bytes on this face (RFC 6749 §5.2).
func (f *face) tokenError(w http.ResponseWriter, err error) {
	var wire *ace.Error
	var below *httpError
	var limited *throttle.Error
	var busy *authz.BusyError
	status := http.StatusBadRequest
	switch {
	case errors.As(err, &below):
		status, wire = below.status, &ace.Error{Code: ace.InvalidRequest, Description: below.text}
	case errors.As(err, &limited):
		tooMany(w, limited)
		writeJSON(w, http.StatusTooManyRequests, []byte(`{"error":"slow_down","error_description":"too many requests; see Retry-After"}`))
		return
	case errors.Is(err, authz.ErrUnavailable) && !errors.As(err, &wire):
		f.log.Warn("token", "err", err)
		w.Header().Set("Retry-After", retryAfter)
		writeJSON(w, http.StatusServiceUnavailable, []byte(`{"error":"temporarily_unavailable"}`))
		return
	case errors.As(err, &busy):
		w.Header().Set("Retry-After", strconv.Itoa(int(busy.Wait/time.Second)))
		writeJSON(w, http.StatusServiceUnavailable, []byte(`{"error":"temporarily_unavailable","error_description":"this is being done already; see Retry-After"}`))
		return
	case !errors.As(err, &wire):
		f.log.Error("token", "err", err)
		writeJSON(w, http.StatusInternalServerError, []byte(`{"error":"server_error"}`))
		return
	}
	switch wire.Code {
	case ace.UseDPoPNonce:
		w.Header().Set(headerNonce, f.nonces.at(f.server.Now()))
	case ace.InvalidClient:
		status = http.StatusUnauthorized
		w.Header().Set("WWW-Authenticate", `Basic realm="latchkey"`) // no 401 without it (RFC 9110 §15.5.2)
	case ace.InvalidToken:
		status = http.StatusUnauthorized
		w.Header().Set("WWW-Authenticate", `Bearer realm="latchkey", error="invalid_token"`) // RFC 6750 §3
	}
	body, err := wire.JSON()
	if err != nil {
		f.log.Error("token error", "err", err)
		body = []byte(`{"error":"server_error"}`)
	}
	writeJSON(w, status, body)
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may have gone
}
