package ace

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/grade"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// IntrospectionResponse is the answer about a token (RFC 7662 §2.2, RFC 9200 §5.9.2). The zero value says of any token that
// it is not active, and nothing more.
type IntrospectionResponse struct {
	Active bool
	// Claims are the token's, ClientID among them. Confirmation is there for every token with a possession key (RFC 9201 §4);
	// over JSON without an Encrypted_COSE_Key, which has no form there.
	Claims    pop.Claims
	Words     string            // scope in words; "": that of Claims
	TokenType string            // "PoP", "Bearer", or "DPoP", which has no number; "" absent
	Username  string            // for people
	Binding   map[string]string // JSON only: cnf of a token for an HTTP API, jkt (RFC 9449 §6.2) or x5t#S256 (RFC 8705 §3.2)
}

// Format hides the response, which may hold a key, from every verb.
func (IntrospectionResponse) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// LogValue hides the response from logs.
func (IntrospectionResponse) LogValue() slog.Value { return slog.StringValue(redacted) }

var errInactive = errors.New("a token that is not active has no claims")

// CBOR writes the map for CoAP: the claims of a CWT and what is not among them.
func (r *IntrospectionResponse) CBOR() ([]byte, error) {
	w := writer{fields: make(fields)}
	if r.Active {
		if err := w.claims(r); err != nil {
			return nil, fmt.Errorf("introspection response: %w", err)
		}
	}
	w.put(labelActive, r.Active)
	if w.err != nil {
		return nil, w.err
	}
	data, err := wire.Marshal(w.fields)
	if err != nil {
		return nil, err
	}
	_, err = ParseIntrospectionResponseCBOR(data)
	return data, err
}

func (w *writer) claims(r *IntrospectionResponse) error {
	set := r.Claims
	set.Unknown = nil
	if r.Words != "" {
		set.Scope = nil
		w.put(ParamScope, r.Words)
	}
	data, err := cwt.EncodeClaims(&set)
	if err != nil {
		return err
	}
	var claims fields
	if err := wire.Unmarshal(data, &claims); err != nil {
		return err
	}
	for label, raw := range claims {
		w.keep(label, raw, nil)
	}
	w.text(labelClientID, r.Claims.ClientID)
	w.text(labelUsername, r.Username)
	if t, ok := parseTokenType(r.TokenType); ok {
		w.put(labelTokenType, int(t))
	}
	return nil
}

// ParseIntrospectionResponseCBOR reads what CBOR writes; labels that are no claims we know stand in Claims.Unknown.
func ParseIntrospectionResponseCBOR(data []byte) (*IntrospectionResponse, error) {
	f, err := parseFields(data)
	if err != nil {
		return nil, fmt.Errorf("introspection response: %w", err)
	}
	r := &reader{fields: f, names: labelNames}
	out := &IntrospectionResponse{
		Active:   read(r.required(labelActive), labelActive, boolOf),
		Username: r.text(labelUsername, maxName),
	}
	clientID := r.text(labelClientID, maxName)
	if _, ok := f[labelTokenType]; ok {
		out.TokenType = read(r, labelTokenType, parseTokenTypeNumber).String()
	}
	if major(f[ParamScope]) == majorText {
		out.Words = r.text(ParamScope, maxScope)
		delete(f, ParamScope)
	}
	for _, p := range []Parameter{labelActive, labelClientID, labelTokenType, labelUsername} {
		delete(f, p)
	}
	if r.err == nil && !out.Active && (len(f) > 0 || clientID+out.Username+out.TokenType+out.Words != "") {
		r.err = errInactive
	}
	if r.err == nil {
		r.err = out.readClaims(f)
	}
	if r.err != nil {
		return nil, fmt.Errorf("introspection response: %w", r.err)
	}
	out.Claims.ClientID = clientID
	return out, nil
}

func (r *IntrospectionResponse) readClaims(f fields) error {
	data, err := wire.Marshal(f)
	if err != nil {
		return err
	}
	c, err := cwt.ParseClaims(data)
	if err == nil {
		r.Claims = *c
	}
	return err
}

