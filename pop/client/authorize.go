package client

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/pop/ace"
)

// Ask is what a person is asked to allow.
type Ask struct {
	Audience string // the device
	Scope    string // action names or /path:METHOD entries; empty: all the person may do
	Redirect string // registered redirect URI; for Login its port is free (RFC 8252 §7.3)
}

// Code is an authorization code with what redeems it. It is a secret.
type Code struct {
	Value    string
	Verifier string
	Redirect string
}

// String hides the code.
func (Code) String() string { return "[redacted]" }

// GoString hides the code.
func (Code) GoString() string { return "[redacted]" }

// attempt is one authorization request in flight.
type attempt struct {
	url      string
	state    string
	verifier string
	redirect string
}

func (c *Client) begin(ctx context.Context, ask Ask) (attempt, error) {
	state, err := c.random(16)
	if err != nil {
		return attempt{}, err
	}
	verifier, err := c.random(32)
	if err != nil {
		return attempt{}, err
	}
	sum := sha256.Sum256([]byte(verifier))
	q := url.Values{
		"response_type": {"code"}, "client_id": {c.ID}, "redirect_uri": {ask.Redirect}, "state": {state},
		"audience": {ask.Audience}, "code_challenge_method": {"S256"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])},
	}
	if ask.Scope != "" {
		q.Set("scope", ask.Scope)
	}
	if c.prover != nil {
		q.Set("dpop_jkt", c.prover.thumbprint) // RFC 9449 §10
	}
	if c.push {
		if q, err = c.pushed(ctx, q); err != nil {
			return attempt{}, err
		}
	}
	return attempt{url: c.at.Authorization + "?" + q.Encode(), state: state, verifier: verifier, redirect: ask.Redirect}, nil
}

// pushed hands a request to the server and returns the query that stands for it (RFC 9126 §2 and §4): what is asked does
// not go through the browser.
func (c *Client) pushed(ctx context.Context, q url.Values) (url.Values, error) {
	if c.at.Push == "" {
		return nil, errors.New("this server takes no pushed authorization requests")
	}
	var answer struct {
		URI string `json:"request_uri"`
	}
	if err := c.postForm(ctx, c.at.Push, q, http.StatusCreated, &answer); err != nil {
		return nil, fmt.Errorf("pushed authorization request: %w", err)
	}
	if answer.URI == "" {
		return nil, errors.New("pushed authorization request: no request_uri")
	}
	return url.Values{"client_id": {c.ID}, "request_uri": {answer.URI}}, nil
}

func (c *Client) random(n int) (string, error) {
	raw := make([]byte, n)
	if _, err := io.ReadFull(c.Rand, raw); err != nil {
		return "", fmt.Errorf("random: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(raw), nil
}

var errForeignAnswer = errors.New("the answer does not belong to our question")

// asked reports whether an answer is to this question: it has its state.
func (a attempt) asked(q url.Values) bool {
	return subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(a.state)) == 1
}

// end checks the authorization response (RFC 6749 §4.1.2, RFC 9207 §2.4).
func (c *Client) end(a attempt, q url.Values) (Code, error) {
	switch {
	case !a.asked(q):
		return Code{}, fmt.Errorf("%w: state differs", errForeignAnswer)
	case q.Get("iss") != c.issuer:
		return Code{}, fmt.Errorf("%w: iss is not %s", errForeignAnswer, c.issuer)
	case q.Get("error") != "":
		return Code{}, ace.NewError(q.Get("error"), q.Get("error_description"))
	case q.Get("code") == "":
		return Code{}, fmt.Errorf("%w: no code", errForeignAnswer)
	}
	return Code{Value: q.Get("code"), Verifier: a.verifier, Redirect: a.redirect}, nil
}

// Login asks the person in a browser: it listens on a loopback port, calls open with the address to show, and waits
// for the browser to come back (RFC 8252 §7.3) until ctx ends.
func (c *Client) Login(ctx context.Context, ask Ask, open func(address string) error) (Code, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return Code{}, fmt.Errorf("listen for the browser: %w", err)
	}
	u, err := url.Parse(ask.Redirect)
	if err != nil || u.Scheme != "http" || u.Hostname() != "127.0.0.1" {
		_ = l.Close()
		return Code{}, fmt.Errorf("redirect %q must be http://127.0.0.1/…", ask.Redirect)
	}
	u.Host = l.Addr().String()
	ask.Redirect = u.String()
	a, err := c.begin(ctx, ask)
	if err != nil {
		_ = l.Close()
		return Code{}, err
	}
	answers := make(chan url.Values, 1)
	server := &http.Server{Handler: a.callback(u.Path, answers), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(l) }() // ends with Close below
	defer server.Close()
	if err := open(a.url); err != nil {
		return Code{}, fmt.Errorf("open browser: %w", err)
	}
	select {
	case q := <-answers:
		return c.end(a, q)
	case <-ctx.Done():
		return Code{}, ctx.Err()
	}
}

// callback takes the first answer to the question on path. Another, which any page can send here, ends nothing.
func (a attempt) callback(path string, answers chan<- url.Values) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != path || r.Method != http.MethodGet {
			http.NotFound(w, r)
			return
		}
		q := r.URL.Query()
		if !a.asked(q) {
			http.Error(w, "This does not belong to the sign-in that the app is waiting for.", http.StatusBadRequest)
			return
		}
		select {
		case answers <- q:
		default:
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, "Done. You can close this window and go back to the app.\n")
	})
}

// Headless answers the server's own pages with a person's name and password, for scripts. It walks the real forms.
func (c *Client) Headless(ctx context.Context, ask Ask, user, password string) (Code, error) {
	a, err := c.begin(ctx, ask)
	if err != nil {
		return Code{}, err
	}
	w, err := newWalker(c, a)
	if err != nil {
		return Code{}, err
	}
	q, err := w.walk(ctx, map[string]string{"user": user, "password": password, "answer": "yes"})
	if err != nil {
		return Code{}, err
	}
	return c.end(a, q)
}

// isRedirect reports whether location leads to the redirect URI of the attempt.
func (a attempt) isRedirect(location string) (url.Values, bool) {
	rest, ok := strings.CutPrefix(location, a.redirect)
	if !ok || rest == "" || rest[0] != '?' && rest[0] != '&' {
		return nil, false
	}
	q, err := url.ParseQuery(rest[1:])
	return q, err == nil
}
