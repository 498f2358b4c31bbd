package ace

import (
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/cose"
)

const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636 appendix B

func ptr[T any](v T) *T { return &v }

// Each row is one request in its three encodings.
var requests = []struct {
	name string
	want TokenRequest
	cbor string
	json string
	form string
}{
	{
		name: "the mother's phone redeems a code and has the token uploaded",
		want: TokenRequest{
			GrantType: GrantAuthorizationCode, ClientID: "phone", Code: "SplxlOBeZQQYbYS6WxSbIA",
			RedirectURI: "https://app.example/cb", CodeVerifier: verifier, Audience: "dabcdefghijkla",
			TokenUpload: ptr(UploadWantHash),
			ToRS:        []byte("\xa2\x18\x28\x48\x01\x8a\x27\x8f\x7f\xaa\xb5\x5a\x18\x2b\x42\x16\x45"),
			Scope:       Scope{Words: "unlock view"},
		},
		cbor: "a9" + "056e" + hexOf("dabcdefghijkla") + "096b" + hexOf("unlock view") + "181865" + hexOf("phone") +
			"181b76" + hexOf("https://app.example/cb") + "181d56" + hexOf("SplxlOBeZQQYbYS6WxSbIA") + "182101" +
			"183101" + "183351a2182848018a278f7faab55a182b421645" + "3a00011172782b" + hexOf(verifier),
		json: `{"grant_type":"authorization_code","client_id":"phone","code":"SplxlOBeZQQYbYS6WxSbIA",
			"redirect_uri":"https://app.example/cb","code_verifier":"` + verifier + `","audience":"dabcdefghijkla",
			"token_upload":1,"to_rs":"UaIYKEgBiiePf6q1WhgrQhZF","scope":"unlock view","unknown":{"a":[1]}}`,
		form: "grant_type=authorization_code&client_id=phone&code=SplxlOBeZQQYbYS6WxSbIA&redirect_uri=" +
			"https%3A%2F%2Fapp.example%2Fcb&code_verifier=" + verifier + "&audience=dabcdefghijkla&token_upload=1" +
			"&to_rs=UaIYKEgBiiePf6q1WhgrQhZF&scope=unlock+view&unknown=x&resource=",
	},
	{
		name: "an application asks for itself, naming its key and with an empty cnonce",
		want: TokenRequest{
			GrantType: GrantClientCredentials, ClientID: "app", ClientSecret: "s3cret", Audience: "d1",
			Scope:   Scope{Words: "/door/unlock:POST"},
			ReqCnf:  &pop.Confirmation{KeyID: cose.KeyID{1, 2, 3}},
			Profile: TellProfile(),
			CNonce:  []byte{},
		},
		cbor: "a8" + "04a10343010203" + "05626431" + "0971" + hexOf("/door/unlock:POST") + "181863" + hexOf("app") +
			"181946" + hexOf("s3cret") + "182102" + "1826f6" + "182740",
		json: `{"grant_type":"client_credentials","client_id":"app","client_secret":"s3cret","audience":"d1",
			"scope":"/door/unlock:POST","req_cnf":{"kid":"AQID"},"ace_profile":"","cnonce":""}`,
		form: "grant_type=client_credentials&client_id=app&client_secret=s3cret&audience=d1&scope=%2Fdoor%2Funlock%3APOST" +
			"&req_cnf=%7B%22kid%22%3A%22AQID%22%7D&ace_profile=&cnonce=",
	},
	{
		name: "a profile by name and a cnonce of 40 bytes",
		want: TokenRequest{
			GrantType: GrantClientCredentials, Profile: &ProfileRequest{Named: true, Profile: pop.ProfileCoAPOSCORE},
			CNonce: []byte(strings.Repeat("n", 40)), TokenUpload: ptr(UploadWantNothing),
		},
		cbor: "a4" + "182102" + "182602" + "18275828" + hexOf(strings.Repeat("n", 40)) + "183100",
		json: `{"grant_type":"client_credentials","ace_profile":"coap_oscore","token_upload":0,
			"cnonce":"bm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubg"}`,
		form: "grant_type=client_credentials&ace_profile=coap_oscore&token_upload=0" +
			"&cnonce=bm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubg",
	},
	{
		name: "a refresh token (RFC 6749 §6)",
		want: TokenRequest{GrantType: GrantRefreshToken, RefreshToken: "tGzv3"},
		cbor: "a2" + "182103" + "182545" + hexOf("tGzv3"),
		json: `{"grant_type":"refresh_token","refresh_token":"tGzv3"}`,
		form: "grant_type=refresh_token&refresh_token=tGzv3",
	},
	{
		name: "a device code, with details (RFC 8628 §3.4, RFC 9396 §6)",
		want: TokenRequest{GrantType: GrantDeviceCode, DeviceCode: "GmRhm", Details: `[{"type":"a\u003cb"}]`},
		cbor: "a3" + "18211a00011174" + "3a00011173" + "45" + hexOf("GmRhm") + "3a00011174" + "75" + hexOf(`[{"type":"a\u003cb"}]`),
		json: `{"grant_type":"urn:ietf:params:oauth:grant-type:device_code","device_code":"GmRhm",
			"authorization_details": [ {"type": "a<b"} ]}`,
		form: "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&device_code=GmRhm&authorization_details=%5B%7B%22type%22%3A%22a%3Cb%22%7D%5D",
	},
}

