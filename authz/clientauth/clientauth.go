// Package clientauth finds out which client sends a request over HTTP: by a secret (RFC 6749 §2.3.1), by an assertion that it
// signed (private_key_jwt, RFC 7523), by its TLS certificate (RFC 8705 §2), or by its mere name, for public clients.
//
// It reads no request: a face hands it what the sender presents. Nor does it spend anything: the caller spends the uses it
// returns, together with what the request is granted. Peers on CoAP are known by their security context instead. Start from
// New.
package clientauth

import (
	"context"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

// Directory finds clients by id; authz.Store is one. Unknown clients are authz.ErrNotFound.
type Directory interface {
	Client(ctx context.Context, id string) (authz.Client, error)
}

// Options of an Authenticator.
type Options struct {
	Issuer string           // the issuer identifier, the one audience of assertions; without it no assertion is good
	Roots  *x509.CertPool   // who issues the certificates of tls_client_auth; nil: nobody does
	Now    func() time.Time // default time.Now
	// Refused hears of refusals, for the audit log: id is what the sender said it is. Nil for nobody.
	Refused func(ctx context.Context, id string)
}

// Presented is what a request shows for its sender. Its secrets do not print.
type Presented struct {
	ClientID      string
	Secret        string
	Basic         bool   // the secret came in the header Authorization, even if it is empty
	AssertionType string // client_assertion_type
	Assertion     string // client_assertion
	// Certificate is the leaf of the sender's TLS, whose private key it has shown; nothing else of it is verified yet.
	Certificate   *x509.Certificate
	Intermediates []*x509.Certificate
}

const redacted = "[redacted]"

// Format hides what is presented from every verb.
func (Presented) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// LogValue hides what is presented from logs.
func (Presented) LogValue() slog.Value { return slog.StringValue(redacted) }

// Authenticator is safe for concurrent use.
type Authenticator struct {
	clients Directory
	options Options
	decoys  map[string]*jose.Key
}

// New makes an Authenticator.
func New(clients Directory, o Options) *Authenticator {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Refused == nil {
		o.Refused = func(context.Context, string) {}
	}
	return &Authenticator{clients: clients, options: o, decoys: parseDecoys()}
}

// credential is the one kind of thing that a request shows.
type credential int

const (
	nothing credential = iota // but a name, and perhaps a certificate
	secret
	assertion
)

// check judges what is presented for a client and says what has to be spent for it.
type check func(*Authenticator, *authz.Client, *Presented) ([]authz.Use, bool)

// method says what a client shows that is registered for it, and how that is judged. A client is let in by nothing else: one
// that has a key never by a secret. Only the two ways of sending a secret prove the same thing, so each may use the other.
type method struct {
	shows credential
	check check
}

var methods = map[authz.AuthMethod]method{
	authz.AuthNone:        {nothing, byName},
	authz.AuthSecretBasic: {secret, bySecret},
	authz.AuthSecretPost:  {secret, bySecret},
	authz.AuthPrivateKey:  {assertion, byAssertion},
	authz.AuthTLS:         {nothing, byIssued},
	authz.AuthSelfSigned:  {nothing, byRegistered},
}

// decoys do for a client that is not there, or is registered for something else, the work that is done for one that is: their
// outcome does not count.
var decoys = map[credential]check{nothing: byIssued, secret: bySecret, assertion: byAssertion}

// Authenticate finds the client. The uses have to be spent before anything is done for it: by Mint with what it grants, by
// authz.Uses otherwise.
//
// A request that presents two things at once is *ace.Error invalid_request. Unknown client, wrong method, wrong credential and
// suspended client are one answer after the same work, *ace.Error invalid_client. Any other error is the directory's.
func (a *Authenticator) Authenticate(ctx context.Context, p Presented) (authz.Client, []authz.Use, error) {
	shown, err := p.kind()
	if err != nil {
		return authz.Client{}, nil, err
	}
	if shown == assertion && p.ClientID == "" { // RFC 7521 §4.2: the assertion names the client
		p.ClientID = peek(p.Assertion).subject
	}
	client, err := a.clients.Client(ctx, p.ClientID)
	if err != nil && !errors.Is(err, authz.ErrNotFound) {
		return authz.Client{}, nil, err
	}
	m, served := methods[client.AuthMethod]
	if err != nil || !served || m.shows != shown || !client.SuspendedAt.IsZero() {
		decoys[shown](a, &authz.Client{}, &p)
		return authz.Client{}, nil, a.refuse(ctx, p.ClientID)
	}
	uses, good := m.check(a, &client, &p)
	if !good {
		return authz.Client{}, nil, a.refuse(ctx, p.ClientID)
	}
	return client, uses, nil
}

func (a *Authenticator) refuse(ctx context.Context, id string) error {
	a.options.Refused(ctx, id)
	return &ace.Error{Code: ace.InvalidClient, Description: "unknown client or wrong credentials"}
}

// kind holds a request to one credential (RFC 6749 §2.3). A certificate is none by itself: public clients show one to have
// tokens bound to it (RFC 8705 §4).
func (p *Presented) kind() (credential, error) {
	signed := p.Assertion != "" || p.AssertionType != ""
	known := p.Secret != "" || p.Basic
	bad := func(why string) (credential, error) {
		return nothing, &ace.Error{Code: ace.InvalidRequest, Description: why}
	}
	switch {
	case signed && known:
		return bad("client credentials in two places")
	case signed && p.AssertionType != AssertionType:
		return bad("client_assertion_type must be " + AssertionType)
	case signed && p.Assertion == "":
		return bad("client_assertion is missing")
	case signed:
		return assertion, nil
	case known:
		return secret, nil
	}
	return nothing, nil
}

func byName(*Authenticator, *authz.Client, *Presented) ([]authz.Use, bool) { return nil, true }

// bySecret compares hashes, so that the time it takes tells nothing of the secret. Without one on record none is right.
func bySecret(_ *Authenticator, c *authz.Client, p *Presented) ([]authz.Use, bool) {
	return nil, subtle.ConstantTimeCompare(authz.HashSecret(p.Secret), c.SecretHash) == 1
}
