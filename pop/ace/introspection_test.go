package ace

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/cose"
)

// TestIntrospectionExamples are figures 11 and 12 of RFC 9200 §5.9: the hint is a number there, and text in the registry.
func TestIntrospectionExamples(t *testing.T) {
	token := unhex(t, "ee08f4757250e375")
	for _, encoded := range []string{"a20b48ee08f4757250e3751821" + "02", "a20b48ee08f4757250e3751821" + "63506f50"} {
		in, err := ParseIntrospectionRequestCBOR(unhex(t, encoded))
		if err != nil || !bytes.Equal(in.Token, token) {
			t.Errorf("%s: got %+v, %v", encoded, in, err)
		}
	}
	// {active: true, scope: "read", ace_profile: coap_dtls, cnf: {COSE_Key: {kty: EC2, kid: h'11', crv: P-256, x, y}}}
	const key = "a5" + "0102" + "024111" + "2001" +
		"215820bac5b11cad8f99f9c72b05cf4b9e26d244dc189f745228255a219a86d6a09eff" +
		"22582020138bf82dc1b6d562be0fa54ab7804a3a64b6d72ccfed6b6fb6ed28bbfc117e"
	data := unhex(t, "a4"+"08a101"+key+"096472656164"+"0af5"+"182601")
	out, err := ParseIntrospectionResponseCBOR(data)
	if err != nil {
		t.Fatal(err)
	}
	if k := out.Claims.Confirmation.Key; !out.Active || out.Words != "read" || out.Claims.Profile != pop.ProfileCoAPDTLS || k == nil || k.Public() == nil {
		t.Error("it says something else")
	}
	if again, err := out.CBOR(); err != nil || !bytes.Equal(again, data) {
		t.Errorf("got %x, %v", again, err)
	}
	text, err := out.JSON()
	if err != nil || !strings.Contains(string(text), `"scope":"read"`) || !strings.Contains(string(text), `"ace_profile":"coap_dtls"`) || !strings.Contains(string(text), `"crv":"P-256"`) {
		t.Errorf("got %s, %v", text, err)
	}
}

func TestIntrospectionRequests(t *testing.T) {
	long := strings.Repeat("A", maxInquiry+1)
	tests := []struct {
		name, cbor, json string
		form             url.Values
		good             bool
	}{
		{"a token", "a10b426869", `{"token":"aGk"}`, url.Values{"token": {"aGk"}}, true},
		{"a hint", "a20b42686918216161", `{"token":"aGk","token_type_hint":"a"}`, url.Values{"token": {"aGk"}, "token_type_hint": {"a"}}, true},
		{"what we do not know", "a20b426869186301", `{"token":"aGk","colour":1}`, url.Values{"token": {"aGk"}, "colour": {"1"}}, true},
		{"no token", "a0", `{}`, url.Values{}, false},
		{"an empty token", "a10b40", `{"token":""}`, url.Values{"token": {""}}, false},
		{"a token of another type", "a10b6168", `{"token":5}`, nil, false},
		{"a hint of another type", "a20b4268691821f5", `{"token":"aGk","token_type_hint":true}`, nil, false},
		{"a token twice", "a20b4268690b426869", `{"token":"aGk","token":"aGk"}`, url.Values{"token": {"aGk", "aGk"}}, false},
		{"cut off", "a10b4268", `{"token":"aGk"`, nil, false},
		{"a byte more", "a10b42686900", `{"token":"aGk"}x`, nil, false},
		{"no map", "810b", `["token"]`, nil, false},
		{"too long", "a10b592001" + strings.Repeat("00", maxInquiry+1), `{"token":"` + long + `"}`, url.Values{"token": {long}}, false},
		{"a line end", "", `{"token":"aGk\n"}`, url.Values{"token": {"aGk\n"}}, false},
	}
	for _, tt := range tests {
		parsed := map[string]*IntrospectionRequest{}
		errs := map[string]error{}
		if tt.cbor != "" {
			parsed["cbor"], errs["cbor"] = ParseIntrospectionRequestCBOR(unhex(t, tt.cbor))
		}
		parsed["json"], errs["json"] = ParseIntrospectionRequestJSON([]byte(tt.json))
		if tt.form != nil {
			parsed["form"], errs["form"] = ParseIntrospectionRequestForm(tt.form)
		}
		for name, err := range errs {
			if (err == nil) != tt.good || err != nil && !errors.As(err, new(*Error)) {
				t.Errorf("%s, %s: %v", tt.name, name, err)
			}
			if err == nil && (string(parsed[name].Token) != "hi" || !reflect.DeepEqual(parsed[name], parsed["json"])) {
				t.Errorf("%s, %s: got token %x", tt.name, name, parsed[name].Token)
			}
		}
	}
}

