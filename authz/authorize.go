package authz

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/authz/policy"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/jose"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// AuthorizeRequest is an authorization request (RFC 6749 §4.1.1, RFC 7636 §4.3) as it came.
type AuthorizeRequest struct {
	ResponseType        string
	ClientID            string
	RedirectURI         string
	State               string
	Scope               string
	Audience            string
	Resource            string // RFC 8707 §2.1
	CodeChallenge       string
	CodeChallengeMethod string
	Details             string         // authorization_details (RFC 9396), JSON; not beside Scope
	Pushed              string         // hash of the pushed request that this is; "" for one that came as it is
	DPoPKey             string         // dpop_jkt (RFC 9449 §10): whose proof must redeem the code; "" anybody's
	Verdict             attest.Verdict // of the app instance that pushed it; nothing that comes by the browser sets it
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
	err = s.checkAuthorize(ctx, &a)
	var refused *ace.Error
	if errors.As(err, &refused) {
		s.audit(ctx, AuditEntry{Event: "authorize", Result: "refused", Client: client.ID, Reason: auditReason(err, refused)})
	}
	if err != nil {
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
	case (a.Client.Settings.RequirePAR || a.Client.Attested()) && r.Pushed == "": // by the browser no instance shows itself
		return &ace.Error{Code: ace.InvalidRequest, Description: "this client must push its request to /par first (RFC 9126)"}
	case r.ResponseType != "code":
		return &ace.Error{Code: ace.UnsupportedResponseType, Description: "response_type must be code"}
	case r.CodeChallengeMethod != "S256":
		return &ace.Error{Code: ace.InvalidRequest, Description: "code_challenge_method must be S256 (RFC 7636)"}
	case !isDigest(r.CodeChallenge):
		return &ace.Error{Code: ace.InvalidRequest, Description: "code_challenge must be a SHA-256 in unpadded base64url"}
	case !isThumbprint(r.DPoPKey):
		return &ace.Error{Code: ace.InvalidRequest, Description: "dpop_jkt must be a SHA-256 thumbprint in unpadded base64url"}
	}
	return s.readQuestion(ctx, a)
}

// readQuestion finds what a person is to be asked: which device, and which rights there.
func (s *Server) readQuestion(ctx context.Context, a *Authorization) (err error) {
	r := &a.Request
	scope := ace.Scope{Words: r.Scope}
	if r.Details != "" {
		if r.Audience, scope, err = s.readDetails(ctx, r); err != nil {
			return err
		}
	}
	if a.Device, err = s.target(ctx, r.Audience, r.Resource); err != nil {
		return err
	}
	a.Asked, err = rightsOf(&a.Device, scope)
	return err
}

// isDigest holds a challenge to its one spelling, so that it is refused here and not after the person has agreed.
func isDigest(s string) bool {
	sum, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(sum) == sha256.Size && len(s) == base64.RawURLEncoding.EncodedLen(sha256.Size)
}

