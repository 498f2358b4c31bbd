package registration

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/ace"
)

// Metadata is what a client says of itself (RFC 7591 §2). Members that are not here are ignored, as that section asks.
type Metadata struct {
	RedirectURIs    []string
	AuthMethod      authz.AuthMethod
	GrantTypes      []string
	ResponseTypes   []string // nil: not said
	Name            string
	Scope           []string // nil: not said
	Keys            string   // a JWK Set
	SoftwareID      string
	SoftwareVersion string
	Settings        authz.ClientSettings
}

// refusals are of members that change what a registration means, so that ignoring them would be another registration.
var refusals = []struct {
	member string
	code   ace.ErrorCode
	why    string
}{
	{"software_statement", ace.UnapprovedSoftwareStatement, "this server trusts nobody's statements about software; leave software_statement out"},
	{"jwks_uri", ace.InvalidClientMetadata, "this server fetches nothing from elsewhere: give the keys in jwks instead of jwks_uri"},
	{"tls_client_auth_san_ip", ace.InvalidClientMetadata, "tls_client_auth_san_ip is not available; name the subject, a DNS name or a URI of the certificate"},
	{"tls_client_auth_san_email", ace.InvalidClientMetadata, "tls_client_auth_san_email is not available; name the subject, a DNS name or a URI of the certificate"},
}

// Parse reads the body of a registration (RFC 7591 §3.1): strict JSON, of which it refuses what it knows and cannot do. Errors are
// *ace.Error invalid_client_metadata, or unapproved_software_statement.
func Parse(body []byte) (Metadata, error) {
	in, err := read(body)
	if err != nil {
		return Metadata{}, err
	}
	return in.metadata()
}

// ParseUpdate reads the body of an update of c (RFC 7592 §2.2), which must be of c and must hold nothing that the server alone
// decides.
func ParseUpdate(body []byte, c *authz.Client) (Metadata, error) {
	in, err := read(body)
	if err != nil {
		return Metadata{}, err
	}
	for _, name := range []string{"registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at"} {
		if in.has(name) {
			return Metadata{}, bad("an update holds no " + name)
		}
	}
	if id := in.text("client_id", maxText); in.err == nil && id != c.ID {
		return Metadata{}, bad("client_id must be that of the client")
	}
	if in.has("client_secret") {
		secret := in.text("client_secret", maxSecret)
		if in.err == nil && subtle.ConstantTimeCompare(authz.HashSecret(secret), c.SecretHash) != 1 {
			return Metadata{}, bad("client_secret is not that of the client")
		}
	}
	return in.metadata()
}

func bad(why string) error {
	return &ace.Error{Code: ace.InvalidClientMetadata, Description: why}
}

func read(body []byte) (*reader, error) {
	members, err := ace.ParseObject(body)
	if err != nil {
		return nil, bad(err.Error())
	}
	in := &reader{members: members}
	for _, refused := range refusals {
		if in.has(refused.member) {
			return nil, &ace.Error{Code: refused.code, Description: refused.why}
		}
	}
	return in, nil
}

// reader takes members; the first error stays.
type reader struct {
	members map[string]json.RawMessage
	err     error
}

// has: null is as good as nothing (RFC 7592 §2.2).
func (r *reader) has(name string) bool {
	raw, there := r.members[name]
	return there && !bytes.Equal(raw, []byte("null"))
}

func (r *reader) fail(name, why string) {
	if r.err == nil {
		r.err = bad(name + ": " + why)
	}
}

// text is "" for a member that is not there.
func (r *reader) text(name string, most int) (s string) {
	if !r.has(name) {
		return ""
	}
	if err := json.Unmarshal(r.members[name], &s); err != nil {
		r.fail(name, "not a string")
	}
	r.printable(name, s, most)
	return s
}

func (r *reader) printable(name, s string, most int) {
	if len(s) > most || strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		r.fail(name, fmt.Sprintf("at most %d bytes, without control characters", most))
	}
}

// list is nil for a member that is not there.
func (r *reader) list(name string, length, most int) (list []string) {
	if !r.has(name) {
		return nil
	}
	var items []*string // so that null among them is seen
	if err := json.Unmarshal(r.members[name], &items); err != nil || len(items) > length || slices.Contains(items, nil) {
		r.fail(name, fmt.Sprintf("not a list of at most %d strings", length))
		return nil
	}
	list = []string{}
	for _, item := range items {
		r.printable(name, *item, most)
		list = append(list, *item)
	}
	return list
}

func (r *reader) flag(name string) (b bool) {
	if r.has(name) && json.Unmarshal(r.members[name], &b) != nil {
		r.fail(name, "neither true nor false")
	}
	return b
}

// keys are kept as they are written, without blanks.
func (r *reader) keys(name string) string {
	if !r.has(name) {
		return ""
	}
	var text bytes.Buffer
	if err := json.Compact(&text, r.members[name]); err != nil || text.Len() == 0 || text.Bytes()[0] != '{' {
		r.fail(name, "not a JWK Set")
	}
	return text.String()
}

