// Package client is the client role of ACE-OAuth: get a token from the authorization server (authorization code with
// PKCE, or client credentials), deliver it to a device, and talk to the device under OSCORE or DTLS, whichever the device
// speaks (RFC 6749, RFC 7636, RFC 8252, RFC 9200, RFC 9202, RFC 9203). Refresh tokens, pushed authorization requests, device
// authorization and proofs of the app instance work with it (RFC 6749 §6, RFC 9126, RFC 8628, RFC 9449).
//
// It trusts the issuer it was given and what the token response says; creation hints and addresses are hints. Start
// from Discover, then Client.Login and Client.Token; a Session talks to the device, over an Association if it speaks DTLS.
package client

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/pop/ace"
)

const (
	maxDocument = 64 << 10 // bytes of any answer of the server
	httpTime    = 15 * time.Second
)

// Client is one registered application at one authorization server. It is safe for concurrent use.
type Client struct {
	ID     string
	Secret string // empty: a public client
	Rand   io.Reader
	Now    func() time.Time

	issuer string
	at     metadata
	push   bool
	prover *prover
	vouch  *voucher
	wait   func(context.Context, time.Duration) error
	http   *http.Client
}

// String hides the secret.
func (c *Client) String() string { return "client " + c.ID }

// Options of a Client.
type Options struct {
	ID     string
	Secret string
	Rand   io.Reader        // nil: crypto/rand
	Now    func() time.Time // nil: time.Now; says when a token will have ended
	HTTP   *http.Client     // nil: NewHTTP
	Push   bool             // push authorization requests (RFC 9126) even to a server that does not demand it of everybody
	// DPoP is the key of this app instance, on P-256 or P-384 or of Ed25519: each token request proves it, and codes and refresh tokens
	// are bound to it (RFC 9449). A public app gets no refresh token without one. nil: none.
	DPoP crypto.Signer
	// Attest gets an attestation of this app instance and its DPoP key (draft-ietf-oauth-attestation-based-client-auth-10) from whoever
	// vouches for it: fresh says that the last one was too old. It is called before the first request that needs one. nil: none.
	Attest func(ctx context.Context, fresh bool) (attestation string, err error)
	// Wait lets time pass before a server is asked again; nil: a timer. It returns the error of a context that ends.
	Wait func(ctx context.Context, d time.Duration) error
}