func boolOf(raw wire.RawMessage) (bool, error) {
	if len(raw) != 1 || raw[0] != 0xf4 && raw[0] != 0xf5 {
		return false, errors.New("not true or false")
	}
	return raw[0] == 0xf5, nil
}

// introspectionJSON has the members of RFC 7662 §2.2 and RFC 9200 §5.9.2 in the order in which people read them.
type introspectionJSON struct {
	Active    bool            `json:"active"`
	Scope     string          `json:"scope,omitempty"`
	ClientID  string          `json:"client_id,omitempty"`
	Username  string          `json:"username,omitempty"`
	TokenType string          `json:"token_type,omitempty"`
	Expires   int64           `json:"exp,omitempty"`
	IssuedAt  int64           `json:"iat,omitempty"`
	NotBefore int64           `json:"nbf,omitempty"`
	Subject   string          `json:"sub,omitempty"`
	Audience  string          `json:"aud,omitempty"`
	Issuer    string          `json:"iss,omitempty"`
	ID        string          `json:"jti,omitempty"`
	Cnf       json.RawMessage `json:"cnf,omitempty"`
	Profile   string          `json:"ace_profile,omitempty"`
	CNonce    *string         `json:"cnonce,omitempty"`
	ExpiresIn int64           `json:"exi,omitempty"`
	Grant     *grantJSON      `json:"latchkey_grant,omitempty"`
}

// grantJSON is claim −70001 as in a JWT (D6).
type grantJSON struct {
	Epoch uint64      `json:"epoch"`
	Grant string      `json:"grant"`
	Once  []uint      `json:"once,omitempty"`
	Grade grade.Grade `json:"grade,omitzero"`
}

// JSON writes the object for HTTP.
func (r *IntrospectionResponse) JSON() ([]byte, error) {
	if !r.Active {
		return []byte(`{"active":false}`), nil
	}
	c := &r.Claims
	out := introspectionJSON{
		Active: true, Scope: r.Words, ClientID: c.ClientID, Username: r.Username, TokenType: r.TokenType,
		Expires: dateOf(c.Expires), IssuedAt: dateOf(c.IssuedAt), NotBefore: dateOf(c.NotBefore), Subject: c.Subject,
		Audience: c.Audience, Issuer: c.Issuer, ID: encode64(c.ID), ExpiresIn: int64(c.ExpiresIn / time.Second),
	}
	if out.Scope == "" {
		out.Scope = c.Scope.String()
	}
	if c.Profile != 0 {
		out.Profile = c.Profile.String()
	}
	if c.CNonce != nil {
		text := encode64(c.CNonce)
		out.CNonce = &text
	}
	if g := c.Grant; g != nil {
		out.Grant = &grantJSON{Epoch: g.Epoch, Grant: encode64(g.Grant[:]), Once: g.Once, Grade: g.Grade}
	}
	var err error
	if out.Cnf, err = r.cnf(); err != nil {
		return nil, fmt.Errorf("introspection response: %w", err)
	}
	return json.Marshal(out)
}

func dateOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// cnf is nil where there is none.
func (r *IntrospectionResponse) cnf() (json.RawMessage, error) {
	c := &r.Claims.Confirmation
	var value any
	var err error
	switch {
	case len(r.Binding) > 0:
		value = r.Binding
	case c.JWE != "":
		value = map[string]string{"jwe": c.JWE}
	case c.Key == nil && c.Encrypted == nil && c.KeyID == nil && c.OSCORE == nil && c.Thumbprint == nil:
		return nil, nil
	default:
		var raw []byte
		if raw, err = cwt.EncodeConfirmation(*c); err == nil {
			value, err = confirmationToJSON(raw)
		}
	}
	if err != nil {
		return nil, err
	}
	return appendValue(nil, value)
}