const (
	exampleX = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU" // RFC 7515 appendix A.3.1
	exampleY = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
)

func TestKeysFromBrowsers(t *testing.T) {
	for name, tt := range map[string]struct{ jwk, cnf string }{
		"a symmetric key with its uses": {
			jwk: `{"alg":"A128GCM","ext":true,"k":"MDEyMzQ1Njc4OWFiY2RlZg","key_ops":["encrypt"],"kty":"oct"}`,
			cnf: "a101a201042050" + hexOf("0123456789abcdef"),
		},
		"a symmetric key with an id": {
			jwk: `{"kty":"oct","k":"MDEyMzQ1Njc4OWFiY2RlZg","kid":"AQ"}`,
			cnf: "a101a3010402410120" + "50" + hexOf("0123456789abcdef"),
		},
		"a public key": {
			jwk: `{"kty":"EC","crv":"P-256","x":"` + exampleX + `","y":"` + exampleY + `"}`,
			cnf: "a101a40102200121" + "5820" + fmt.Sprintf("%x", unbase64(t, exampleX)) + "22" + "5820" + fmt.Sprintf("%x", unbase64(t, exampleY)),
		},
	} {
		t.Run(name, func(t *testing.T) {
			fromJSON, err := ParseTokenRequestJSON([]byte(`{"grant_type":"client_credentials","req_cnf":{"jwk":` + tt.jwk + `}}`))
			if err != nil {
				t.Fatal(err)
			}
			encoded, err := fromJSON.CBOR()
			if want := "a204" + tt.cnf + "182102"; err != nil || fmt.Sprintf("%x", encoded) != want {
				t.Fatalf("cbor: got %x, %v, want %s", encoded, err, want)
			}
			text, err := fromJSON.JSON()
			if err != nil {
				t.Fatal(err)
			}
			again, err := ParseTokenRequestJSON(text)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "json", again, fromJSON)
		})
	}
}