func (r *reader) metadata() (Metadata, error) {
	m := Metadata{
		RedirectURIs: r.list("redirect_uris", maxRedirectURIs, maxRedirectURI), AuthMethod: authz.AuthMethod(r.text("token_endpoint_auth_method", maxText)),
		GrantTypes: r.list("grant_types", maxList, maxText), ResponseTypes: r.list("response_types", maxList, maxText),
		Name: r.text("client_name", maxName), Keys: r.keys("jwks"),
		SoftwareID: r.text("software_id", maxText), SoftwareVersion: r.text("software_version", maxText),
		Settings: authz.ClientSettings{
			RequirePAR: r.flag("require_pushed_authorization_requests"), DPoPBound: r.flag("dpop_bound_access_tokens"),
			TLSBound:   r.flag("tls_client_certificate_bound_access_tokens"),
			TLSSubject: r.text("tls_client_auth_subject_dn", maxText), TLSSANDNS: r.text("tls_client_auth_san_dns", maxText),
			TLSSANURI: r.text("tls_client_auth_san_uri", maxText),
		},
	}
	if words := strings.Fields(r.text("scope", maxScope)); len(words) > 0 {
		m.Scope = words
	}
	return m, r.err
}

// Client is the client that metadata describe, within what is allowed to it and served here. Errors are *ace.Error
// invalid_redirect_uri or invalid_client_metadata.
func (m *Metadata) Client(may authz.Allowed, served []authz.AuthMethod) (authz.Client, error) {
	c := authz.Client{
		Name: m.Name, AuthMethod: m.AuthMethod, RedirectURIs: m.RedirectURIs, GrantTypes: m.GrantTypes, Ceiling: m.Scope,
		Keys: m.Keys, Settings: m.Settings, ClientMadeKeys: may.ClientMadeKeys,
	}
	if c.AuthMethod == "" { // RFC 7591 §2
		c.AuthMethod = authz.AuthSecretBasic
	}
	if len(c.GrantTypes) == 0 { // RFC 7591 §2
		c.GrantTypes = []string{authz.AuthorizationCode}
	}
	if c.Ceiling == nil {
		c.Ceiling = slices.Clone(may.Scope)
	}
	c.Settings.Bearer = may.Bearer && !c.Settings.DPoPBound && !c.Settings.TLSBound
	c.Settings.Registered = &authz.Registered{Allowed: may, SoftwareID: m.SoftwareID, SoftwareVersion: m.SoftwareVersion}
	for _, check := range []func() error{
		func() error { return within(&c, may, served) }, m.checkResponseTypes, func() error { return checkSchemes(c.RedirectURIs) },
		func() error { return Check(&c) },
	} {
		if err := check(); err != nil {
			return authz.Client{}, asMetadataError(err)
		}
	}
	return c, nil
}

// Replace is the client that c becomes by an update (RFC 7592 §2.2): what metadata do not say is gone, what the server or its
// operator decided stays.
func (m *Metadata) Replace(c *authz.Client, served []authz.AuthMethod) (authz.Client, error) {
	next, err := m.Client(c.Settings.Registered.Allowed, served)
	if err != nil {
		return authz.Client{}, err
	}
	next.ID, next.CreatedAt, next.Management, next.SecretHash, next.Serves = c.ID, c.CreatedAt, c.Management, c.SecretHash, c.Serves
	next.Settings.Administrator, next.Settings.ProblemDetails = c.Settings.Administrator, c.Settings.ProblemDetails
	return next, nil
}

func asMetadataError(err error) error {
	code := ace.InvalidClientMetadata
	if errors.Is(err, ErrRedirectURI) {
		code = ace.InvalidRedirectURI
	}
	return &ace.Error{Code: code, Description: err.Error()}
}

// within holds a client to its invitation.
func within(c *authz.Client, may authz.Allowed, served []authz.AuthMethod) error {
	if !slices.Contains(served, c.AuthMethod) {
		return fmt.Errorf("token_endpoint_auth_method %q is not available here", c.AuthMethod)
	}
	if !slices.Contains(may.AuthMethods, c.AuthMethod) {
		return fmt.Errorf("token_endpoint_auth_method %q is not within the invitation", c.AuthMethod)
	}
	for _, g := range c.GrantTypes {
		if !slices.Contains(may.GrantTypes, g) {
			return fmt.Errorf("grant type %q is not within the invitation, which allows %s", g, strings.Join(may.GrantTypes, " "))
		}
	}
	if may.Scope == nil {
		return nil
	}
	for _, word := range c.Ceiling {
		if !slices.Contains(may.Scope, word) {
			return fmt.Errorf("scope %q is not within the invitation, which allows %s", word, strings.Join(may.Scope, " "))
		}
	}
	return nil
}

// checkResponseTypes wants response types that fit the grant types (RFC 7591 §2.1).
func (m *Metadata) checkResponseTypes() error {
	if m.ResponseTypes == nil {
		return nil
	}
	code := len(m.GrantTypes) == 0 || slices.Contains(m.GrantTypes, authz.AuthorizationCode)
	if code && !slices.Equal(m.ResponseTypes, responseTypes) || !code && len(m.ResponseTypes) > 0 {
		return errors.New(`response_types must be ["code"] with authorization_code, and [] or nothing without`)
	}
	return nil
}

var responseTypes = []string{"code"}

// checkSchemes asks of an app's own scheme that it is a name of its maker's (RFC 8252 §7.1): others belong to other apps.
func checkSchemes(uris []string) error {
	for _, r := range uris {
		if u, err := url.Parse(r); err == nil && u.Scheme != "http" && u.Scheme != "https" && !strings.Contains(u.Scheme, ".") {
			return fmt.Errorf("%w %.300q: https, http to this machine, or a scheme like com.example.app", ErrRedirectURI, r)
		}
	}
	return nil
}