// NewHTTP is the HTTP client of a Client without one: it follows no redirects and gives up after 15 s.
func NewHTTP() *http.Client {
	return &http.Client{Timeout: httpTime, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// metadata is what we use of RFC 8414, RFC 9126 §5 and RFC 8628 §4.
type metadata struct {
	Issuer        string `json:"issuer"`
	Authorization string `json:"authorization_endpoint"`
	Token         string `json:"token_endpoint"`
	Push          string `json:"pushed_authorization_request_endpoint"`
	MustPush      bool   `json:"require_pushed_authorization_requests"`
	Device        string `json:"device_authorization_endpoint"`
	Challenge     string `json:"challenge_endpoint"`
}

// Discover reads the server's metadata (RFC 8414 §3). The issuer must be https, or http on a loopback host.
func Discover(ctx context.Context, issuer string, o Options) (*Client, error) {
	if err := checkIssuer(issuer); err != nil {
		return nil, err
	}
	c := &Client{ID: o.ID, Secret: o.Secret, Rand: o.Rand, Now: o.Now, issuer: issuer, push: o.Push, wait: o.Wait, http: o.HTTP}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.http == nil {
		c.http = NewHTTP()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.wait == nil {
		c.wait = pause
	}
	var err error
	if c.prover, err = newProver(o.DPoP); err != nil {
		return nil, err
	}
	if o.Attest != nil {
		if c.prover == nil {
			return nil, errors.New("an app instance for which somebody vouches has a key: Options.DPoP")
		}
		c.vouch, c.push = &voucher{get: o.Attest}, true // nobody vouches for what the browser brings
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, issuer+"/.well-known/oauth-authorization-server", nil)
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	status, body, err := c.do(request)
	if err != nil {
		return nil, fmt.Errorf("metadata of %s: %w", issuer, err)
	}
	var m metadata
	if err := json.Unmarshal(body, &m); err != nil || status != http.StatusOK {
		return nil, fmt.Errorf("metadata of %s: no authorization server answers there", issuer)
	}
	if m.Issuer != issuer {
		return nil, fmt.Errorf("metadata says issuer %q, not %q", m.Issuer, issuer)
	}
	c.at, c.push = m, c.push || m.MustPush || c.vouch != nil
	return c, checkEndpoints(issuer, m)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func checkIssuer(issuer string) error {
	u, err := url.Parse(issuer)
	switch {
	case err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("issuer %q is not an address", issuer)
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && (u.Hostname() == "localhost" || u.Hostname() == "127.0.0.1" || u.Hostname() == "::1"):
		return nil
	}
	return fmt.Errorf("issuer %q must use https", issuer)
}

// checkEndpoints keeps credentials at the issuer's own origin.
func checkEndpoints(issuer string, m metadata) error {
	home, err := url.Parse(issuer)
	if err != nil {
		return err
	}
	for i, endpoint := range []string{m.Authorization, m.Token, m.Push, m.Device, m.Challenge} {
		if optional := i > 1; optional && endpoint == "" {
			continue
		}
		u, err := url.Parse(endpoint)
		if err != nil || u.Scheme != home.Scheme || u.Host != home.Host {
			return fmt.Errorf("endpoint %q is not at the issuer", endpoint)
		}
	}
	return nil
}

func (c *Client) do(r *http.Request) (int, []byte, error) {
	response, err := c.http.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err := readAnswer(response)
	return response.StatusCode, body, err
}

// Request asks the token endpoint and returns its answer; a refusal is an *ace.Error. A code in the request must not
// be sent again whatever happens: after a lost answer log in anew (D20). A server that wants a nonce in the proof is asked once
// more.
func (c *Client) Request(ctx context.Context, in ace.TokenRequest) (*ace.TokenResponse, error) {
	if c.Secret == "" {
		in.ClientID = c.ID
	}
	body, err := in.JSON()
	if err != nil {
		return nil, fmt.Errorf("token request: %w", err)
	}
	out, again, err := c.ask(ctx, body)
	if again {
		out, _, err = c.ask(ctx, body)
	}
	return out, err
}

// ask sends a token request; again says that the server wants it once more, with the nonce that it has given.
func (c *Client) ask(ctx context.Context, body []byte) (out *ace.TokenResponse, again bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.at.Token, bytes.NewReader(body))
	if err != nil {
		return nil, false, err
	}
	request.Header.Set("Content-Type", ace.MediaTypeJSON)
	if c.Secret != "" {
		request.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(c.Secret))
	}
	if err := c.sign(request); err != nil {
		return nil, false, fmt.Errorf("token endpoint: %w", err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, false, fmt.Errorf("token endpoint: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxDocument))
	if err != nil {
		return nil, false, fmt.Errorf("token endpoint: %w", err)
	}
	out, err = parseAnswer(response, answer)
	return out, c.learn(response, err), err
}

func parseAnswer(response *http.Response, answer []byte) (*ace.TokenResponse, error) {
	kind, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if err != nil || kind != ace.MediaTypeJSON {
		return nil, fmt.Errorf("token endpoint: status %d with %q", response.StatusCode, response.Header.Get("Content-Type"))
	}
	if response.StatusCode != http.StatusOK {
		refused, err := ace.ParseErrorJSON(answer)
		if err != nil {
			return nil, fmt.Errorf("token endpoint: status %d", response.StatusCode)
		}
		return nil, orBusy(response, refused)
	}
	out, err := ace.ParseTokenResponseJSON(answer)
	if err != nil {
		return nil, fmt.Errorf("token response: %w", err)
	}
	return out, nil
}

// BusyError says that the server cannot answer now, and when it is worth asking again.
type BusyError struct {
	After time.Duration
	Err   error // what the server said
}

func (e *BusyError) Error() string { return fmt.Sprintf("%v; ask again in %v", e.Err, e.After) }

func (e *BusyError) Unwrap() error { return e.Err }

// orBusy reads Retry-After of a 503 (RFC 9110 §10.2.3), in seconds; another form of it counts as none.
func orBusy(response *http.Response, refused error) error {
	seconds, err := strconv.ParseUint(response.Header.Get("Retry-After"), 10, 16)
	if response.StatusCode != http.StatusServiceUnavailable || err != nil {
		return refused
	}
	return &BusyError{After: time.Duration(seconds) * time.Second, Err: refused}
}

// postForm sends a form as this client and reads the JSON object that comes with status want into out.
func (c *Client) postForm(ctx context.Context, endpoint string, form url.Values, want int, out any) error {
	if c.Secret == "" {
		form.Set("client_id", c.ID)
	}
	again, err := c.sendForm(ctx, endpoint, form, want, out)
	if again {
		_, err = c.sendForm(ctx, endpoint, form, want, out)
	}
	return err
}

// sendForm is one try; again says that the server wants it once more, with what it has given.
func (c *Client) sendForm(ctx context.Context, endpoint string, form url.Values, want int, out any) (again bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return false, err
	}
	request.Header.Set("Content-Type", ace.MediaTypeForm)
	if c.Secret != "" {
		request.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(c.Secret))
	}
	if c.vouch != nil { // others bind by dpop_jkt
		if err := c.sign(request); err != nil {
			return false, err
		}
	}
	response, err := c.http.Do(request)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	body, err := readAnswer(response)
	if err != nil {
		return false, err
	}
	if response.StatusCode != want {
		refused, err := ace.ParseErrorJSON(body)
		if err != nil {
			return false, fmt.Errorf("status %d", response.StatusCode)
		}
		told := orBusy(response, refused)
		return c.learn(response, told), told
	}
	c.learn(response, nil)
	if err := json.Unmarshal(body, out); err != nil {
		return false, errors.New("the answer is not JSON")
	}
	return false, nil
}

func readAnswer(response *http.Response) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(response.Body, maxDocument+1))
	if err == nil && len(body) > maxDocument {
		err = errors.New("answer too long")
	}
	return body, err
}