func unbase64(t *testing.T, s string) []byte {
	t.Helper()
	b, err := decode64(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func hexOf(s string) string { return fmt.Sprintf("%x", s) }

func TestThreeEncodingsOfOneRequest(t *testing.T) {
	for _, tt := range requests {
		t.Run(tt.name, func(t *testing.T) {
			form, err := url.ParseQuery(tt.form)
			if err != nil {
				t.Fatal(err)
			}
			fromCBOR, err1 := ParseTokenRequestCBOR(unhex(t, tt.cbor))
			fromJSON, err2 := ParseTokenRequestJSON([]byte(tt.json))
			fromForm, err3 := ParseTokenRequestForm(form)
			if err := errors.Join(err1, err2, err3); err != nil {
				t.Fatalf("cbor, json, form: %v", err)
			}
			same(t, "cbor", fromCBOR, &tt.want)
			same(t, "json", fromJSON, &tt.want)
			same(t, "form", fromForm, &tt.want)
		})
	}
}

func TestRequestsAreWrittenAsTheyAreRead(t *testing.T) {
	for _, tt := range requests {
		t.Run(tt.name, func(t *testing.T) {
			encoded, err := tt.want.CBOR()
			if err != nil || fmt.Sprintf("%x", encoded) != tt.cbor {
				t.Errorf("cbor: got %x, %v, want %s", encoded, err, tt.cbor)
			}
			text, err := tt.want.JSON()
			if err != nil {
				t.Fatal(err)
			}
			fromJSON, err := ParseTokenRequestJSON(text)
			if err != nil {
				t.Fatalf("json: %v", err)
			}
			same(t, "json", fromJSON, &tt.want)
			form, err := tt.want.Form()
			if err != nil {
				t.Fatal(err)
			}
			fromForm, err := ParseTokenRequestForm(form)
			if err != nil {
				t.Fatalf("form: %v", err)
			}
			same(t, "form", fromForm, &tt.want)
		})
	}
}

// same compares what is hidden from %v field by field.
func same(t *testing.T, face string, got, want *TokenRequest) {
	t.Helper()
	type open TokenRequest
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %+v, want %+v", face, open(*got), open(*want))
	}
}

func TestBinaryScope(t *testing.T) {
	want := TokenRequest{GrantType: GrantClientCredentials,
		Scope: Scope{Rights: aif.New(aif.Entry{Path: "/s/temp", Methods: aif.GET}, aif.Entry{Path: "/a/led", Methods: 5})}}
	encoded, err := want.CBOR()
	if err != nil {
		t.Fatal(err)
	}
	if wantCBOR := "a2095482" + "82662f612f6c656405" + "82672f732f74656d7001" + "182102"; fmt.Sprintf("%x", encoded) != wantCBOR {
		t.Errorf("cbor: got %x, want %s", encoded, wantCBOR)
	}
	text, err := want.JSON()
	if wantJSON := `{"grant_type":"client_credentials","scope_aif":"goJmL2EvbGVkBYJnL3MvdGVtcAE"}`; err != nil || string(text) != wantJSON {
		t.Errorf("json: got %s, %v, want %s", text, err, wantJSON)
	}
	fromCBOR, err1 := ParseTokenRequestCBOR(encoded)
	fromJSON, err2 := ParseTokenRequestJSON(text)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	same(t, "cbor", fromCBOR, &want)
	same(t, "json", fromJSON, &want)
	form, err := want.Form()
	if err != nil || form.Get("scope") != "/a/led:GET,PUT /s/temp:GET" || form.Has("scope_aif") {
		t.Errorf("form: got %v, %v, want the rights in words", form, err)
	}
}

func TestGrantTypeMayBeLeftOutInCBOROnly(t *testing.T) {
	got, err := ParseTokenRequestCBOR(unhex(t, "a0"))
	if err != nil || got.GrantType != GrantClientCredentials || !got.GrantTypeImplied {
		t.Errorf("cbor: got %v, want an implied %s", err, GrantClientCredentials)
	}
	if again, err := got.CBOR(); err != nil || fmt.Sprintf("%x", again) != "a0" {
		t.Errorf("cbor: got %x, %v, want a0", again, err)
	}
	_, err = ParseTokenRequestJSON([]byte("{}"))
	wantError(t, err, InvalidRequest, "grant_type")
	_, err = ParseTokenRequestForm(url.Values{"grant_type": {""}})
	wantError(t, err, InvalidRequest, "grant_type")
}

// wantError compares the code and asks that the description names the parameter.
func wantError(t *testing.T, err error, code ErrorCode, parameter string) {
	t.Helper()
	e, ok := err.(*Error)
	if !ok || e.Code != code || !strings.Contains(e.Description, parameter) {
		t.Errorf("got %v, want %v naming %s", err, code, parameter)
	}
}

func TestRefusedCBORRequests(t *testing.T) {
	tests := []struct {
		name      string
		cbor      string
		code      ErrorCode
		parameter string
	}{
		{"nothing", "", InvalidRequest, "map"},
		{"null", "f6", InvalidRequest, "map"},
		{"an array", "80", InvalidRequest, "map"},
		{"a text key", "a1616101", InvalidRequest, "map"},
		{"a key twice", "a2182102182102", InvalidRequest, "map"},
		{"an indefinite map", "bf182102ff", InvalidRequest, "map"},
		{"bytes after the map", "a000", InvalidRequest, "map"},
		{"password", "a1182100", UnsupportedGrantType, "password"},
		{"a grant type without a number", "a1182104", UnsupportedGrantType, "grant type"},
		{"details that are no array", "a2182102" + "3a00011174" + "62" + hexOf("{}"), InvalidDetails, "authorization_details"},
		{"details in another spelling", "a2182102" + "3a00011174" + "63" + hexOf("[ ]"), InvalidDetails, "authorization_details"},
		{"details with a name twice", "a2182102" + "3a00011174" + "6f" + hexOf(`[{"a":1,"a":2}]`), InvalidDetails, "authorization_details"},
		{"a grant type without a name", "a1182104", UnsupportedGrantType, "grant type"},
		{"grant type in text", "a1182172" + hexOf("client_credentials"), InvalidRequest, "grant_type"},
		{"grant type null", "a11821f6", InvalidRequest, "grant_type"},
		{"audience in bytes", "a1054161", InvalidRequest, "audience"},
		{"audience null", "a105f6", InvalidRequest, "audience"},
		{"audience of two", "a10582616161" + "62", InvalidRequest, "audience"},
		{"audience with a line end", "a105620a61", InvalidRequest, "audience"},
		{"audience too long", "a105790101" + strings.Repeat("61", 257), InvalidRequest, "audience"},
		{"client_secret in text", "a118196161", InvalidRequest, "client_secret"},
		{"code in text", "a1181d6161", InvalidRequest, "code"},
		{"scope as a number", "a10901", InvalidRequest, "scope"},
		{"scope as an array", "a10980", InvalidRequest, "scope"},
		{"scope empty", "a10960", InvalidScope, "scope"},
		{"scope with two spaces", "a1096461202062", InvalidScope, "scope"},
		{"scope of no rights", "a1094180", InvalidScope, "scope"},
		{"scope that is no AIF", "a10941ff", InvalidScope, "scope"},
		{"scope with an unknown method bit", "a109488182622f611880" + "00", InvalidScope, "scope"},
		{"req_cnf in bytes", "a1044101", InvalidRequest, "req_cnf"},
		{"req_cnf null", "a104f6", InvalidRequest, "req_cnf"},
		{"ace_profile in text", "a118266b" + hexOf("coap_oscore"), InvalidRequest, "ace_profile"},
		{"ace_profile mqtt_tls", "a1182603", IncompatibleProfiles, "ace_profile"},
		{"ace_profile 0", "a1182600", IncompatibleProfiles, "ace_profile"},
		{"cnonce in text", "a118276161", InvalidRequest, "cnonce"},
		{"cnonce too long", "a118275841" + strings.Repeat("00", 65), InvalidRequest, "cnonce"},
		{"token_upload 3", "a1183103", InvalidRequest, "token_upload"},
		{"token_upload negative", "a1183120", InvalidRequest, "token_upload"},
		{"token_upload null", "a11831f6", InvalidRequest, "token_upload"},
		{"to_rs without token_upload", "a1183341a0", InvalidRequest, "to_rs"},
		{"to_rs as a map", "a21831001833a0", InvalidRequest, "to_rs"},
		{"rs_cnf", "a11829f5", InvalidRequest, "rs_cnf"},
		{"rs_cnf2", "a1183580", InvalidRequest, "rs_cnf2"},
		{"audience2", "a1183680", InvalidRequest, "audience2"},
		{"anchor_cnf", "a1183780", InvalidRequest, "anchor_cnf"},
		{"token_series_id", "a1183840", InvalidRequest, "token_series_id"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseTokenRequestCBOR(unhex(t, tt.cbor))
			wantError(t, err, tt.code, tt.parameter)
		})
	}
}

