// Package clientauth finds out which client sends a request over HTTP: by a secret (RFC 6749 §2.3.1), by an assertion that it
// signed (private_key_jwt, RFC 7523), by its TLS certificate (RFC 8705 §2), by what vouches for the app instance
// (draft-ietf-oauth-attestation-based-client-auth-10, and integrity tokens), or by its mere name, for public clients.
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
	"github.com/latchkey-ace/latchkey/internal/checks"
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
	// Attesters are those who may vouch for app instances, by name; nil: nobody may.
	Attesters map[string]Attester
	// Challenge judges the challenge in a proof of an instance key; nil demands none.
	Challenge func(challenge string) bool
	// Refused hears of refusals, for the audit log: id is what the sender said it is, why is "" where that is nobody's to know. Nil
	// for nobody.
	Refused func(ctx context.Context, id, why string)
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

	Attestation []string    // headers OAuth-Client-Attestation
	Proof       []string    // headers OAuth-Client-Attestation-PoP
	DPoP        *jose.Proof // that of the request, verified; its nonce is a good challenge where Challenge demands one
	Integrity   []string    // headers Integrity-Token
	Body        []byte      // of the request, to which an integrity token may be bound
}

// Sender is who sends a request.
type Sender struct {
	Client   authz.Client
	Attested *authz.Attested // what vouches for the app instance; nil where nothing has to
	// Uses have to be spent before anything is done for the client: by Mint with what it grants, by authz.Uses otherwise.
	Uses []authz.Use
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
	seen    seen
}

// New makes an Authenticator.
func New(clients Directory, o Options) *Authenticator {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Refused == nil {
		o.Refused = func(context.Context, string, string) {}
	}
	return &Authenticator{clients: clients, options: o, decoys: parseDecoys()}
}

// credential is the one kind of thing that a request shows.
type credential int

const (
	nothing credential = iota // but a name, and perhaps a certificate
	secret
	assertion
	attested
	integrated
)

// check judges what is presented for a client and says what has to be spent for it, and what vouches for it. errWrong is the one
// answer that tells nothing; an *ace.Error is told, a fault is neither.
type check func(*Authenticator, *authz.Client, *Presented) (Sender, error)

var errWrong = errors.New("wrong credentials")

// passes turns a judgement that has nothing to tell into a check.
func passes(judge func(*Authenticator, *authz.Client, *Presented) ([]authz.Use, bool)) check {
	return func(a *Authenticator, c *authz.Client, p *Presented) (Sender, error) {
		uses, good := judge(a, c, p)
		if !good {
			return Sender{}, errWrong
		}
		return Sender{Uses: uses}, nil
	}
}

// method says what a client shows that is registered for it, and how that is judged. A client is let in by nothing else: one
// that has a key never by a secret. Only the two ways of sending a secret prove the same thing, so each may use the other.
type method struct {
	shows credential
	check check
}

var methods = map[authz.AuthMethod]method{
	authz.AuthNone:         {nothing, passes(byName)},
	authz.AuthSecretBasic:  {secret, passes(bySecret)},
	authz.AuthSecretPost:   {secret, passes(bySecret)},
	authz.AuthPrivateKey:   {assertion, passes(byAssertion)},
	authz.AuthTLS:          {nothing, passes(byIssued)},
	authz.AuthSelfSigned:   {nothing, passes(byRegistered)},
	authz.AuthAttested:     {attested, byAttestation},
	authz.AuthAttestedDPoP: {attested, byAttestation},
	authz.AuthIntegrity:    {integrated, byIntegrity},
}

// decoys do for a client that is not there, or is registered for something else, the work that is done for one that is: their
// outcome does not count.
var decoys = map[credential]check{
	nothing: passes(byIssued), secret: passes(bySecret), assertion: passes(byAssertion), attested: byAttestation, integrated: byIntegrity,
}

// Authenticate finds the client.
//
// A request that presents two things at once is *ace.Error invalid_request. Unknown client, wrong method, wrong credential and
// suspended client are one answer after the same work, *ace.Error invalid_client. An app for whom somebody vouches who is trusted
// is told what is missing: use_fresh_attestation, use_attestation_challenge, invalid_client_attestation. Any other error is the
// directory's, or authz.ErrUnavailable where keys of an attester cannot be had now.
func (a *Authenticator) Authenticate(ctx context.Context, p Presented) (Sender, error) {
	shown, err := p.kind()
	if err != nil {
		return Sender{}, err
	}
	if p.ClientID == "" {
		p.ClientID = p.subject(shown)
	}
	client, err := a.clients.Client(ctx, p.ClientID)
	if err != nil && !errors.Is(err, authz.ErrNotFound) {
		return Sender{}, err
	}
	m, served := methods[client.AuthMethod]
	if !checks.Attestation && client.Attested() {
		m = methods[authz.AuthNone]
		m.shows = shown
	}
	if err != nil || !served || m.shows != shown || !client.SuspendedAt.IsZero() {
		_, _ = decoys[shown](a, &authz.Client{}, &p)
		return Sender{}, a.refuse(ctx, p.ClientID, errWrong)
	}
	sender, err := m.check(a, &client, &p)
	if err != nil {
		return Sender{}, a.refuse(ctx, p.ClientID, err)
	}
	sender.Client = client
	return sender, nil
}

// subject is the client that names itself by what it shows (RFC 7521 §4.2).
func (p *Presented) subject(shown credential) string {
	switch shown {
	case assertion:
		return peek(p.Assertion).subject
	case attested:
		return peek(p.Attestation[0]).subject
	}
	return ""
}

func (a *Authenticator) refuse(ctx context.Context, id string, err error) error {
	var told *toldError
	switch {
	case errors.As(err, &told):
		a.options.Refused(ctx, id, told.why)
		return told.told
	case !errors.Is(err, errWrong):
		return err
	}
	a.options.Refused(ctx, id, "")
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
	case len(p.Attestation) > 1 || len(p.Proof) > 1 || len(p.Integrity) > 1:
		return bad("a header that vouches for the app, or its proof, came twice")
	case len(p.Proof) == 1 && len(p.Attestation) == 0:
		return bad("a proof of an instance key without its attestation")
	case several(signed, known, len(p.Attestation) > 0, len(p.Integrity) > 0):
		return bad("client credentials in two places")
	case len(p.Attestation) > 0:
		return attested, nil
	case len(p.Integrity) > 0:
		return integrated, nil
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

func several(shown ...bool) bool {
	n := 0
	for _, one := range shown {
		if one {
			n++
		}
	}
	return n > 1
}

func byName(*Authenticator, *authz.Client, *Presented) ([]authz.Use, bool) { return nil, true }

// bySecret compares hashes, so that the time it takes tells nothing of the secret. Without one on record none is right.
func bySecret(_ *Authenticator, c *authz.Client, p *Presented) ([]authz.Use, bool) {
	return nil, subtle.ConstantTimeCompare(authz.HashSecret(p.Secret), c.SecretHash) == 1
}
