package ace

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// TokenResponse is the success answer of /token (RFC 9200 §5.8.2), CoAP 2.01 or HTTP 200.
type TokenResponse struct {
	AccessToken  []byte        // an encoded CWT, or the ASCII of a compact JWT; nil when it was uploaded and not asked for
	TokenType    TokenType     // 0: PoP
	ExpiresIn    time.Duration // whole seconds; a client must not use a token of unknown lifetime
	Scope        Scope         // zero: as requested
	Cnf          *pop.Confirmation
	Profile      pop.Profile // 0: absent
	TokenUpload  *uint       // nil: no upload was attempted; else UploadDone, UploadFailed or UploadNewSeries
	TokenHash    []byte      // with UploadDone only
	FromRS       []byte      // nil: absent; the content, without CBOR header and tag; with UploadDone only
	RefreshToken string      // "": none
	Details      string      // authorization_details as granted (RFC 9396 §7), JSON as text; "": absent
	RSURI        []string    // where the resource server may be reached, best first; hints, not trust (D13)
}

// Format hides the response, which holds secrets, from every verb.
func (TokenResponse) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// LogValue hides the response from logs.
func (TokenResponse) LogValue() slog.Value { return slog.StringValue(redacted) }

// ParseTokenResponseCBOR reads a map with integer keys; keys we do not know are ignored.
func ParseTokenResponseCBOR(data []byte) (*TokenResponse, error) {
	f, err := parseFields(data)
	if err != nil {
		return nil, fmt.Errorf("token response: %w", err)
	}
	r, err := newTokenResponse(f)
	if err == nil && r.TokenType == TokenTypeDPoP {
		return nil, fmt.Errorf("token response: %s: %w", ParamTokenType, errNoNumber)
	}
	return r, err
}

var errNoNumber = errors.New("DPoP has no number")

// ParseTokenResponseJSON reads an object; members we do not know are ignored.
func ParseTokenResponseJSON(data []byte) (*TokenResponse, error) {
	members, err := parseObject(data)
	if err != nil {
		return nil, fmt.Errorf("token response: %w", err)
	}
	f, err := fieldsFromMembers(members)
	if err != nil {
		return nil, fmt.Errorf("token response: %w", err)
	}
	return newTokenResponse(f)
}

func newTokenResponse(f fields) (*TokenResponse, error) {
	r := &reader{fields: f}
	for _, p := range refused {
		if _, ok := f[p]; ok {
			r.fail(p, errors.New("not supported"))
		}
	}
	resp := &TokenResponse{
		AccessToken:  r.bytes(ParamAccessToken, 1, MaxToken),
		TokenType:    read(r, ParamTokenType, parseTokenTypeNumber),
		ExpiresIn:    r.seconds(ParamExpiresIn),
		Scope:        r.scope(ParamScope),
		Cnf:          r.confirmation(ParamCnf),
		Profile:      read(r, ParamProfile, parseResponseProfile),
		TokenUpload:  r.upload(paramTokenUpload),
		TokenHash:    r.bytes(paramTokenHash, 1, maxTokenHash),
		FromRS:       r.item(paramFromRS),
		RSURI:        r.uris(paramRSURI),
		RefreshToken: r.secret(ParamRefreshToken, maxSecret),
		Details:      read(r, paramDetails, parseDetails),
	}
	if resp.TokenType == 0 {
		resp.TokenType = TokenTypePoP
	}
	if r.err == nil {
		r.err = resp.check()
	}
	if r.err != nil {
		return nil, fmt.Errorf("token response: %w", r.err)
	}
	return resp, nil
}

// check holds the table of workflow-08 §3.1, with our reading of value 2.
func (r *TokenResponse) check() error {
	uploaded := r.TokenUpload != nil && *r.TokenUpload == UploadDone
	switch {
	case !uploaded && r.AccessToken == nil:
		return errors.New("neither a token nor word of its upload")
	case !uploaded && (r.TokenHash != nil || r.FromRS != nil):
		return errors.New("token_hash and from_rs need a successful upload")
	case r.AccessToken != nil && r.TokenHash != nil:
		return errors.New("token and token_hash exclude each other")
	}
	return nil
}

func parseTokenTypeNumber(raw wire.RawMessage) (TokenType, error) {
	n, err := intOf(raw)
	if err == nil && !slices.Contains([]TokenType{TokenTypeBearer, TokenTypePoP, TokenTypeDPoP}, TokenType(n)) {
		err = errors.New("unknown token type")
	}
	return TokenType(n), err
}

func parseResponseProfile(raw wire.RawMessage) (pop.Profile, error) {
	n, err := intOf(raw)
	if err == nil && !slices.Contains(profiles, pop.Profile(n)) {
		err = errors.New("unknown profile")
	}
	return pop.Profile(n), err
}

// CBOR writes the response for CoAP or application/ace+cbor; token_type is left out when it is PoP.
func (r *TokenResponse) CBOR() ([]byte, error) {
	if r.TokenType == TokenTypeDPoP {
		return nil, fmt.Errorf("%s: %w", ParamTokenType, errNoNumber)
	}
	f, err := r.fields()
	if err != nil {
		return nil, err
	}
	if r.TokenType == TokenTypePoP || r.TokenType == 0 {
		delete(f, ParamTokenType)
	}
	return wire.Marshal(f)
}

// JSON writes the response for HTTP; token_type always stands there, because OAuth clients demand it.
func (r *TokenResponse) JSON() ([]byte, error) {
	f, err := r.fields()
	if err != nil {
		return nil, err
	}
	return f.json()
}

func (r *TokenResponse) fields() (fields, error) {
	if r.ExpiresIn < time.Second {
		return nil, fmt.Errorf("%s: less than a second", ParamExpiresIn)
	}
	w := writer{}
	w.bytes(ParamAccessToken, r.AccessToken)
	w.seconds(ParamExpiresIn, r.ExpiresIn)
	w.scope(ParamScope, r.Scope)
	w.confirmation(ParamCnf, r.Cnf)
	w.bytes(paramTokenHash, r.TokenHash)
	w.bytes(paramFromRS, r.FromRS)
	w.uris(paramRSURI, r.RSURI)
	w.secret(ParamRefreshToken, r.RefreshToken)
	w.text(paramDetails, r.Details)
	w.put(ParamTokenType, int(cmp.Or(r.TokenType, TokenTypePoP)))
	if r.Profile != 0 {
		w.put(ParamProfile, int(r.Profile))
	}
	if r.TokenUpload != nil {
		w.put(paramTokenUpload, *r.TokenUpload)
	}
	if w.err != nil {
		return nil, w.err
	}
	_, err := newTokenResponse(w.fields)
	return w.fields, err
}
