package ace

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// ErrorCode is an OAuth error. Positive values are the numbers of IANA OAuth Error Code CBOR Mappings (RFC 9200 §8.4);
// negative ones exist over HTTP only and never travel as numbers.
type ErrorCode int

// Registered codes. RFC 8707's invalid_target has no number: an unknown audience is invalid_request, an unknown resource
// invalid_target.
const (
	InvalidRequest       ErrorCode = 1
	InvalidClient        ErrorCode = 2
	InvalidGrant         ErrorCode = 3
	UnauthorizedClient   ErrorCode = 4
	UnsupportedGrantType ErrorCode = 5
	InvalidScope         ErrorCode = 6
	UnsupportedPoPKey    ErrorCode = 7
	IncompatibleProfiles ErrorCode = 8
)

// Codes of the authorization endpoint (RFC 6749 §4.1.2.1).
const (
	AccessDenied ErrorCode = -1 - iota
	ServerError
	TemporarilyUnavailable
	UnsupportedResponseType
)

// Codes of the token endpoint that have no number (RFC 8628 §3.5, RFC 9396 §5).
const (
	AuthorizationPending ErrorCode = -100 - iota
	SlowDown
	ExpiredToken
	InvalidDetails
)

// Codes of the token endpoint over HTTP (RFC 8707 §2, RFC 9449 §12.2).
const (
	InvalidTarget ErrorCode = -200 - iota
	InvalidDPoPProof
	UseDPoPNonce
)

// Codes of registration over HTTP (RFC 7591 §3.2.2), and of a bearer token that is not good (RFC 6750 §3.1).
const (
	InvalidRedirectURI ErrorCode = -300 - iota
	InvalidClientMetadata
	InvalidSoftwareStatement
	UnapprovedSoftwareStatement
	InvalidToken
)

// Codes of draft-ietf-oauth-attestation-based-client-auth-10, over HTTP.
const (
	UseAttestationChallenge ErrorCode = -400 - iota
	UseFreshAttestation
	InvalidClientAttestation
)

var errorNames = map[ErrorCode]string{
	InvalidRequest:          "invalid_request",
	InvalidClient:           "invalid_client",
	InvalidGrant:            "invalid_grant",
	UnauthorizedClient:      "unauthorized_client",
	UnsupportedGrantType:    "unsupported_grant_type",
	InvalidScope:            "invalid_scope",
	UnsupportedPoPKey:       "unsupported_pop_key",
	IncompatibleProfiles:    "incompatible_ace_profiles",
	AccessDenied:            "access_denied",
	ServerError:             "server_error",
	TemporarilyUnavailable:  "temporarily_unavailable",
	UnsupportedResponseType: "unsupported_response_type",
	AuthorizationPending:    "authorization_pending",
	SlowDown:                "slow_down",
	ExpiredToken:            "expired_token",
	InvalidDetails:          "invalid_authorization_details",
	InvalidTarget:           "invalid_target",
	InvalidDPoPProof:        "invalid_dpop_proof",
	UseDPoPNonce:            "use_dpop_nonce",

	InvalidRedirectURI:          "invalid_redirect_uri",
	InvalidClientMetadata:       "invalid_client_metadata",
	InvalidSoftwareStatement:    "invalid_software_statement",
	UnapprovedSoftwareStatement: "unapproved_software_statement",
	InvalidToken:                "invalid_token",

	UseAttestationChallenge:  "use_attestation_challenge",
	UseFreshAttestation:      "use_fresh_attestation",
	InvalidClientAttestation: "invalid_client_attestation",
}

// String is the name in JSON.
func (c ErrorCode) String() string {
	if name, ok := errorNames[c]; ok {
		return name
	}
	return fmt.Sprintf("error %d", int(c))
}

// ParseErrorCode finds a code by name; ok is false for a name we do not know.
func ParseErrorCode(name string) (code ErrorCode, ok bool) {
	for c, n := range errorNames {
		if n == name {
			return c, true
		}
	}
	return 0, false
}

// Error is an OAuth error response (RFC 9200 §5.8.3). Description is for the client's developer: it names no secret
// and no claim of a token.
type Error struct {
	Code        ErrorCode
	Description string
	URI         string
}

// Error is the name and the description.
func (e *Error) Error() string {
	if e.Description == "" {
		return e.Code.String()
	}
	return e.Code.String() + ": " + e.Description
}

// Is makes errors.Is(err, &Error{Code: c}) compare codes alone.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Description == "" && t.URI == ""
}

// CBOR is the map {30: code, ? 31: description, ? 32: URI}. A code without a number is an error; it leaves as a bare
// response code.
func (e *Error) CBOR() ([]byte, error) {
	if e.Code <= 0 {
		return nil, fmt.Errorf("%s has no number", e.Code)
	}
	m := map[Parameter]any{ParamError: int(e.Code)}
	if e.Description != "" {
		m[ParamErrorDescription] = describe(e.Description)
	}
	if e.URI != "" {
		m[ParamErrorURI] = describe(e.URI)
	}
	return wire.Marshal(m)
}

// errorJSON has the members in the order people read them.
type errorJSON struct {
	Error       string `json:"error"`
	Description string `json:"error_description,omitempty"`
	URI         string `json:"error_uri,omitempty"`
}

// JSON is the object of RFC 6749 §5.2.
func (e *Error) JSON() ([]byte, error) {
	return json.Marshal(errorJSON{e.Code.String(), describe(e.Description), describe(e.URI)})
}

// ParseErrorCBOR reads what CBOR wrote. A number we do not know is kept.
func ParseErrorCBOR(data []byte) (*Error, error) {
	f, err := parseFields(data)
	if err != nil {
		return nil, err
	}
	r := reader{fields: f}
	code := r.required(ParamError).uint(ParamError)
	if code == 0 || code > maxErrorCode {
		r.fail(ParamError, errors.New("no such number"))
	}
	e := &Error{
		Code:        ErrorCode(code),
		Description: describe(r.text(ParamErrorDescription, MaxMessage)),
		URI:         describe(r.text(ParamErrorURI, MaxMessage)),
	}
	if r.err != nil {
		return nil, r.err
	}
	return e, nil
}

// NewError makes an error of what stood in a redirect or in JSON. A name we do not know becomes part of the
// description, with code 0.
func NewError(name, description string) *Error {
	code, known := ParseErrorCode(name)
	if !known {
		description = strings.TrimSuffix(name+": "+description, ": ")
	}
	return &Error{Code: code, Description: describe(description)}
}

// ParseErrorJSON reads what JSON wrote, by the rule of NewError.
func ParseErrorJSON(data []byte) (*Error, error) {
	if _, err := parseObject(data); err != nil {
		return nil, err
	}
	var in errorJSON
	if err := json.Unmarshal(data, &in); err != nil || in.Error == "" {
		return nil, fmt.Errorf("%s: missing or not a string", ParamError)
	}
	e := NewError(in.Error, in.Description)
	e.URI = describe(in.URI)
	return e, nil
}

// describe keeps the bytes RFC 6749 §5.2 allows, because a description may quote what a stranger sent.
func describe(s string) string {
	if len(s) > maxDescription {
		s = s[:maxDescription]
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r < ' ' || r == '\\' || r > '~':
			return '?'
		}
		return r
	}, s)
}