func TestRefusedJSONRequests(t *testing.T) {
	tests := []struct {
		name, json string
		code       ErrorCode
		parameter  string
	}{
		{"nothing", ``, InvalidRequest, "JSON"},
		{"null", `null`, InvalidRequest, "JSON"},
		{"an array", `[]`, InvalidRequest, "JSON"},
		{"two objects", `{}{}`, InvalidRequest, "after"},
		{"half an object", `{"a":`, InvalidRequest, "JSON"},
		{"a member twice", `{"scope":"a","grant_type":"client_credentials","scope":"b"}`, InvalidRequest, "twice"},
		{"a member twice, once escaped", `{"scope":"a","sco\u0070e":"b"}`, InvalidRequest, "twice"},
		{"a member twice, deep", `{"req_cnf":{"jwk":{"kty":"oct","k":"AA","k":"AB"}}}`, InvalidRequest, "twice"},
		{"a member twice, in what is ignored", `{"x":[{"a":1,"a":1}]}`, InvalidRequest, "twice"},
		{"broken UTF-8", "{\"x\":\"\xff\"}", InvalidRequest, "UTF-8"},
		{"many levels", `{"x":` + strings.Repeat("[", 50) + strings.Repeat("]", 50) + `}`, InvalidRequest, "levels"},
		{"too long", `{"x":"` + strings.Repeat("a", MaxMessage) + `"}`, InvalidRequest, "bytes"},
		{"grant type as a number", `{"grant_type":2}`, InvalidRequest, "grant_type"},
		{"password", `{"grant_type":"password"}`, UnsupportedGrantType, "password"},
		{"token exchange", `{"grant_type":"urn:ietf:params:oauth:grant-type:token-exchange"}`, UnsupportedGrantType, "token-exchange"},
		{"details that are text", `{"grant_type":"client_credentials","authorization_details":"[]"}`, InvalidDetails, "authorization_details"},
		{"audience of two", `{"audience":["a","b"]}`, InvalidRequest, "audience"},
		{"audience null", `{"audience":null}`, InvalidRequest, "audience"},
		{"both scopes", `{"scope":"a","scope_aif":"gYJiL2EB"}`, InvalidRequest, "scope"},
		{"cnonce padded", `{"cnonce":"AA=="}`, InvalidRequest, "cnonce"},
		{"cnonce in the other alphabet", `{"cnonce":"+/8"}`, InvalidRequest, "cnonce"},
		{"cnonce with spare bits", `{"cnonce":"AB"}`, InvalidRequest, "cnonce"},
		{"cnonce with a line end", `{"cnonce":"AA\n"}`, InvalidRequest, "cnonce"},
		{"ace_profile as a number", `{"ace_profile":2}`, InvalidRequest, "ace_profile"},
		{"ace_profile as a number in text", `{"ace_profile":"2"}`, IncompatibleProfiles, "ace_profile"},
		{"token_upload in text", `{"token_upload":"1"}`, InvalidRequest, "token_upload"},
		{"token_upload broken", `{"token_upload":1.5}`, InvalidRequest, "token_upload"},
		{"token_upload 3", `{"grant_type":"client_credentials","token_upload":3}`, InvalidRequest, "token_upload"},
		{"req_cnf in text", `{"req_cnf":"{}"}`, InvalidRequest, "req_cnf"},
		{"req_cnf empty", `{"req_cnf":{}}`, InvalidRequest, "req_cnf"},
		{"req_cnf of two methods", `{"req_cnf":{"kid":"AA","jwk":{"kty":"oct","k":"AA"}}}`, InvalidRequest, "req_cnf"},
		{"req_cnf jwe", `{"req_cnf":{"jwe":"a.b.c.d.e"}}`, InvalidRequest, "req_cnf"},
		{"req_cnf of a private key", `{"req_cnf":{"jwk":{"kty":"EC","crv":"P-256","x":"AA","y":"AA","d":"AA"}}}`, InvalidRequest, "private"},
		{"req_cnf on an unknown curve", `{"req_cnf":{"jwk":{"kty":"EC","crv":"P-384","x":"AA","y":"AA"}}}`, InvalidRequest, "P-256"},
		{"req_cnf of a point that is not on the curve", `{"grant_type":"client_credentials","req_cnf":{"jwk":{"kty":"EC","crv":"P-256","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","y":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}}`, InvalidRequest, "req_cnf"},
		{"req_cnf of a short secret", `{"grant_type":"client_credentials","req_cnf":{"jwk":{"kty":"oct","k":"AAAAAA"}}}`, InvalidRequest, "req_cnf"},
		{"req_cnf without kty", `{"req_cnf":{"jwk":{"k":"AA"}}}`, InvalidRequest, "kty"},
		{"req_cnf osc with an unknown parameter", `{"req_cnf":{"osc":{"id":"AA","ms":"AA","x":1}}}`, InvalidRequest, "osc"},
		{"rs_cnf", `{"grant_type":"client_credentials","rs_cnf":true}`, InvalidRequest, "rs_cnf"},
		{"anchor_cnf", `{"grant_type":"client_credentials","anchor_cnf":[]}`, InvalidRequest, "anchor_cnf"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseTokenRequestJSON([]byte(tt.json))
			wantError(t, err, tt.code, tt.parameter)
		})
	}
}