// TestTokensAsText: a JWT and whatever is not base64url stand as they are.
func TestTokensAsText(t *testing.T) {
	for text, want := range map[string]string{"aGk": "hi", "a.b.c": "a.b.c", "aGk=": "aGk=", "b c": "b c", "aGl": "aGl"} {
		in, err := ParseIntrospectionRequestForm(url.Values{"token": {text}})
		if err != nil || string(in.Token) != want {
			t.Errorf("%s: got %v", text, err)
		}
	}
}

var answers = []*IntrospectionResponse{
	{},
	{Active: true},
	{Active: true, TokenType: "PoP", Username: "mother", Claims: pop.Claims{
		Issuer: "https://as.example", Subject: "mother", Audience: "dabc", ClientID: "phone", Expires: time.Unix(1_800_000_000, 0), IssuedAt: time.Unix(1_799_999_000, 0),
		ExpiresIn: 8 * time.Hour, ID: []byte("0123456789abcdef"), Scope: aif.New(aif.Entry{Path: "/door", Methods: aif.GET}), Profile: pop.ProfileCoAPOSCORE, CNonce: []byte{},
		Confirmation: pop.Confirmation{OSCORE: &pop.InputMaterial{ID: []byte{1}, MasterSecret: []byte("0123456789abcdef")}},
		Grant:        &pop.GrantRef{Epoch: 5, Grant: pop.GrantID{1}},
	}},
	{Active: true, TokenType: "PoP", Claims: pop.Claims{ID: []byte{1}, Confirmation: pop.Confirmation{KeyID: cose.KeyID{1, 2}}}},
	{Active: true, TokenType: "Bearer", Words: "read write", Claims: pop.Claims{ID: []byte{1}, ClientID: "app"}},
}

// TestIntrospectionAnswers: each answer reads back from both encodings as it was.
func TestIntrospectionAnswers(t *testing.T) {
	for i, want := range answers {
		encoded, err := want.CBOR()
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		fromCBOR, err := ParseIntrospectionResponseCBOR(encoded)
		if err != nil || !reflect.DeepEqual(fromCBOR, want) {
			t.Errorf("answer %d in CBOR: got %#v, %v", i, fromCBOR, err)
		}
		text, err := want.JSON()
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		fromJSON, err := ParseIntrospectionResponseJSON(text)
		if err != nil || !reflect.DeepEqual(fromJSON, want) {
			t.Errorf("answer %d: got %#v, %v from %s", i, fromJSON, err, text)
		}
	}
	if text, err := (&IntrospectionResponse{Claims: pop.Claims{Subject: "mother"}}).JSON(); err != nil || string(text) != `{"active":false}` {
		t.Errorf("got %s, %v", text, err)
	}
	if data, err := (&IntrospectionResponse{Claims: pop.Claims{Subject: "mother"}}).CBOR(); err != nil || hex.EncodeToString(data) != "a10af4" {
		t.Errorf("got %x, %v", data, err)
	}
	bound := &IntrospectionResponse{Active: true, TokenType: "DPoP", Binding: map[string]string{"jkt": "thumb"}}
	text, err := bound.JSON()
	if got, err2 := ParseIntrospectionResponseJSON(text); err != nil || err2 != nil || !reflect.DeepEqual(got, bound) {
		t.Errorf("got %+v, %v, %v from %s", got, err, err2, text)
	}
}