// ParseIntrospectionResponseJSON reads an object; members we do not know are ignored, and so is the scope unless it has the
// form of rights.
func ParseIntrospectionResponseJSON(data []byte) (*IntrospectionResponse, error) {
	members, err := parseObject(data)
	if err != nil {
		return nil, fmt.Errorf("introspection response: %w", err)
	}
	if active := string(members["active"]); active != "true" && active != "false" {
		return nil, errors.New("introspection response: active is not true or false")
	}
	// The standard decoder takes names in any case, and so two of them for one.
	maps.DeleteFunc(members, func(name string, _ json.RawMessage) bool {
		return strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") != ""
	})
	exact, err := json.Marshal(members)
	if err != nil {
		return nil, fmt.Errorf("introspection response: %w", err)
	}
	var in introspectionJSON
	if err := json.Unmarshal(exact, &in); err != nil {
		return nil, errors.New("introspection response: a member has another type")
	}
	if !in.Active {
		return &IntrospectionResponse{}, nil
	}
	out, err := in.read()
	if err != nil {
		return nil, fmt.Errorf("introspection response: %w", err)
	}
	return out, nil
}

func (in *introspectionJSON) read() (*IntrospectionResponse, error) {
	out := &IntrospectionResponse{Active: true, Words: in.Scope, TokenType: in.TokenType, Username: in.Username}
	out.Claims = pop.Claims{
		Issuer: in.Issuer, Subject: in.Subject, Audience: in.Audience, ClientID: in.ClientID,
		ExpiresIn: time.Duration(in.ExpiresIn) * time.Second,
	}
	c := &out.Claims
	if in.ExpiresIn < 0 || in.ExpiresIn > int64(MaxLifetime/time.Second) {
		return nil, errors.New("exi: out of range")
	}
	for value, to := range map[*int64]*time.Time{&in.Expires: &c.Expires, &in.IssuedAt: &c.IssuedAt, &in.NotBefore: &c.NotBefore} {
		if *value < 0 || *value > maxDate {
			return nil, errors.New("exp, iat or nbf: out of range")
		}
		if *value != 0 {
			*to = time.Unix(*value, 0)
		}
	}
	if rights, err := aif.ParseText(in.Scope); err == nil && in.Scope != "" {
		c.Scope, out.Words = rights, ""
	}
	if in.Profile != "" {
		var ok bool
		if c.Profile, ok = parseProfile(in.Profile); !ok {
			return nil, errors.New("ace_profile: unknown")
		}
	}
	return out, in.readBytes(out)
}

func (in *introspectionJSON) readBytes(out *IntrospectionResponse) (err error) {
	c := &out.Claims
	if in.ID != "" {
		if c.ID, err = decode64(in.ID); err != nil {
			return fmt.Errorf("jti: %w", err)
		}
	}
	if in.CNonce != nil {
		if c.CNonce, err = decode64(*in.CNonce); err != nil || len(c.CNonce) > MaxCNonce {
			return errors.New("cnonce: not up to " + strconv.Itoa(MaxCNonce) + " bytes in base64url")
		}
	}
	if g := in.Grant; g != nil {
		id, err := decode64(g.Grant)
		if err != nil || len(id) != len(pop.GrantID{}) {
			return errors.New("latchkey_grant: malformed")
		}
		c.Grant = &pop.GrantRef{Epoch: g.Epoch, Grant: pop.GrantID(id), Once: g.Once, Grade: g.Grade}
	}
	return in.readCnf(out)
}

// readCnf tells the three kinds apart by their one member.
func (in *introspectionJSON) readCnf(out *IntrospectionResponse) error {
	if in.Cnf == nil {
		return nil
	}
	members, err := parseObject(in.Cnf)
	if err != nil {
		return fmt.Errorf("cnf: %w", err)
	}
	for _, name := range []string{"jkt", "x5t#S256", "jwe"} {
		raw, ok := members[name]
		if !ok || len(members) != 1 {
			continue
		}
		text, err := jsonText(raw)
		if err != nil {
			return fmt.Errorf("cnf: %w", err)
		}
		if name == "jwe" {
			out.Claims.Confirmation.JWE = text
		} else {
			out.Binding = map[string]string{name: text}
		}
		return nil
	}
	value, err := confirmationFromJSON(in.Cnf)
	if err != nil {
		return fmt.Errorf("cnf: %w", err)
	}
	raw, err := wire.Marshal(value)
	if err != nil {
		return fmt.Errorf("cnf: %w", err)
	}
	out.Claims.Confirmation, err = cwt.ParseConfirmation(raw)
	return err
}
