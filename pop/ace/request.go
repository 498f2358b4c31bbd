package ace

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// TokenRequest is a request to /token (RFC 9200 §5.8.1). An empty string means that the parameter is absent.
type TokenRequest struct {
	GrantType        string // one of the grant types named here; nothing else is ever decoded
	GrantTypeImplied bool   // CBOR without grant_type; to be refused over HTTP and for public clients (D12)
	ClientID         string
	ClientSecret     string
	AssertionType    string // RFC 7521 §4.2; in JSON and forms only, as Assertion and Resource are
	Assertion        string
	Code             string
	RedirectURI      string
	CodeVerifier     string
	RefreshToken     string
	DeviceCode       string // RFC 8628
	Details          string // authorization_details (RFC 9396), a JSON array as text
	Audience         string
	Resource         string // RFC 8707: an absolute URI without fragment
	Scope            Scope
	ReqCnf           *pop.Confirmation
	Profile          *ProfileRequest // nil: absent
	CNonce           []byte          // nil: absent; empty is a value
	TokenUpload      *uint           // nil: absent; else UploadWantNothing, UploadWantHash or UploadWantToken
	ToRS             []byte          // nil: absent; the content, without CBOR header and tag
}

// ProfileRequest is ace_profile in a request.
type ProfileRequest struct {
	Named   bool        // false: "tell me the profile" (null in CBOR, "" in JSON)
	Profile pop.Profile // with Named only
}

// TellProfile asks for the profile to be named in the response.
func TellProfile() *ProfileRequest { return &ProfileRequest{} }

const redacted = "[redacted]"

// Format hides the request, which holds secrets, from every verb.
func (TokenRequest) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// LogValue hides the request from logs.
func (TokenRequest) LogValue() slog.Value { return slog.StringValue(redacted) }

// refused are parameters that would change what is asked for, so that ignoring them would answer another question
// (D10).
var refused = []Parameter{ParamRSCnf, paramRSCnf2, paramAudience2, paramAnchorCnf, paramTokenSeriesID}

func newTokenRequest(f fields) (*TokenRequest, error) {
	r := &reader{fields: f}
	for _, p := range refused {
		if _, ok := f[p]; ok {
			r.fail(p, errors.New("not supported"))
		}
	}
	req := &TokenRequest{
		ClientID:      r.text(ParamClientID, maxName),
		ClientSecret:  r.secret(ParamClientSecret, maxSecret),
		AssertionType: r.text(paramAssertionType, maxName),
		Assertion:     r.secret(paramAssertion, maxAssertion),
		Code:          r.secret(ParamCode, maxSecret),
		RedirectURI:   r.text(ParamRedirectURI, maxRedirectURI),
		CodeVerifier:  r.text(paramCodeVerifier, maxVerifier),
		Audience:      r.text(ParamAudience, maxName),
		Resource:      read(r, paramResource, parseResource),
		Scope:         read(r, ParamScope, parseRequestScope),
		ReqCnf:        r.confirmation(ParamReqCnf),
		Profile:       read(r, ParamProfile, parseProfileRequest),
		CNonce:        r.bytes(ParamCNonce, 0, MaxCNonce),
		TokenUpload:   r.upload(paramTokenUpload),
		ToRS:          r.item(paramToRS),
		RefreshToken:  r.secret(ParamRefreshToken, maxSecret),
		DeviceCode:    r.secret(paramDeviceCode, maxSecret),
		Details:       read(r, paramDetails, parseDetails),
	}
	req.GrantType, req.GrantTypeImplied = readGrantType(r)
	if req.ToRS != nil && req.TokenUpload == nil {
		r.fail(paramToRS, fmt.Errorf("only with %s", paramTokenUpload)) // workflow-08 §3.2
	}
	if r.err != nil {
		return nil, invalid(r.err)
	}
	return req, nil
}

// invalid makes a fresh *Error of any error.
func invalid(err error) error {
	if e := new(Error); errors.As(err, &e) {
		return &Error{Code: e.Code, Description: e.Description, URI: e.URI}
	}
	return &Error{Code: InvalidRequest, Description: err.Error()}
}

func readGrantType(r *reader) (name string, implied bool) {
	if _, ok := r.fields[ParamGrantType]; !ok {
		return GrantClientCredentials, true
	}
	name = grantTypes[r.uint(ParamGrantType)]
	if name == "" || name == grantPassword {
		r.fail(ParamGrantType, unsupportedGrant(name))
	}
	return name, false
}

func unsupportedGrant(name string) error {
	return &Error{Code: UnsupportedGrantType, Description: "grant type " + name + " is not supported"}
}

// parseRequestScope keeps a malformed scope, invalid_scope, apart from a wrong type.
func parseRequestScope(raw wire.RawMessage) (Scope, error) {
	scope, err := parseScope(raw)
	if m := major(raw); err != nil && (m == majorBytes || m == majorText) {
		err = &Error{Code: InvalidScope, Description: "scope: " + err.Error()}
	}
	return scope, err
}

func parseProfileRequest(raw wire.RawMessage) (*ProfileRequest, error) {
	if isNull(raw) {
		return TellProfile(), nil
	}
	n, err := intOf(raw)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(profiles, pop.Profile(n)) {
		return nil, unservedProfile()
	}
	return &ProfileRequest{Named: true, Profile: pop.Profile(n)}, nil
}

// unservedProfile is RFC 9200 §5.8.3: no common profile.
func unservedProfile() error {
	return &Error{Code: IncompatibleProfiles, Description: "ace_profile names a profile that is not served here"}
}

// fields is the request in the common form. What a reader of this package would refuse is not written.
func (r *TokenRequest) fields() (fields, error) {
	w := writer{}
	w.text(ParamClientID, r.ClientID)
	w.secret(ParamClientSecret, r.ClientSecret)
	w.text(paramAssertionType, r.AssertionType)
	w.secret(paramAssertion, r.Assertion)
	w.text(paramResource, r.Resource)
	w.secret(ParamCode, r.Code)
	w.text(ParamRedirectURI, r.RedirectURI)
	w.text(paramCodeVerifier, r.CodeVerifier)
	w.secret(ParamRefreshToken, r.RefreshToken)
	w.secret(paramDeviceCode, r.DeviceCode)
	w.text(paramDetails, r.Details)
	w.text(ParamAudience, r.Audience)
	w.scope(ParamScope, r.Scope)
	w.confirmation(ParamReqCnf, r.ReqCnf)
	w.bytes(ParamCNonce, r.CNonce)
	w.bytes(paramToRS, r.ToRS)
	w.put(ParamGrantType, grantNumber(r.GrantType))
	if r.TokenUpload != nil {
		w.put(paramTokenUpload, *r.TokenUpload)
	}
	switch {
	case r.Profile == nil:
	case !r.Profile.Named:
		w.put(ParamProfile, nil)
	default:
		w.put(ParamProfile, int(r.Profile.Profile))
	}
	if w.err != nil {
		return nil, w.err
	}
	_, err := newTokenRequest(w.fields)
	return w.fields, err
}
