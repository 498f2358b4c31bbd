package authz

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/authz/policy"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
)

// AuthorizeRequest is an authorization request (RFC 6749 §4.1.1, RFC 7636 §4.3) as it came.
type AuthorizeRequest struct {
	ResponseType        string
	ClientID            string
	RedirectURI         string
	State               string
	Scope               string
	Audience            string
	CodeChallenge       string
	CodeChallengeMethod string
}

// Authorization is a request that was found good and waits for a person's yes.
type Authorization struct {
	Request AuthorizeRequest
	Client  Client
	Device  Device
	Asked   aif.Rights // empty: everything the person may have
}

// NoRedirectError refuses a request whose client or redirect URI is not known: the browser must not be sent anywhere
// (RFC 6749 §4.1.2.1).
type NoRedirectError struct{ Reason string }

func (e *NoRedirectError) Error() string { return e.Reason }

// Authorize checks a request. A *NoRedirectError is shown to the person; an *ace.Error may be sent to the redirect URI.
func (s *Server) Authorize(ctx context.Context, r AuthorizeRequest) (Authorization, error) {
	client, err := s.store.Client(ctx, r.ClientID)
	if errors.Is(err, ErrNotFound) {
		return Authorization{}, s.noRedirect(ctx, r, "this app is not registered here")
	}
	if err != nil {
		return Authorization{}, err
	}
	if !redirectAllowed(client.RedirectURIs, r.RedirectURI) {
		return Authorization{}, s.noRedirect(ctx, r, "this app did not register the address it wants to return to")
	}
	a := Authorization{Request: r, Client: client}
	if err := s.checkAuthorize(ctx, &a); err != nil {
		s.audit(ctx, AuditEntry{Event: "authorize", Result: "refused", Client: client.ID, Reason: err.Error()})
		return Authorization{}, err
	}
	return a, nil
}

func (s *Server) noRedirect(ctx context.Context, r AuthorizeRequest, why string) error {
	s.audit(ctx, AuditEntry{Event: "authorize", Result: "refused", Client: clip(r.ClientID), Reason: why})
	return &NoRedirectError{Reason: why}
}

// checkAuthorize checks what may be answered by redirect.
func (s *Server) checkAuthorize(ctx context.Context, a *Authorization) error {
	r := a.Request
	switch {
	case !slices.Contains(a.Client.GrantTypes, AuthorizationCode):
		return &ace.Error{Code: ace.UnauthorizedClient, Description: "this client may not use authorization_code"}
	case r.ResponseType != "code":
		return &ace.Error{Code: ace.UnsupportedResponseType, Description: "response_type must be code"}
	case r.CodeChallengeMethod != "S256":
		return &ace.Error{Code: ace.InvalidRequest, Description: "code_challenge_method must be S256 (RFC 7636)"}
	case len(r.CodeChallenge) != 43 || !unreserved(r.CodeChallenge):
		return &ace.Error{Code: ace.InvalidRequest, Description: "code_challenge must be 43 characters of base64url"}
	}
	device, err := s.device(ctx, r.Audience)
	if err != nil {
		return err
	}
	a.Device = device
	a.Asked, err = rightsOf(&device, ace.Scope{Words: r.Scope})
	return err
}

func unreserved(s string) bool {
	for _, c := range []byte(s) {
		if !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~", rune(c)) {
			return false
		}
	}
	return true
}

// redirectAllowed compares byte by byte; only the port of a loopback IP address is free (RFC 8252 §7.3, RFC 9700 §2.1).
func redirectAllowed(registered []string, uri string) bool {
	if slices.Contains(registered, uri) {
		return true
	}
	bare, ok := withoutLoopbackPort(uri)
	if !ok {
		return false
	}
	return slices.ContainsFunc(registered, func(r string) bool {
		b, ok := withoutLoopbackPort(r)
		return ok && b == bare
	})
}

// withoutLoopbackPort cuts the port out of http://127.0.0.1:PORT/… and http://[::1]:PORT/…, leaving every other byte.
func withoutLoopbackPort(uri string) (string, bool) {
	rest, ok := strings.CutPrefix(uri, "http://")
	if !ok {
		return "", false
	}
	host, path := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	if a, err := netip.ParseAddrPort(host); err == nil {
		return a.Addr().String() + path, a.Addr().IsLoopback() && a.Port() != 0 && !strings.Contains(path, "#")
	}
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return a.String() + path, err == nil && a.IsLoopback() && !strings.Contains(path, "#")
}