func TestRefusedForms(t *testing.T) {
	tests := []struct {
		name, form string
		code       ErrorCode
		parameter  string
	}{
		{"a parameter twice", "grant_type=client_credentials&scope=a&scope=a", InvalidRequest, "scope"},
		{"an unknown parameter twice", "grant_type=client_credentials&x=&x=", InvalidRequest, "x"},
		{"binary scope", "grant_type=client_credentials&scope_aif=gYJiL2EB", InvalidRequest, "scope_aif"},
		{"token_upload with a sign", "token_upload=%2B1", InvalidRequest, "token_upload"},
		{"token_upload in hexadecimal", "token_upload=0x1", InvalidRequest, "token_upload"},
		{"token_upload in quotes", "token_upload=%221%22", InvalidRequest, "token_upload"},
		{"req_cnf that is no JSON", "req_cnf=kid", InvalidRequest, "req_cnf"},
		{"req_cnf with more after it", "req_cnf=%7B%22kid%22%3A%22AA%22%7Dx", InvalidRequest, "req_cnf"},
		{"broken UTF-8", "audience=%ff", InvalidRequest, "audience"},
		{"unknown grant type", "grant_type=implicit", UnsupportedGrantType, "implicit"},
		{"rs_cnf", "grant_type=client_credentials&rs_cnf=true", InvalidRequest, "rs_cnf"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			form, err := url.ParseQuery(tt.form)
			if err != nil {
				t.Fatal(err)
			}
			_, err = ParseTokenRequestForm(form)
			wantError(t, err, tt.code, tt.parameter)
		})
	}
}

