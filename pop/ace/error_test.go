package ace

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestErrorNumbersOfTheRegistry(t *testing.T) {
	want := []string{"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
		"invalid_scope", "unsupported_pop_key", "incompatible_ace_profiles"}
	for i, name := range want {
		code := ErrorCode(i + 1)
		if code.String() != name {
			t.Errorf("%d: got %s, want %s", i+1, code, name)
		}
		e := &Error{Code: code}
		encoded, err := e.CBOR()
		if got := fmt.Sprintf("%x", encoded); err != nil || got != fmt.Sprintf("a1181e%02x", i+1) {
			t.Errorf("%s: got %s, %v", name, got, err)
		}
		text, err := e.JSON()
		if got := string(text); err != nil || got != `{"error":"`+name+`"}` {
			t.Errorf("%s: got %s, %v", name, got, err)
		}
	}
}

func TestErrorsAreReadAsWritten(t *testing.T) {
	want := &Error{Code: InvalidGrant, Description: "the code has expired", URI: "https://as.example/help"}
	encoded, err := want.CBOR()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseErrorCBOR(encoded); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("cbor: got %v, %v, want %v", got, err, want)
	}
	text, err := want.JSON()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseErrorJSON(text); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("json: got %v, %v, want %v", got, err, want)
	}
}

func TestErrorsOfTheAuthorizationEndpointHaveNoNumber(t *testing.T) {
	for _, code := range []ErrorCode{AccessDenied, ServerError, TemporarilyUnavailable, UnsupportedResponseType} {
		if got, err := (&Error{Code: code}).CBOR(); err == nil {
			t.Errorf("%v: got %x, want an error", code, got)
		}
		if again, ok := ParseErrorCode(code.String()); !ok || again != code {
			t.Errorf("%v: got %v %v", code, again, ok)
		}
	}
	for _, hex := range []string{"a1181e20", "a1181e00", "a1181e1bffffffffffffffff", "a0", "a1181e6161", "a1181ef6", ""} {
		if got, err := ParseErrorCBOR(unhex(t, hex)); err == nil {
			t.Errorf("%s: got %v, want an error", hex, got)
		}
	}
}

func TestUnknownErrorNamesAreKeptForPeople(t *testing.T) {
	got, err := ParseErrorJSON([]byte(`{"error":"payment_required","error_description":"no"}`))
	want := &Error{Description: "payment_required: no"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for _, text := range []string{`{}`, `null`, `{"error":1}`, `{"error":"a","error":"b"}`, ``} {
		if got, err := ParseErrorJSON([]byte(text)); err == nil {
			t.Errorf("%s: got %v, want an error", text, got)
		}
	}
}

// RFC 6749 §5.2 allows %x20-21 / %x23-5B / %x5D-7E: a description that quotes a stranger cannot carry markup of a log.
func TestDescriptionsAreCleaned(t *testing.T) {
	e := &Error{Code: InvalidRequest, Description: "a\"b\\c\r\nd\x00é" + strings.Repeat("x", 1000)}
	text, err := e.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Description string `json:"error_description"`
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(got.Description, "a'b?c??d??x") || len(got.Description) > maxDescription {
		t.Errorf("got %q", got.Description)
	}
}

func TestErrorsCompareByCode(t *testing.T) {
	err := fmt.Errorf("token: %w", &Error{Code: InvalidGrant, Description: "x"})
	if !errors.Is(err, &Error{Code: InvalidGrant}) {
		t.Error("the same code is not recognised")
	}
	if errors.Is(err, &Error{Code: InvalidScope}) {
		t.Error("another code is taken for the same")
	}
}