// Preview says what a person would give by saying yes, for the consent page. A *policy.RefusedError says why nothing.
func (s *Server) Preview(ctx context.Context, a Authorization, user string) (policy.Decision, error) {
	return s.decide(ctx, &a.Device, &a.Client, Subject{User: user}, a.Asked)
}

// Approve records a person's yes and returns the redirect with the code. The refusal of Preview becomes the redirect
// with the error, so every outcome but a broken store is an address.
func (s *Server) Approve(ctx context.Context, a Authorization, user string) (string, error) {
	d, err := s.Preview(ctx, a, user)
	entry := AuditEntry{Event: "authorize", Result: "granted", Client: a.Client.ID, User: user, Device: a.Device.Audience(), Grant: d.Grant}
	var refused *policy.RefusedError
	if errors.As(err, &refused) {
		entry.Result, entry.Reason = "refused", string(refused.Reason)
		s.audit(ctx, entry)
		return s.ErrorRedirect(a.Request, refusal(refused)), nil
	}
	if err != nil {
		return "", err
	}
	code, err := s.newCode(ctx, a, user, d)
	if err != nil {
		return "", err
	}
	s.audit(ctx, entry)
	return s.redirect(a.Request, url.Values{"code": {code}}), nil
}

// Deny records a person's no.
func (s *Server) Deny(ctx context.Context, a Authorization, user string) string {
	s.audit(ctx, AuditEntry{Event: "authorize", Result: "refused", Reason: "the person said no", Client: a.Client.ID, User: user, Device: a.Device.Audience()})
	return s.ErrorRedirect(a.Request, &ace.Error{Code: ace.AccessDenied, Description: "the person said no"})
}

func (s *Server) newCode(ctx context.Context, a Authorization, user string, d policy.Decision) (string, error) {
	now := s.now()
	row := CodeGrant{
		Client: a.Client.ID, User: user, RedirectURI: a.Request.RedirectURI, Challenge: a.Request.CodeChallenge,
		Device: a.Device.ID, Rights: d.Rights, Grant: d.Grant, IssuedAt: now, ExpiresAt: now.Add(CodeLife),
	}
	code, err := s.granter.NewCode(ctx, row)
	if err != nil {
		return "", fmt.Errorf("new code: %w", err)
	}
	row.Hash = HashSecret(code)
	if err := s.store.AddCode(ctx, row); err != nil {
		return "", fmt.Errorf("store code: %w", err)
	}
	return code, nil
}

// ErrorRedirect is the error response of RFC 6749 §4.1.2.1 for a request whose redirect URI was found good.
func (s *Server) ErrorRedirect(r AuthorizeRequest, e *ace.Error) string {
	v := url.Values{"error": {e.Code.String()}}
	if e.Description != "" {
		v.Set("error_description", e.Description)
	}
	return s.redirect(r, v)
}

// redirect adds state and iss (RFC 9207), which every authorization response carries.
func (s *Server) redirect(r AuthorizeRequest, v url.Values) string {
	if r.State != "" {
		v.Set("state", r.State)
	}
	v.Set("iss", s.issuer)
	separator := "?"
	if strings.Contains(r.RedirectURI, "?") {
		separator = "&"
	}
	return r.RedirectURI + separator + v.Encode()
}

// device finds an audience: the device's id on the wire, or its name for people.
func (s *Server) device(ctx context.Context, audience string) (Device, error) {
	if audience == "" {
		return Device{}, &ace.Error{Code: ace.InvalidRequest, Description: "audience is missing: name the device"}
	}
	d, err := s.lookup(ctx, audience)
	if errors.Is(err, ErrNotFound) {
		return Device{}, &ace.Error{Code: ace.InvalidRequest, Description: "unknown audience"}
	}
	return d, err
}

func refusal(r *policy.RefusedError) *ace.Error {
	return &ace.Error{Code: ace.InvalidScope, Description: string(r.Reason)}
}

// Now is the server's clock, for faces that show time.
func (s *Server) Now() time.Time { return s.now() }