func TestRequestsThatWouldBeRefusedAreNotWritten(t *testing.T) {
	for name, r := range map[string]TokenRequest{
		"no grant type":              {},
		"unknown grant type":         {GrantType: "password"},
		"to_rs without token_upload": {GrantType: GrantClientCredentials, ToRS: []byte{0xa0}},
		"two scopes":                 {GrantType: GrantClientCredentials, Scope: Scope{Words: "a", Rights: aif.New(aif.Entry{Path: "/a", Methods: 1})}},
		"a scope of no rights":       {GrantType: GrantClientCredentials, Scope: Scope{Rights: aif.Rights{}}},
		"unknown profile":            {GrantType: GrantClientCredentials, Profile: &ProfileRequest{Named: true, Profile: 9}},
	} {
		if got, err := r.CBOR(); err == nil {
			t.Errorf("%s: got %x, want an error", name, got)
		}
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	upload := AuthzInfo{Token: []byte("secret")}
	request := TokenRequest{Code: "secret", ClientSecret: "secret"}
	response := TokenResponse{AccessToken: []byte("secret")}
	for _, v := range []any{upload, &upload, request, &request, response, &response} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
			if got := fmt.Sprintf(verb, v); got != redacted {
				t.Errorf("%T with %s: got %s, want %s", v, verb, got, redacted)
			}
		}
	}
}
