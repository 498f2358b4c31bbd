package registration

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/latchkey-ace/latchkey/authz"
)

// Told is what a client information response holds beside the record: what only the asker and the face know.
type Told struct {
	authz.Credentials
	URI string // registration_client_uri
}

// information is a client information response (RFC 7591 §3.2.1, RFC 7592 §3).
type information struct {
	ID            string          `json:"client_id"`
	Secret        string          `json:"client_secret,omitempty"`
	IssuedAt      int64           `json:"client_id_issued_at"`
	SecretExpires *int            `json:"client_secret_expires_at,omitempty"`
	Management    string          `json:"registration_access_token"`
	URI           string          `json:"registration_client_uri"`
	Name          string          `json:"client_name,omitempty"`
	RedirectURIs  []string        `json:"redirect_uris,omitempty"`
	GrantTypes    []string        `json:"grant_types"`
	ResponseTypes []string        `json:"response_types"`
	AuthMethod    string          `json:"token_endpoint_auth_method"`
	Scope         string          `json:"scope,omitempty"`
	Keys          json.RawMessage `json:"jwks,omitempty"`
	RequirePAR    bool            `json:"require_pushed_authorization_requests,omitempty"`
	DPoPBound     bool            `json:"dpop_bound_access_tokens,omitempty"`
	TLSBound      bool            `json:"tls_client_certificate_bound_access_tokens,omitempty"`
	TLSSubject    string          `json:"tls_client_auth_subject_dn,omitempty"`
	TLSSANDNS     string          `json:"tls_client_auth_san_dns,omitempty"`
	TLSSANURI     string          `json:"tls_client_auth_san_uri,omitempty"`
	SoftwareID    string          `json:"software_id,omitempty"`
	Version       string          `json:"software_version,omitempty"`
}

// Information tells a client all that is registered of it. A secret is told once, when it is made: only its hash is kept.
func Information(c *authz.Client, told Told) ([]byte, error) {
	s := &c.Settings
	out := information{
		ID: c.ID, Secret: told.Secret, IssuedAt: c.CreatedAt.Unix(), Management: told.Management, URI: told.URI,
		Name: c.Name, RedirectURIs: c.RedirectURIs, GrantTypes: c.GrantTypes, ResponseTypes: []string{}, AuthMethod: string(c.AuthMethod),
		Scope: strings.Join(c.Ceiling, " "), Keys: json.RawMessage(c.Keys), RequirePAR: s.RequirePAR, DPoPBound: s.DPoPBound, TLSBound: s.TLSBound,
		TLSSubject: s.TLSSubject, TLSSANDNS: s.TLSSANDNS, TLSSANURI: s.TLSSANURI,
	}
	if c.SecretHash != nil {
		out.SecretExpires = new(int) // 0: never
	}
	if slices.Contains(c.GrantTypes, authz.AuthorizationCode) {
		out.ResponseTypes = responseTypes
	}
	if r := s.Registered; r != nil {
		out.SoftwareID, out.Version = r.SoftwareID, r.SoftwareVersion
	}
	return json.Marshal(out)
}
