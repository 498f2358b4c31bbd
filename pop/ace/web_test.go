package ace

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

const jwtBearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// Each row is a request with parameters of the web in its two encodings.
var webRequests = []struct {
	name string
	want TokenRequest
	json string
	form string
}{
	{
		name: "an assertion instead of a secret (RFC 7523 §2.2)",
		want: TokenRequest{GrantType: GrantClientCredentials, AssertionType: jwtBearer, Assertion: "eyJhbGci.eyJpc3Mi.cC4hiUPo"},
		json: `{"grant_type":"client_credentials","client_assertion_type":"` + jwtBearer + `","client_assertion":"eyJhbGci.eyJpc3Mi.cC4hiUPo"}`,
		form: "grant_type=client_credentials&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer" +
			"&client_assertion=eyJhbGci.eyJpc3Mi.cC4hiUPo",
	},
	{
		name: "an API by its URI (RFC 8707 §2.2)",
		want: TokenRequest{GrantType: GrantClientCredentials, Resource: "https://cal.example.com/v1?tenant=1", Scope: Scope{Words: "read"}},
		json: `{"grant_type":"client_credentials","resource":"https://cal.example.com/v1?tenant=1","scope":"read"}`,
		form: "grant_type=client_credentials&resource=https%3A%2F%2Fcal.example.com%2Fv1%3Ftenant%3D1&scope=read",
	},
}

func TestParametersOfTheWeb(t *testing.T) {
	for _, tt := range webRequests {
		t.Run(tt.name, func(t *testing.T) {
			form, err := url.ParseQuery(tt.form)
			if err != nil {
				t.Fatal(err)
			}
			fromJSON, err1 := ParseTokenRequestJSON([]byte(tt.json))
			fromForm, err2 := ParseTokenRequestForm(form)
			if err := errors.Join(err1, err2); err != nil {
				t.Fatal(err)
			}
			same(t, "json", fromJSON, &tt.want)
			same(t, "form", fromForm, &tt.want)
			again, err := tt.want.Form()
			if err != nil || again.Encode() != form.Encode() {
				t.Errorf("form: got %v, %v", again, err)
			}
			encoded, err := tt.want.CBOR()
			if err != nil {
				t.Fatal(err)
			}
			without := tt.want
			without.AssertionType, without.Assertion, without.Resource = "", "", ""
			fromCBOR, err := ParseTokenRequestCBOR(encoded)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "cbor", fromCBOR, &without)
		})
	}
	// Their numbers mean nothing in CBOR: {33: 2, -70012: "https://a.example"}.
	got, err := ParseTokenRequestCBOR(unhex(t, "a2"+"182102"+"3a0001117b"+"71"+hexOf("https://a.example")))
	if err != nil || got.Resource != "" {
		t.Errorf("cbor: got %q, %v", got.Resource, err)
	}
}

func TestRefusedParametersOfTheWeb(t *testing.T) {
	long := "https://a.example/" + strings.Repeat("a", maxResource)
	for name, resource := range map[string]string{
		"relative": "/api", "a mere host": "api.example", "a fragment": "https://a.example/#x", "an empty fragment": "https://a.example/#",
		"no host": "https:///api", "a user": "https://me@a.example/", "opaque": "mailto:me@a.example", "a blank": "https://a.example/a b", "too long": long,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseTokenRequestForm(url.Values{"grant_type": {"client_credentials"}, "resource": {resource}})
			if !errors.Is(err, &Error{Code: InvalidTarget}) {
				t.Errorf("form: got %v", err)
			}
			_, err = ParseTokenRequestJSON(fmt.Appendf(nil, `{"grant_type":"client_credentials","resource":%q}`, resource))
			if !errors.Is(err, &Error{Code: InvalidTarget}) {
				t.Errorf("json: got %v", err)
			}
		})
	}
	two := []string{"https://a.example", "https://b.example"}
	if _, err := ParseTokenRequestForm(url.Values{"grant_type": {"client_credentials"}, "resource": two}); !errors.Is(err, &Error{Code: InvalidTarget}) {
		t.Errorf("two resources in a form: got %v", err)
	}
	if _, err := ParseTokenRequestJSON([]byte(`{"grant_type":"client_credentials","resource":["https://a.example"]}`)); !errors.Is(err, &Error{Code: InvalidTarget}) {
		t.Errorf("a list of resources: got %v", err)
	}
	for name, form := range map[string]url.Values{
		"two assertions":     {"client_assertion": {"a", "b"}},
		"two types":          {"client_assertion_type": {jwtBearer, jwtBearer}},
		"a long assertion":   {"client_assertion": {strings.Repeat("a", maxAssertion+1)}},
		"a control in a JWT": {"client_assertion": {"a\n.b.c"}},
	} {
		form.Set("grant_type", "client_credentials")
		if _, err := ParseTokenRequestForm(form); !errors.Is(err, &Error{Code: InvalidRequest}) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestDPoPIsForJSON: the token type has a name and no number.
func TestDPoPIsForJSON(t *testing.T) {
	r, err := ParseTokenResponseJSON([]byte(`{"access_token":"eyJh.eyJp.c2ln","token_type":"dpop","expires_in":3600}`))
	if err != nil || r.TokenType != TokenTypeDPoP {
		t.Fatalf("got %v, %v", r, err)
	}
	text, err := r.JSON()
	if want := `{"access_token":"eyJh.eyJp.c2ln","expires_in":3600,"token_type":"DPoP"}`; err != nil || string(text) != want {
		t.Errorf("got %s, %v, want %s", text, err, want)
	}
	if _, err := r.CBOR(); err == nil {
		t.Error("written in CBOR")
	}
	if _, err := ParseTokenResponseCBOR(unhex(t, "a3"+"014e"+hexOf("eyJh.eyJp.c2ln")+"02190e10"+"182220")); err == nil {
		t.Error("read from CBOR")
	}
	for code, name := range map[ErrorCode]string{InvalidTarget: "invalid_target", InvalidDPoPProof: "invalid_dpop_proof", UseDPoPNonce: "use_dpop_nonce"} {
		if got, ok := ParseErrorCode(name); !ok || got != code || code.String() != name {
			t.Errorf("%s: got %v", name, got)
		}
		if _, err := (&Error{Code: code}).CBOR(); err == nil {
			t.Errorf("%s has a number", name)
		}
	}
}