// isThumbprint takes an absent dpop_jkt too.
func isThumbprint(s string) bool {
	_, err := jose.ParseThumbprint(s)
	return s == "" || err == nil
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
// A fragment is never allowed (RFC 6749 §3.1.2): what we append would stand behind it.
func redirectAllowed(registered []string, uri string) bool {
	if strings.Contains(uri, "#") {
		return false
	}
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

// withoutLoopbackPort cuts the port out of http://127.0.0.1:PORT/… and http://[::1]:PORT/…, the two spellings of RFC 8252
// §7.3, leaving every other byte. A port needs no leading zero and is not 0.
func withoutLoopbackPort(uri string) (string, bool) {
	rest, ok := strings.CutPrefix(uri, "http://")
	if !ok {
		return "", false
	}
	host, path := rest, ""
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	for _, loopback := range []string{"127.0.0.1", "[::1]"} {
		port, ok := strings.CutPrefix(host, loopback)
		if ok && (port == "" || isPort(port)) {
			return loopback + path, true
		}
	}
	return "", false
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(strings.TrimPrefix(s, ":"), 10, 16)
	return err == nil && n > 0 && s == ":"+strconv.FormatUint(n, 10)
}

// Preview says what a person would give by saying yes, for the consent page. A *policy.RefusedError says why nothing.
func (s *Server) Preview(ctx context.Context, a Authorization, user string) (policy.Decision, error) {
	return s.decide(ctx, question{
		device: &a.Device, client: &a.Client, subject: Subject{User: user}, asked: a.Asked, verdict: a.Request.Verdict, anyAge: true,
	})
}

// Approve records a person's yes and returns the redirect with the code. The refusal of Preview becomes the redirect
// with the error, so every outcome but a broken store is an address. The code stands for exactly a.Asked; only where that
// is empty does it stand for what Preview says at this moment.
func (s *Server) Approve(ctx context.Context, a Authorization, user string) (string, error) {
	d, err := s.Preview(ctx, a, user)
	var refused *policy.RefusedError
	if errors.As(err, &refused) {
		return s.Refuse(ctx, a, user, refused), nil
	}
	if err != nil {
		return "", err
	}
	code, err := s.newCode(ctx, a, user, d)
	if errors.Is(err, ErrNotFound) && a.Request.Pushed != "" {
		return s.ErrorRedirect(a.Request, &ace.Error{Code: ace.InvalidRequest, Description: "request_uri was used already"}), nil
	}
	if err != nil {
		return "", err
	}
	s.audit(ctx, AuditEntry{Event: "authorize", Result: "granted", Client: a.Client.ID, User: user, Device: a.Device.Audience(), Grant: d.Grant})
	return s.redirect(a.Request, url.Values{"code": {code}}), nil
}

// Refuse records the refusal of Preview and returns the redirect with the error.
func (s *Server) Refuse(ctx context.Context, a Authorization, user string, why *policy.RefusedError) string {
	s.audit(ctx, AuditEntry{Event: "authorize", Result: "refused", Reason: why.Why(), Client: a.Client.ID, User: user, Device: a.Device.Audience()})
	return s.ErrorRedirect(a.Request, refused(why))
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
		Device: a.Device.ID, Rights: d.Rights, Grant: d.Grant, Details: a.Request.Details, IssuedAt: now, ExpiresAt: now.Add(CodeLife),
	}
	if a.Request.DPoPKey != "" {
		key, err := jose.ParseThumbprint(a.Request.DPoPKey)
		if err != nil {
			return "", fmt.Errorf("new code: %w", err)
		}
		row.BoundKey = key[:]
	}
	code, err := s.granter.NewCode(ctx, row)
	if err != nil {
		return "", fmt.Errorf("new code: %w", err)
	}
	row.Hash = HashSecret(code)
	if err := s.store.AddCode(ctx, row, pushed(a.Request.Pushed)); err != nil {
		return "", fmt.Errorf("store code: %w", err)
	}
	return code, nil
}

// pushed is the hash of a pushed request, nil for none.
func pushed(hash string) []byte {
	if hash == "" {
		return nil
	}
	return []byte(hash)
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

// lookup finds a device by its audience or by its name, an API also by its URI.
func (s *Server) lookup(ctx context.Context, audience string) (Device, error) {
	if strings.Contains(audience, "://") {
		return s.store.DeviceByResource(ctx, audience)
	}
	if id, err := provision.ParseAudience(audience); err == nil {
		d, err := s.store.Device(ctx, id)
		if !errors.Is(err, ErrNotFound) {
			return d, err
		}
	}
	return s.store.DeviceByName(ctx, audience)
}

// decide gathers what policy.Decide needs.
func (s *Server) decide(ctx context.Context, q question) (policy.Decision, error) {
	now, d, subject := s.now(), q.device, q.subject
	grants, err := s.store.GrantsOf(ctx, subject, d.ID, now)
	if err != nil {
		return policy.Decision{}, err
	}
	in := policy.Request{
		Now: now, Owner: subject.User != "" && subject.User == d.Owner, Available: d.Rights(), Reserved: reserved(d),
		Asked: q.asked, Ceiling: ceilingOf(d, q.client), HasCeiling: q.client.Ceiling != nil,
		Verdict: q.verdict, Demands: demandsOf(d, q.client), AnyAge: q.anyAge,
	}
	for _, g := range grants {
		in.Grants = append(in.Grants, policy.Grant{
			ID: g.ID, Rights: g.Rights, Spent: g.Spent, From: g.From, Until: g.Until, Once: g.Once, Revoked: !g.RevokedAt.IsZero(),
		})
	}
	return policy.Decide(in)
}

func refusal(r policy.Reason) *ace.Error { return refused(&policy.RefusedError{Reason: r}) }

// refused says in protocol words what the policy said; an app that only has to show itself again is told so.
func refused(why *policy.RefusedError) *ace.Error {
	code := ace.InvalidScope
	if why.Lack == attest.LackFresh {
		code = ace.UseFreshAttestation
	}
	return &ace.Error{Code: code, Description: why.Why()}
}

// Now is the server's clock, for faces that show time.
func (s *Server) Now() time.Time { return s.now() }
