package authz

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/internal/checks"
	"github.com/latchkey-ace/latchkey/pop/ace"
)

// requestURIPrefix begins a request_uri of this server (RFC 9126 §2.2).
const requestURIPrefix = "urn:ietf:params:oauth:request_uri:"

// Push checks an authorization request as Authorize does and keeps it for its client: query is the request as the browser
// would bring it. The request_uri is good for life, until a code is made of it. Errors are *ace.Error for the client, or
// faults of this server.
func (s *Server) Push(ctx context.Context, client Client, r AuthorizeRequest, query string) (uri string, life time.Duration, err error) {
	r.Pushed = query // it is being pushed
	a := Authorization{Request: r, Client: client}
	switch {
	case checks.Attestation && client.Attested() && r.Verdict.Kind == attest.None:
		err = &ace.Error{Code: ace.InvalidClient, Description: "unknown client or wrong credentials"}
	case r.ClientID != client.ID:
		err = &ace.Error{Code: ace.InvalidRequest, Description: "client_id names another client"}
	case !redirectAllowed(client.RedirectURIs, r.RedirectURI):
		err = &ace.Error{Code: ace.InvalidRequest, Description: "redirect_uri is not registered for this client"}
	default:
		err = s.checkAuthorize(ctx, &a)
	}
	var refused *ace.Error
	if errors.As(err, &refused) {
		s.audit(ctx, AuditEntry{Event: "authorize", Result: "refused", Client: client.ID, Reason: auditReason(err, refused)})
	}
	if err != nil {
		return "", 0, err
	}
	value, hash, err := Secret(s.rand)
	if err != nil {
		return "", 0, err
	}
	row := PushedRequest{Hash: hash, Client: client.ID, Query: query, Verdict: r.Verdict, ExpiresAt: s.now().Add(PushedLife)}
	if err := s.store.AddRequest(ctx, row); err != nil {
		return "", 0, fmt.Errorf("store pushed request: %w", err)
	}
	return requestURIPrefix + value, PushedLife, nil
}

// Pushed finds the request that a request_uri stands for, if clientID pushed it, and lets it live while a person signs in
// and thinks. A *NoRedirectError is shown to the person: where to send the browser is not known.
func (s *Server) Pushed(ctx context.Context, clientID, uri string) (PushedRequest, error) {
	value, ours := strings.CutPrefix(uri, requestURIPrefix)
	if !ours {
		return PushedRequest{}, s.noRedirect(ctx, AuthorizeRequest{ClientID: clientID}, "the app's request is not one of ours")
	}
	now := s.now()
	r, err := s.store.Request(ctx, HashSecret(value), now)
	if errors.Is(err, ErrNotFound) || err == nil && r.Client != clientID {
		return PushedRequest{}, s.noRedirect(ctx, AuthorizeRequest{ClientID: clientID}, "the app's request was used already, or is too old")
	}
	if err != nil {
		return PushedRequest{}, err
	}
	if err := s.store.ProlongRequest(ctx, r.Hash, now, now.Add(ThinkTime)); err != nil && !errors.Is(err, ErrNotFound) {
		return PushedRequest{}, err
	}
	return r, nil
}
