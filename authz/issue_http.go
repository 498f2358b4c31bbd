package authz

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/jose"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// target finds what a request is for: a device by audience, an HTTP API by audience or by resource (RFC 8707 §2), which must
// then name the same. One token is for one of them.
func (s *Server) target(ctx context.Context, audience, resource string) (Device, error) {
	if resource == "" {
		return s.device(ctx, audience)
	}
	if err := ace.CheckResource(resource); err != nil {
		return Device{}, err
	}
	d, err := s.store.DeviceByResource(ctx, resource)
	if errors.Is(err, ErrNotFound) {
		return Device{}, wrongTarget("resource: unknown")
	}
	if err != nil || audience == "" {
		return d, err
	}
	other, err := s.device(ctx, audience)
	if err != nil {
		return Device{}, err
	}
	if other.ID != d.ID {
		return Device{}, wrongTarget("audience and resource name two different things; one token is for one of them")
	}
	return d, nil
}

func wrongTarget(why string) error { return &ace.Error{Code: ace.InvalidTarget, Description: why} }

// checkBinding sees to it that a token for an HTTP API is bound to a key that the client has shown (RFC 9449 §5, RFC 8705 §3),
// unless the operator lets this client have bearer tokens.
func (r *request) checkBinding() error {
	settings, by := &r.caller.Client.Settings, &r.caller
	bad := func(why string) error { return &ace.Error{Code: ace.InvalidRequest, Description: why} }
	r.device.Clock = provision.ClockSynced // whatever the record says: an API can tell the time
	switch {
	case r.ReqCnf != nil || r.Profile != nil:
		return bad("req_cnf and ace_profile are for devices; a token for an HTTP API is bound by a DPoP proof or a TLS certificate")
	case r.CNonce != nil || r.ToRS != nil || r.TokenUpload != nil:
		return bad("cnonce, to_rs and token_upload are for devices; leave them out for an HTTP API")
	case settings.DPoPBound && settings.TLSBound:
		return bad("this client is registered for two bindings at once; the operator must choose one")
	case settings.DPoPBound && by.DPoP == nil:
		return bad("this client must send a DPoP proof (RFC 9449)")
	case settings.TLSBound && by.Certificate == nil:
		return bad("this client must connect with its TLS certificate (RFC 8705)")
	case by.DPoP == nil && by.Certificate == nil && !settings.Bearer:
		return bad("send a DPoP proof (RFC 9449) or connect with a TLS certificate (RFC 8705): this client gets no bearer tokens")
	}
	return nil
}

// bound is what the token is bound to; nil for a bearer token. The proof goes before the certificate, which the way to us may
// need for itself, unless the client is registered for the latter.
func (c *Caller) bound() *jose.Confirmation {
	switch {
	case c.DPoP != nil && !c.Client.Settings.TLSBound:
		return &jose.Confirmation{Thumbprint: jose.Thumbprint(c.DPoP)}
	case c.Certificate != nil:
		return &jose.Confirmation{Certificate: jose.Thumbprint(c.Certificate)}
	}
	return nil
}

// issueHTTP makes a token for an HTTP API (RFC 9068). Its scope is the names of its actions, its jti the id under which it is
// remembered.
func (s *Server) issueHTTP(r *request, c *pop.Claims, expiresIn time.Duration) (minted, error) {
	s.nameParties(c, r)
	token, err := jose.SignAccess(jose.AccessToken{
		Registered: jose.Registered{
			Issuer: c.Issuer, Subject: c.Subject, Audience: []string{r.device.Resource}, IssuedAt: c.IssuedAt, Expires: c.Expires,
			ID: base64.RawURLEncoding.EncodeToString(c.ID), Confirmation: r.caller.bound(),
		},
		ClientID: c.ClientID, Scope: r.device.Names(r.decision.Rights),
	}, r.signer)
	if err != nil {
		return minted{}, fmt.Errorf("issue for %s: %w", r.device.Audience(), err)
	}
	record := TokenRecord{
		ID: c.ID, Device: r.device.ID, Grant: r.decision.Grant, Client: r.caller.Client.ID, User: r.shown.user,
		Code: r.shown.code, IssuedAt: c.IssuedAt, Expires: c.Expires, SignedBy: r.signer.ID,
	}
	asJSON, asCBOR := cwt.HashJWT(token)
	record.Hash, record.AltHash = asJSON[:], asCBOR[:]
	if r.caller.Encoding == EncodingCBOR {
		record.Hash, record.AltHash = record.AltHash, record.Hash
	}
	return minted{bytes: []byte(token), record: record, expiresIn: expiresIn}, nil
}

// answerHTTP says how the token is used: a type of its own for DPoP (RFC 9449 §5), Bearer otherwise (RFC 8705 §3).
func (r *request) answerHTTP(token minted) *ace.TokenResponse {
	kind := ace.TokenTypeBearer
	if b := r.caller.bound(); b != nil && b.Thumbprint != (jose.Thumbprint{}) {
		kind = ace.TokenTypeDPoP
	}
	return &ace.TokenResponse{
		AccessToken: token.bytes, TokenType: kind, ExpiresIn: token.expiresIn, Scope: scopeFor(&r.device, r.decision.Rights, r.Scope),
	}
}
