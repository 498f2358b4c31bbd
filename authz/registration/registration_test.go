package registration_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/registration"
	"github.com/latchkey-ace/latchkey/pop/ace"
)

// keys is the public key of RFC 7517 appendix A.1 as a set.
const keys = `{"keys":[{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","kid":"1"}]}`

var (
	served = []authz.AuthMethod{authz.AuthNone, authz.AuthSecretBasic, authz.AuthSecretPost, authz.AuthPrivateKey, authz.AuthSelfSigned, authz.AuthTLS}
	all    = authz.Allowed{
		GrantTypes:  []string{authz.AuthorizationCode, authz.RefreshToken, authz.ClientCredentials, authz.DeviceCodeGrant},
		AuthMethods: served,
	}
)

func judge(body string, may authz.Allowed) (authz.Client, error) {
	m, err := registration.Parse([]byte(body))
	if err != nil {
		return authz.Client{}, err
	}
	return m.Client(may, served)
}

// TestMetadata: RFC 7591 §3.1, adapted: its keys by value, and members that nobody here knows.
func TestMetadata(t *testing.T) {
	got, err := judge(`{
		"redirect_uris": ["https://client.example.org/callback", "https://client.example.org/callback2"],
		"client_name": "My Example Client",
		"client_name#ja-Jpan-JP": "\u30AF\u30E9\u30A4\u30A2\u30F3\u30C8\u540D",
		"token_endpoint_auth_method": "private_key_jwt",
		"logo_uri": "https://client.example.org/logo.png",
		"jwks": `+strings.ReplaceAll(keys, ",", ", ")+`,
		"scope": "read  write dolphin",
		"response_types": ["code"], "grant_types": ["authorization_code", "refresh_token"],
		"software_id": "4NRB1-0XZABZI9E6-5SM3R", "software_version": "2",
		"require_pushed_authorization_requests": true, "dpop_bound_access_tokens": true,
		"contacts": null, "example_extension_parameter": {"a": ["b"]}
	}`, all)
	want := authz.Client{
		Name: "My Example Client", AuthMethod: authz.AuthPrivateKey, Keys: keys, Ceiling: []string{"read", "write", "dolphin"},
		RedirectURIs: []string{"https://client.example.org/callback", "https://client.example.org/callback2"},
		GrantTypes:   []string{authz.AuthorizationCode, authz.RefreshToken},
		Settings: authz.ClientSettings{RequirePAR: true, DPoPBound: true, Registered: &authz.Registered{
			Allowed: all, SoftwareID: "4NRB1-0XZABZI9E6-5SM3R", SoftwareVersion: "2",
		}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
}

// TestDefaults: RFC 7591 §2, and what an invitation gives.
func TestDefaults(t *testing.T) {
	may := all
	may.Scope, may.Bearer, may.ClientMadeKeys = []string{"view", "unlock"}, true, true
	got, err := judge(`{"redirect_uris":["com.example.app:/cb"]}`, may)
	want := authz.Client{
		AuthMethod: authz.AuthSecretBasic, GrantTypes: []string{authz.AuthorizationCode}, RedirectURIs: []string{"com.example.app:/cb"},
		Ceiling: may.Scope, ClientMadeKeys: true, Settings: authz.ClientSettings{Bearer: true, Registered: &authz.Registered{Allowed: may}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
	// No wish brings a permission, and who wants bound tokens has no other.
	for body, may := range map[string]authz.Allowed{
		`{"grant_types":["client_credentials"],"bearer":true,"client_made_keys":true,"administrator":true,"serves":"d1"}`: all,
		`{"grant_types":["client_credentials"],"dpop_bound_access_tokens":true}`:                                          {GrantTypes: all.GrantTypes, AuthMethods: served, Bearer: true},
	} {
		got, err := judge(body, may)
		if err != nil || got.Settings.Bearer || got.Settings.Administrator || got.ClientMadeKeys || got.Serves != (authz.Client{}).Serves {
			t.Errorf("%s: got %+v, %v", body, got, err)
		}
	}
}

var badMetadata = []struct {
	name, body, says string
	code             ace.ErrorCode
}{
	{"no object", `[]`, "not a JSON object", ace.InvalidClientMetadata},
	{"cut off", `{"redirect_uris":["https://a.example/"]`, "not a JSON object", ace.InvalidClientMetadata},
	{"bytes behind", `{"grant_types":["client_credentials"]}{}`, "bytes after", ace.InvalidClientMetadata},
	{"a member twice", `{"client_name":"a","client_name":"b"}`, "twice", ace.InvalidClientMetadata},
	{"broken UTF-8", "{\"client_name\":\"\xff\"}", "UTF-8", ace.InvalidClientMetadata},
	{"nested", `{"x":` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}`, "levels", ace.InvalidClientMetadata},
	{"too long", `{"x":"` + strings.Repeat("a", 17000) + `"}`, "at most 16384", ace.InvalidClientMetadata},
	{"redirects as text", `{"redirect_uris":"https://a.example/"}`, "redirect_uris: not a list", ace.InvalidClientMetadata},
	{"null among redirects", `{"redirect_uris":[null]}`, "redirect_uris: not a list", ace.InvalidClientMetadata},
	{"a number for a name", `{"client_name":7}`, "client_name: not a string", ace.InvalidClientMetadata},
	{"text for a flag", `{"dpop_bound_access_tokens":"true"}`, "dpop_bound_access_tokens: neither", ace.InvalidClientMetadata},
	{"a long name", `{"client_name":"` + strings.Repeat("a", 65) + `"}`, "client_name: at most 64", ace.InvalidClientMetadata},
	{"a zero byte", `{"software_id":"a\u0000"}`, "software_id", ace.InvalidClientMetadata},
	{"a name that turns around", `{"redirect_uris":["https://a.example/"],"client_name":"\u202eenohp"}`, "that print", ace.InvalidClientMetadata},
	{"seventeen redirects", `{"redirect_uris":["https://a.example/"` + strings.Repeat(`,"https://a.example/"`, 16) + `]}`, "at most 16", ace.InvalidClientMetadata},

	{"no redirect for a code", `{}`, "needs a redirect URI", ace.InvalidRedirectURI},
	{"a fragment", `{"redirect_uris":["https://a.example/#x"]}`, "without #", ace.InvalidRedirectURI},
	{"plain http", `{"redirect_uris":["http://a.example/"]}`, "this machine", ace.InvalidRedirectURI},
	{"a script", `{"redirect_uris":["javascript:alert(1)"]}`, "com.example.app", ace.InvalidRedirectURI},
	{"somebody else's scheme", `{"redirect_uris":["myapp:/cb"]}`, "com.example.app", ace.InvalidRedirectURI},
	{"no host", `{"redirect_uris":["https:/cb"]}`, "whole address", ace.InvalidRedirectURI},
	{"a path alone", `{"redirect_uris":["/cb"]}`, "com.example.app", ace.InvalidRedirectURI},
	{"a password", `{"redirect_uris":["https://u:p@a.example/"]}`, "whole address", ace.InvalidRedirectURI},
	{"a wildcard", `{"redirect_uris":["https://*.example/"]}`, "whole address", ace.InvalidRedirectURI},

	{"the implicit grant", `{"redirect_uris":["https://a.example/"],"grant_types":["implicit"]}`, `"implicit"`, ace.InvalidClientMetadata},
	{"a grant type that is ours", `{"grant_types":["password"]}`, `"password"`, ace.InvalidClientMetadata},
	{"refresh_token alone", `{"grant_types":["refresh_token"]}`, "refresh_token goes with", ace.InvalidClientMetadata},
	{"a token by the front channel", `{"redirect_uris":["https://a.example/"],"response_types":["code","token"]}`, "response_types", ace.InvalidClientMetadata},
	{"a response for no request", `{"grant_types":["client_credentials"],"response_types":["code"]}`, "response_types", ace.InvalidClientMetadata},
	{"no response for a request", `{"redirect_uris":["https://a.example/"],"response_types":[]}`, "response_types", ace.InvalidClientMetadata},
	{"public with client_credentials", `{"grant_types":["client_credentials"],"token_endpoint_auth_method":"none"}`, "public client", ace.InvalidClientMetadata},
	{"pushed requests for no code", `{"grant_types":["client_credentials"],"require_pushed_authorization_requests":true}`, "pushed", ace.InvalidClientMetadata},
	{"a method of CoAP", `{"grant_types":["client_credentials"],"token_endpoint_auth_method":"oscore"}`, `"oscore" is not available`, ace.InvalidClientMetadata},
	{"a method that does not exist", `{"grant_types":["client_credentials"],"token_endpoint_auth_method":"client_secret_jwt"}`, "client_secret_jwt", ace.InvalidClientMetadata},
	{"a scope with a quote", `{"grant_types":["client_credentials"],"scope":"a\"b"}`, "scope", ace.InvalidClientMetadata},
	{"a scope beyond ASCII", `{"grant_types":["client_credentials"],"scope":"ö"}`, "scope", ace.InvalidClientMetadata},

	{"a key without a need", `{"grant_types":["client_credentials"],"jwks":` + keys + `}`, "key set goes with", ace.InvalidClientMetadata},
	{"private_key_jwt without a key", `{"grant_types":["client_credentials"],"token_endpoint_auth_method":"private_key_jwt"}`, "needs a JWK Set", ace.InvalidClientMetadata},
	{"a set as text", `{"grant_types":["client_credentials"],"token_endpoint_auth_method":"private_key_jwt","jwks":"{}"}`, "jwks: not a JWK Set", ace.InvalidClientMetadata},
	{"a private key", `{"grant_types":["client_credentials"],"token_endpoint_auth_method":"private_key_jwt","jwks":` + private + `}`, "key set", ace.InvalidClientMetadata},
	{"a private key beside a certificate", `{"grant_types":["client_credentials"],"token_endpoint_auth_method":"self_signed_tls_client_auth","jwks":` + private + `}`, "key set", ace.InvalidClientMetadata},
	{"keys from elsewhere", `{"grant_types":["client_credentials"],"jwks_uri":"https://a.example/jwks"}`, "fetches nothing", ace.InvalidClientMetadata},
	{"two names of a certificate", `{"grant_types":["client_credentials"],"token_endpoint_auth_method":"tls_client_auth","tls_client_auth_san_dns":"a.example","tls_client_auth_subject_dn":"CN=a"}`, "exactly one name", ace.InvalidClientMetadata},
	{"an address in a certificate", `{"grant_types":["client_credentials"],"token_endpoint_auth_method":"tls_client_auth","tls_client_auth_san_ip":"192.0.2.1"}`, "san_ip is not available", ace.InvalidClientMetadata},
	{"two bindings", `{"grant_types":["client_credentials"],"dpop_bound_access_tokens":true,"tls_client_certificate_bound_access_tokens":true}`, "bound to one thing", ace.InvalidClientMetadata},
	{"a software statement", `{"grant_types":["client_credentials"],"software_statement":"eyJ"}`, "trusts nobody", ace.UnapprovedSoftwareStatement},
}

const private = `{"keys":[{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"}]}`

func TestBadMetadata(t *testing.T) {
	for _, tt := range badMetadata {
		t.Run(tt.name, func(t *testing.T) {
			_, err := judge(tt.body, all)
			var refused *ace.Error
			if !errors.As(err, &refused) || refused.Code != tt.code || !strings.Contains(refused.Description, tt.says) {
				t.Errorf("got %v, want %v that says %q", err, tt.code, tt.says)
			}
		})
	}
}

// TestInvitationBounds: nobody registers for more than the invitation allows.
func TestInvitationBounds(t *testing.T) {
	may := authz.Allowed{GrantTypes: []string{authz.AuthorizationCode}, AuthMethods: []authz.AuthMethod{authz.AuthNone}, Scope: []string{"view"}}
	const start = `{"redirect_uris":["https://a.example/"],"token_endpoint_auth_method":"none"`
	if c, err := judge(start+`,"scope":"view"}`, may); err != nil || !reflect.DeepEqual(c.Ceiling, []string{"view"}) {
		t.Errorf("within: got %+v, %v", c, err)
	}
	for body, says := range map[string]string{
		start + `,"grant_types":["authorization_code","refresh_token"]}`: "refresh_token",
		`{"redirect_uris":["https://a.example/"]}`:                       "client_secret_basic",
		start + `,"scope":"view unlock"}`:                                "unlock",
	} {
		_, err := judge(body, may)
		if !errors.Is(err, &ace.Error{Code: ace.InvalidClientMetadata}) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "invitation") {
			t.Errorf("%s: got %v, want one that names %s", body, err, says)
		}
	}
}

// TestAllowed: an invitation that nobody could use is not made.
func TestAllowed(t *testing.T) {
	types := []string{authz.ClientCredentials}
	for name, tt := range map[string]struct {
		may  authz.Allowed
		good bool
	}{
		"one type":                 {authz.Allowed{GrantTypes: types}, true},
		"1024 bytes of scope":      {authz.Allowed{GrantTypes: types, Scope: []string{strings.Repeat("a", 1000), strings.Repeat("b", 23)}}, true},
		"1025 bytes of scope":      {authz.Allowed{GrantTypes: types, Scope: []string{strings.Repeat("a", 1000), strings.Repeat("b", 24)}}, false},
		"no type":                  {authz.Allowed{}, false},
		"a type that is not there": {authz.Allowed{GrantTypes: []string{"password"}}, false},
		"an empty word":            {authz.Allowed{GrantTypes: types, Scope: []string{""}}, false},
	} {
		if err := registration.CheckAllowed(tt.may); (err == nil) != tt.good {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func client(t *testing.T) authz.Client {
	t.Helper()
	c, err := judge(`{"redirect_uris":["https://a.example/"],"client_name":"A","software_id":"s"}`, all)
	if err != nil {
		t.Fatal(err)
	}
	c.ID, c.SecretHash, c.Management, c.CreatedAt = "c_1", authz.HashSecret("secret"), authz.HashSecret("management"), time.Unix(2893256800, 0)
	c.Settings.Administrator, c.Serves = true, [8]byte{1}
	return c
}

// TestUpdate: RFC 7592 §2.2: what is not said is gone, what the server and its operator decided stays.
func TestUpdate(t *testing.T) {
	c := client(t)
	m, err := registration.ParseUpdate([]byte(`{"client_id":"c_1","client_secret":"secret","grant_types":["client_credentials"],"redirect_uris":null}`), &c)
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.Replace(&c, served)
	want := authz.Client{
		ID: "c_1", AuthMethod: authz.AuthSecretBasic, SecretHash: c.SecretHash, GrantTypes: []string{authz.ClientCredentials}, Serves: c.Serves,
		Management: c.Management, CreatedAt: c.CreatedAt, Settings: authz.ClientSettings{Administrator: true, Registered: &authz.Registered{Allowed: all}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
	for member, says := range map[string]string{
		`"client_id":"c_2"`: "client_id",
		`"client_id":null`:  "client_id",
		`"client_id":7`:     "client_id",
		`"client_id":"c_1","client_secret":"Secret"`:              "client_secret",
		`"client_id":"c_1","client_secret":""`:                    "client_secret",
		`"client_id":"c_1","registration_access_token":"t"`:       "registration_access_token",
		`"client_id":"c_1","registration_client_uri":"https://a"`: "registration_client_uri",
		`"client_id":"c_1","client_secret_expires_at":0`:          "client_secret_expires_at",
		`"client_id":"c_1","client_id_issued_at":1`:               "client_id_issued_at",
		`"client_id":"c_1","software_statement":"e"`:              "software_statement",
	} {
		_, err := registration.ParseUpdate([]byte(`{"redirect_uris":["https://a.example/"],`+member+`}`), &c)
		var refused *ace.Error
		if !errors.As(err, &refused) || !strings.Contains(refused.Description, says) {
			t.Errorf("%s: got %v, want one that names %s", member, err, says)
		}
	}
	public := c
	public.SecretHash = nil
	if _, err := registration.ParseUpdate([]byte(`{"client_id":"c_1","client_secret":""}`), &public); err == nil {
		t.Error("an empty secret is none that a public client has")
	}
}

// TestInformation: RFC 7591 §3.2.1: everything registered is told, and a secret that never ends says so.
func TestInformation(t *testing.T) {
	c := client(t)
	body, err := registration.Information(&c, registration.Told{Credentials: authz.Credentials{Secret: "s", Management: "m"}, URI: "https://as.example/register/c_1"})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"client_id":"c_1","client_secret":"s","client_id_issued_at":2893256800,"client_secret_expires_at":0,"registration_access_token":"m",` +
		`"registration_client_uri":"https://as.example/register/c_1","client_name":"A","redirect_uris":["https://a.example/"],` +
		`"grant_types":["authorization_code"],"response_types":["code"],"token_endpoint_auth_method":"client_secret_basic","software_id":"s"}`
	if string(body) != want {
		t.Errorf("got  %s\nwant %s", body, want)
	}
	told := registration.Told{Credentials: authz.Credentials{Secret: "very secret", Management: "very secret"}}
	if text := fmt.Sprintf("%v %+v %#v", told, told, told.Credentials); strings.Contains(text, "very secret") {
		t.Errorf("secrets print: %s", text)
	}
}

// TestRoundTrip: what the server tells can be registered again as it is (RFC 7592 §2.2).
func TestRoundTrip(t *testing.T) {
	first, err := judge(`{"grant_types":["client_credentials"],"token_endpoint_auth_method":"private_key_jwt","scope":"a b","jwks":`+keys+`,"dpop_bound_access_tokens":true}`, all)
	if err != nil {
		t.Fatal(err)
	}
	first.ID = "c_1"
	body, err := registration.Information(&first, registration.Told{})
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(body, &members); err != nil {
		t.Fatal(err)
	}
	for _, own := range []string{"registration_access_token", "registration_client_uri", "client_id_issued_at"} {
		delete(members, own)
	}
	again, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	m, err := registration.ParseUpdate(again, &first)
	if err != nil {
		t.Fatal(err)
	}
	second, err := m.Replace(&first, served)
	first.Keys, second.Keys = "", "" // the order of members is the encoder's
	if err != nil || !reflect.DeepEqual(first, second) {
		t.Errorf("got  %+v, %v\nwant %+v", second, err, first)
	}
}

func FuzzParse(f *testing.F) {
	for _, tt := range badMetadata {
		f.Add([]byte(tt.body))
	}
	f.Add([]byte(`{"grant_types":["client_credentials"],"token_endpoint_auth_method":"private_key_jwt","jwks":` + keys + `}`))
	f.Add([]byte(`{"redirect_uris":["https://a.example/"],"client_id":"c_1","client_secret":"secret"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		own := authz.Client{ID: "c_1", SecretHash: authz.HashSecret("secret"), Settings: authz.ClientSettings{Registered: &authz.Registered{Allowed: all}}}
		if m, err := registration.ParseUpdate(body, &own); err == nil {
			_, _ = m.Replace(&own, served)
		}
		c, err := judge(string(body), all)
		var refused *ace.Error
		switch {
		case err != nil && !errors.As(err, &refused):
			t.Fatalf("%v is no answer to a client", err)
		case err != nil:
			return
		}
		if err := registration.Check(&c); err != nil || c.Settings.Bearer || c.Settings.Administrator {
			t.Fatalf("taken, but %v: %+v", err, c)
		}
		if _, err := registration.Information(&c, registration.Told{}); err != nil {
			t.Fatal(err)
		}
	})
}
