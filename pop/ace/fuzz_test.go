package ace

import (
	"bytes"
	"net/url"
	"reflect"
	"testing"
)

// agree checks that a request means the same in every encoding it can be written in.
func agree(t *testing.T, r *TokenRequest) {
	encoded, err := r.CBOR()
	if err != nil {
		t.Fatalf("read, but not written: %v", err)
	}
	fromCBOR, err := ParseTokenRequestCBOR(encoded)
	if err != nil {
		t.Fatalf("written, but not read: %v", err)
	}
	again, err := fromCBOR.CBOR()
	if err != nil || !bytes.Equal(again, encoded) {
		t.Fatalf("cbor: got %x, %v, want %x", again, err, encoded)
	}
	text, err := fromCBOR.JSON()
	if err != nil {
		return // a confirmation without a JSON form
	}
	fromJSON, err := ParseTokenRequestJSON(text)
	if err != nil {
		t.Fatalf("json: %v in %s", err, text)
	}
	fromJSON.GrantTypeImplied = fromCBOR.GrantTypeImplied
	if again, err = fromJSON.CBOR(); err != nil || !bytes.Equal(again, encoded) {
		t.Fatalf("json: got %x, %v, want %x", again, err, encoded)
	}
}

func FuzzParseTokenRequestCBOR(f *testing.F) {
	for _, tt := range requests {
		f.Add(unhex(f, tt.cbor))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := ParseTokenRequestCBOR(data); err == nil {
			agree(t, r)
		} else if _, ok := err.(*Error); !ok {
			t.Fatalf("got %T, want *Error", err)
		}
	})
}

func FuzzParseTokenRequestJSON(f *testing.F) {
	for _, tt := range requests {
		f.Add([]byte(tt.json))
	}
	for _, tt := range webRequests {
		f.Add([]byte(tt.json))
	}
	f.Add([]byte(`{"grant_type":"client_credentials","req_cnf":{"jwk":{"kty":"oct","k":"MDEyMzQ1Njc4OWFiY2RlZg"}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := ParseTokenRequestJSON(data); err == nil {
			agree(t, r)
		} else if _, ok := err.(*Error); !ok {
			t.Fatalf("got %T, want *Error", err)
		}
	})
}

func FuzzParseTokenRequestForm(f *testing.F) {
	for _, tt := range requests {
		f.Add(tt.form)
	}
	for _, tt := range webRequests {
		f.Add(tt.form)
	}
	f.Fuzz(func(t *testing.T, query string) {
		form, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		r, err := ParseTokenRequestForm(form)
		if err != nil {
			if _, ok := err.(*Error); !ok {
				t.Fatalf("got %T, want *Error", err)
			}
			return
		}
		agree(t, r)
		again, err := r.Form()
		if err != nil {
			return // a confirmation without a JSON form
		}
		if fromForm, err := ParseTokenRequestForm(again); err != nil || !reflect.DeepEqual(fromForm, r) {
			t.Fatalf("form: %v, or not what was written", err)
		}
	})
}

func FuzzParseTokenResponse(f *testing.F) {
	for _, tt := range responses {
		f.Add(unhex(f, tt.cbor))
		f.Add([]byte(tt.json))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseTokenResponseCBOR(data)
		if err != nil {
			r, err = ParseTokenResponseJSON(data)
		}
		if err != nil || r.ExpiresIn == 0 || r.TokenType == TokenTypeDPoP {
			return
		}
		encoded, err := r.CBOR()
		if err != nil {
			t.Fatalf("read, but not written: %v", err)
		}
		if again, err := ParseTokenResponseCBOR(encoded); err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%v, or not what was written", err)
		}
	})
}

func FuzzMessages(f *testing.F) {
	for _, m := range decoders {
		f.Add(unhex(f, m.seed))
	}
	f.Add([]byte(`{"error":"invalid_grant","error_description":"x"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, m := range decoders {
			_ = m.decode(data) // must neither panic nor hang
		}
		if e, err := ParseErrorJSON(data); err == nil {
			text, err := e.JSON()
			if err != nil {
				t.Fatalf("read, but not written: %v", err)
			}
			if _, err := ParseErrorJSON(text); err != nil {
				t.Fatalf("written, but not read: %v", err)
			}
		}
		unchanged(t, data, ParseAuthzInfo, AuthzInfo.Encode)
		unchanged(t, data, ParseAuthzInfoAnswer, AuthzInfoAnswer.Encode)
		unchanged(t, data, ParseToRS, AuthzInfo.Encode)
		unchanged(t, data, ParseCreationHints, CreationHints.Encode)
		unchanged(t, data, ParseRegister, Register.Encode)
		unchanged(t, data, ParseRegisterAnswer, RegisterAnswer.Encode)
	})
}

// unchanged checks that what is read can be written and read again.
func unchanged[T any](t *testing.T, data []byte, parse func([]byte) (T, error), encode func(T) ([]byte, error)) {
	value, err := parse(data)
	if err != nil {
		return
	}
	encoded, err := encode(value)
	if err != nil {
		t.Fatalf("%T read, but not written: %v", value, err)
	}
	if again, err := parse(encoded); err != nil || !reflect.DeepEqual(again, value) {
		t.Fatalf("%T: %v, or not what was written", value, err)
	}
}
