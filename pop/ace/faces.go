package ace

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// ParseTokenRequestCBOR reads a map with integer keys; keys we do not know are ignored. Without grant_type it is a
// client_credentials request (RFC 9200 §5.8.1). Every error of the three functions is an *Error.
func ParseTokenRequestCBOR(data []byte) (*TokenRequest, error) {
	f, err := parseFields(data)
	if err != nil {
		return nil, invalid(err)
	}
	f.dropWeb()
	return newTokenRequest(f)
}

// ParseTokenRequestJSON reads an object; members we do not know are ignored, grant_type is required.
func ParseTokenRequestJSON(data []byte) (*TokenRequest, error) {
	members, err := parseObject(data)
	if err != nil {
		return nil, invalid(err)
	}
	return requestFromMembers(members)
}

// ParseTokenRequestForm reads the values of a form, which must come from the request's body and never from its query
// (D12); grant_type is required. A parameter without a value is absent (RFC 6749 §3.2), but for ace_profile and cnonce.
func ParseTokenRequestForm(form url.Values) (*TokenRequest, error) {
	members := make(map[string]json.RawMessage)
	for name, values := range form {
		row, known := rowNamed(name)
		switch {
		case len(values) > 1 && name == paramResource.String():
			return nil, errTarget
		case len(values) > 1:
			return nil, invalid(fmt.Errorf("%s: stands twice", name))
		case len(values) == 0 || !known:
			continue
		case name == memberScopeAIF:
			return nil, invalid(fmt.Errorf("%s: only in JSON", name))
		}
		raw, err := memberFromForm(row, values[0])
		if err != nil {
			return nil, invalid(named(row.param, err))
		}
		if raw != nil {
			members[name] = raw
		}
	}
	return requestFromMembers(members)
}

// memberFromForm gives the JSON member that a form value stands for, nil for none.
func memberFromForm(row row, value string) (json.RawMessage, error) {
	emptyIsValue := row.param == ParamProfile || row.param == ParamCNonce
	switch {
	case value == "" && !emptyIsValue:
		return nil, nil
	case len(value) > MaxMessage:
		return nil, tooLong(len(value), MaxMessage)
	case !utf8.ValidString(value):
		return nil, errors.New("not UTF-8")
	case row.param == ParamReqCnf || row.param == paramTokenUpload || row.param == paramDetails:
		return json.RawMessage(value), nil
	}
	return json.Marshal(value)
}

func requestFromMembers(members map[string]json.RawMessage) (*TokenRequest, error) {
	f, err := fieldsFromMembers(members)
	if err != nil {
		return nil, invalid(err)
	}
	if _, ok := f[ParamGrantType]; !ok {
		return nil, invalid(named(ParamGrantType, errMissing))
	}
	return newTokenRequest(f)
}

// CBOR writes the request for CoAP or application/ace+cbor, without the parameters of the web.
func (r *TokenRequest) CBOR() ([]byte, error) {
	f, err := r.fields()
	if err != nil {
		return nil, err
	}
	if r.GrantTypeImplied && r.GrantType == GrantClientCredentials {
		delete(f, ParamGrantType)
	}
	f.dropWeb()
	return wire.Marshal(f)
}

// JSON writes the request for application/ace+json.
func (r *TokenRequest) JSON() ([]byte, error) {
	f, err := r.fields()
	if err != nil {
		return nil, err
	}
	return f.json()
}

// Form writes the request for a form body. Rights are written as words, because a form has no place for binary ones.
func (r *TokenRequest) Form() (url.Values, error) {
	worded := *r
	if len(r.Scope.Rights) > 0 {
		worded.Scope = Scope{Words: r.Scope.Rights.String()}
	}
	data, err := worded.JSON()
	if err != nil {
		return nil, err
	}
	members, err := parseObject(data)
	if err != nil {
		return nil, err
	}
	form := make(url.Values)
	for name, raw := range members {
		value := string(raw)
		if strings.HasPrefix(value, `"`) {
			if value, err = jsonText(raw); err != nil {
				return nil, err
			}
		}
		form.Set(name, value)
	}
	return form, nil
}
