package ace

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// Labels of introspection (IANA OAuth Token Introspection Response CBOR Mappings, RFC 9200 §8.13) that are no claims of a
// CWT. The others have the label of the claim.
const (
	labelActive       Parameter = 10
	labelToken        Parameter = 11
	labelClientID     Parameter = 24
	labelClientSecret Parameter = 25
	labelTypeHint     Parameter = 33
	labelTokenType    Parameter = 34
	labelUsername     Parameter = 35
)

// labelNames name them in errors: 10 and 11 mean nothing, 1 and 2 another thing among the parameters of /token.
var labelNames = map[Parameter]string{
	labelActive: "active", labelToken: "token", labelClientID: "client_id", labelClientSecret: "client_secret",
	labelTypeHint: "token_type_hint", labelTokenType: "token_type", labelUsername: "username",
}

// IntrospectionRequest asks about a token (RFC 7662 §2.1, RFC 9200 §5.9.1). A revocation request has the same parameters
// (RFC 7009 §2.1).
type IntrospectionRequest struct {
	// Token is an access token as in TokenResponse, or a refresh token. Text that is neither a JWT nor base64url stands here
	// as it is: it is a token that nobody made, not a malformed request.
	Token         []byte
	Hint          string // token_type_hint; "" also for the number that RFC 9200's own example has
	ClientID      string
	ClientSecret  string
	AssertionType string // RFC 7521 §4.2; in JSON and forms only, as Assertion is
	Assertion     string
}

// Format hides the request, which holds a credential, from every verb.
func (IntrospectionRequest) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// LogValue hides the request from logs.
func (IntrospectionRequest) LogValue() slog.Value { return slog.StringValue(redacted) }

// ParseIntrospectionRequestCBOR reads a map with integer keys; keys we do not know are ignored. Every error of the three
// functions is an *Error.
func ParseIntrospectionRequestCBOR(data []byte) (*IntrospectionRequest, error) {
	f, err := parseFields(data)
	if err != nil {
		return nil, invalid(err)
	}
	r := &reader{fields: f, names: labelNames}
	in := &IntrospectionRequest{
		Token:        r.required(labelToken).bytes(labelToken, 1, maxInquiry),
		Hint:         read(r, labelTypeHint, hintOf),
		ClientID:     r.text(labelClientID, maxName),
		ClientSecret: r.secret(labelClientSecret, maxSecret),
	}
	if r.err != nil {
		return nil, invalid(r.err)
	}
	return in, nil
}

// hintOf reads text, as the registry has it, or a number, as the example of RFC 9200 §5.9.1 has it.
func hintOf(raw wire.RawMessage) (string, error) {
	if major(raw) == majorUint {
		_, err := uintOf(raw)
		return "", err
	}
	hint, err := textOf(raw)
	if err == nil {
		err = checkText(hint, maxName)
	}
	return hint, err
}

// ParseIntrospectionRequestJSON reads an object; members we do not know are ignored.
func ParseIntrospectionRequestJSON(data []byte) (*IntrospectionRequest, error) {
	members, err := parseObject(data)
	if err != nil {
		return nil, invalid(err)
	}
	values := make(map[string]string)
	for _, name := range inquiryNames {
		raw, ok := members[name]
		if !ok {
			continue
		}
		if values[name], err = jsonText(raw); err != nil {
			return nil, invalid(fmt.Errorf("%s: %w", name, err))
		}
	}
	return inquiry(values)
}

// ParseIntrospectionRequestForm reads the values of a form, which must come from the request's body.
func ParseIntrospectionRequestForm(form url.Values) (*IntrospectionRequest, error) {
	values := make(map[string]string)
	for name, all := range form {
		if len(all) > 1 {
			return nil, invalid(fmt.Errorf("%.64s: stands twice", name))
		}
		if len(all) == 1 {
			values[name] = all[0]
		}
	}
	return inquiry(values)
}

// inquiryNames are the members that are read.
var inquiryNames = []string{
	labelNames[labelToken], labelNames[labelTypeHint], labelNames[labelClientID], labelNames[labelClientSecret], "client_assertion_type", "client_assertion",
}

func inquiry(values map[string]string) (*IntrospectionRequest, error) {
	in := &IntrospectionRequest{
		Hint: values["token_type_hint"], ClientID: values["client_id"], ClientSecret: values["client_secret"],
		AssertionType: values["client_assertion_type"], Assertion: values["client_assertion"],
	}
	text := values["token"]
	if text == "" {
		return nil, invalid(errors.New("token: missing"))
	}
	for _, err := range []error{
		checkText(text, maxInquiry), checkText(in.Hint, maxName), checkText(in.ClientID, maxName), checkText(in.ClientSecret, maxSecret),
		checkText(in.AssertionType, maxName), checkText(in.Assertion, maxAssertion),
	} {
		if err != nil {
			return nil, invalid(err)
		}
	}
	var err error
	if in.Token, err = decode64(text); err != nil {
		in.Token = []byte(text)
	}
	return in, nil
}

// CBOR writes the request for CoAP.
func (r *IntrospectionRequest) CBOR() ([]byte, error) {
	w := writer{}
	w.put(labelToken, r.Token)
	w.text(labelTypeHint, r.Hint)
	w.text(labelClientID, r.ClientID)
	w.secret(labelClientSecret, r.ClientSecret)
	if w.err != nil {
		return nil, w.err
	}
	data, err := wire.Marshal(w.fields)
	if err != nil {
		return nil, err
	}
	_, err = ParseIntrospectionRequestCBOR(data)
	return data, err
}

// Form writes the request for HTTP.
func (r *IntrospectionRequest) Form() (url.Values, error) {
	form := url.Values{"token": {TokenText(r.Token)}}
	for name, value := range map[string]string{"token_type_hint": r.Hint, "client_id": r.ClientID, "client_secret": r.ClientSecret} {
		if value != "" {
			form.Set(name, value)
		}
	}
	_, err := ParseIntrospectionRequestForm(form)
	return form, err
}

// JSON writes the request for application/ace+json.
func (r *IntrospectionRequest) JSON() ([]byte, error) {
	form, err := r.Form()
	if err != nil {
		return nil, err
	}
	members := make(map[string]string)
	for name := range form {
		members[name] = form.Get(name)
	}
	return json.Marshal(members)
}

// TokenText is a token as it stands in JSON and forms: a JWT as it is, anything else in base64url.
func TokenText(token []byte) string {
	if isJWT(token) {
		return string(token)
	}
	return encode64(token)
}
