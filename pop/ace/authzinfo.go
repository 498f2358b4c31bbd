package ace

import (
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// AuthzInfo is the payload of POST /authz-info in Content-Format 19 (RFC 9203 §4.1). Without Nonce1 it updates the
// rights of the security context that protects it (§4.4) and carries the token alone.
type AuthzInfo struct {
	Token             []byte // nil in to_rs
	Nonce1            []byte // nil in an update
	ClientRecipientID []byte // nil in an update; empty is a value
}

// Format hides the token from every verb.
func (AuthzInfo) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// LogValue hides the token from logs.
func (AuthzInfo) LogValue() slog.Value { return slog.StringValue(redacted) }

// Update reports whether the upload asks for no new security context.
func (a AuthzInfo) Update() bool { return a.Nonce1 == nil }

var (
	errPair = errors.New("stands with ace_client_recipientid or not at all")
	errToRS = errors.New("want nonce1 and ace_client_recipientid and no token")
)

// ParseAuthzInfo reads an upload. A parameter that does not belong there is refused, updated_rights among them: it has
// no number yet (workflow-08 §5.1).
func ParseAuthzInfo(data []byte) (AuthzInfo, error) {
	a, err := parseAuthzInfo(data)
	if err == nil && a.Token == nil {
		err = named(ParamAccessToken, errMissing)
	}
	if err != nil {
		return AuthzInfo{}, fmt.Errorf("authz-info: %w", err)
	}
	return a, nil
}

// ParseToRS reads the content of to_rs: an upload in which the token is still missing.
func ParseToRS(data []byte) (AuthzInfo, error) {
	a, err := parseAuthzInfo(data)
	if err == nil && (a.Token != nil || a.Update()) {
		err = errToRS
	}
	if err != nil {
		return AuthzInfo{}, fmt.Errorf("%s: %w", paramToRS, err)
	}
	return a, nil
}

func parseAuthzInfo(data []byte) (AuthzInfo, error) {
	f, err := parseFields(data)
	if err != nil {
		return AuthzInfo{}, err
	}
	r := &reader{fields: f}
	r.only(ParamAccessToken, ParamNonce1, ParamClientRecipientID)
	a := AuthzInfo{
		Token:             r.bytes(ParamAccessToken, 1, MaxToken),
		Nonce1:            r.bytes(ParamNonce1, MinNonce, MaxNonce),
		ClientRecipientID: r.bytes(ParamClientRecipientID, 0, MaxRecipientID),
	}
	if (a.Nonce1 == nil) != (a.ClientRecipientID == nil) {
		r.fail(ParamNonce1, errPair)
	}
	return a, r.err
}

// Encode writes the payload; without a token it is the content of to_rs.
func (a AuthzInfo) Encode() ([]byte, error) {
	w := writer{fields: make(fields)}
	w.bytes(ParamAccessToken, a.Token)
	w.bytes(ParamNonce1, a.Nonce1)
	w.bytes(ParamClientRecipientID, a.ClientRecipientID)
	if a.Token == nil {
		return checked(w, ParseToRS)
	}
	return checked(w, ParseAuthzInfo)
}

// checked writes what parse reads without an error.
func checked[T any](w writer, parse func([]byte) (T, error)) ([]byte, error) {
	if w.err != nil {
		return nil, w.err
	}
	data, err := wire.Marshal(w.fields)
	if err != nil {
		return nil, err
	}
	if _, err := parse(data); err != nil {
		return nil, err
	}
	return data, nil
}

// UploadPayload is the upload that an authorization server makes on the client's behalf: the content of its to_rs with
// the token put in (workflow-08 §3.2).
func UploadPayload(toRS, token []byte) ([]byte, error) {
	a, err := ParseToRS(toRS)
	if err != nil {
		return nil, err
	}
	if len(token) == 0 {
		return nil, named(ParamAccessToken, errMissing)
	}
	a.Token = token
	return a.Encode()
}

// AuthzInfoAnswer is the payload of 2.01 to a first upload (RFC 9203 §4.2), and the content of from_rs. A client must
// stop when ServerRecipientID equals its own ClientRecipientID.
type AuthzInfoAnswer struct {
	Nonce2            []byte
	ServerRecipientID []byte
}

// ParseAuthzInfoAnswer reads the answer; both parameters must be there and no other.
func ParseAuthzInfoAnswer(data []byte) (AuthzInfoAnswer, error) {
	f, err := parseFields(data)
	if err != nil {
		return AuthzInfoAnswer{}, fmt.Errorf("authz-info answer: %w", err)
	}
	r := &reader{fields: f}
	r.only(ParamNonce2, ParamServerRecipientID)
	a := AuthzInfoAnswer{
		Nonce2:            r.required(ParamNonce2).bytes(ParamNonce2, MinNonce, MaxNonce),
		ServerRecipientID: r.required(ParamServerRecipientID).bytes(ParamServerRecipientID, 0, MaxRecipientID),
	}
	if r.err != nil {
		return AuthzInfoAnswer{}, fmt.Errorf("authz-info answer: %w", r.err)
	}
	return a, nil
}

// Encode writes the answer.
func (a AuthzInfoAnswer) Encode() ([]byte, error) {
	w := writer{}
	w.put(ParamNonce2, a.Nonce2)
	w.put(ParamServerRecipientID, a.ServerRecipientID)
	return checked(w, ParseAuthzInfoAnswer)
}