func TestIntrospectionAnswersRefused(t *testing.T) {
	for name, encoded := range map[string]string{
		"no active": "a0", "active is a number": "a10a01", "active is null": "a10af6", "inactive with a claim": "a202636162630af4",
		"inactive with a client": "a20af418186161", "a malformed claim": "a204610a0af5", "twice": "a20af50af5", "cut off": "a10a",
		"a token type we do not know": "a20af5182209", "a second map": "a10af5a0",
	} {
		if _, err := ParseIntrospectionResponseCBOR(unhex(t, encoded)); err == nil {
			t.Errorf("%s: read from CBOR", name)
		}
	}
	for _, text := range []string{
		`{}`, `{"active":"true"}`, `{"active":null}`, `{"Active":true}`, `{"active":true,"active":true}`, `{"active":true,"exp":"x"}`, `{"active":true,"exp":-1}`,
		`{"active":true,"jti":"?"}`, `{"active":true,"cnf":{}}`, `{"active":true,"cnf":{"jkt":"a","kid":"AQ"}}`, `{"active":true,"cnonce":"?"}`, `{"active":true,"exi":-1}`,
		`{"active":true,"ace_profile":"x"}`, `{"active":true,"latchkey_grant":{"grant":"AQ"}}`, `{"active":true,"latchkey_grant":{"epoch":1,"grant":"AQIDBAUGBwg","grade":[1,2]}}`, `[]`, ``,
	} {
		if _, err := ParseIntrospectionResponseJSON([]byte(text)); err == nil {
			t.Errorf("read from %s", text)
		}
	}
	if got, err := ParseIntrospectionResponseJSON([]byte(`{"active":true,"Client_ID":"x","ſub":"y"}`)); err != nil || got.Claims.ClientID+got.Claims.Subject != "" {
		t.Errorf("names in another case were taken: %v", err)
	}
}

func FuzzParseIntrospectionRequestCBOR(f *testing.F) {
	f.Add(unhex(f, "a20b48ee08f4757250e375182102"))
	f.Fuzz(func(t *testing.T, data []byte) {
		in, err := ParseIntrospectionRequestCBOR(data)
		if err != nil {
			if _, ok := err.(*Error); !ok {
				t.Fatalf("got %T, want *Error", err)
			}
			return
		}
		again, err := in.CBOR()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseIntrospectionRequestCBOR(again); err != nil || !reflect.DeepEqual(got, in) {
			t.Fatalf("got %v", err)
		}
	})
}

func FuzzParseIntrospectionRequestJSON(f *testing.F) {
	f.Add([]byte(`{"token":"aGk","token_type_hint":"access_token"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if in, err := ParseIntrospectionRequestJSON(data); err == nil {
			if form, err := in.Form(); err == nil {
				if got, err := ParseIntrospectionRequestForm(form); err != nil || got.Hint != in.Hint || got.ClientID != in.ClientID {
					t.Fatalf("got %v", err)
				}
			}
		} else if _, ok := err.(*Error); !ok {
			t.Fatalf("got %T, want *Error", err)
		}
	})
}

func FuzzParseIntrospectionResponseCBOR(f *testing.F) {
	for _, a := range answers {
		data, err := a.CBOR()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		out, err := ParseIntrospectionResponseCBOR(data)
		if err != nil {
			return
		}
		out.Claims.Unknown = nil
		again, err := out.CBOR()
		if err != nil {
			return // what only relaxed readers of claims take
		}
		got, err := ParseIntrospectionResponseCBOR(again)
		if err != nil {
			t.Fatal(err)
		}
		if third, err := got.CBOR(); err != nil || !bytes.Equal(third, again) {
			t.Fatalf("got %x, %v, want %x", third, err, again)
		}
	})
}

func FuzzParseIntrospectionResponseJSON(f *testing.F) {
	for _, a := range answers {
		data, err := a.JSON()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		out, err := ParseIntrospectionResponseJSON(data)
		if err != nil {
			return
		}
		again, err := out.JSON()
		if err != nil {
			return
		}
		if _, err := ParseIntrospectionResponseJSON(again); err != nil {
			t.Fatalf("%v in %s", err, again)
		}
	})
}
