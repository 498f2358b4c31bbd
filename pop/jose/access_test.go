package jose_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop/jose"
)

func expectAccess(t testing.TB) jose.Expect {
	return jose.Expect{
		Keys: jose.Only(issuerKey(t, serverKey)), Issuer: "https://authorization-server.example.com/", Audience: "https://rs.example.com/",
		Now: time.Unix(1618354090, 0),
	}
}

func TestRFC9068Example(t *testing.T) {
	x := readRFC(t, "rfc9068-3")
	got, err := jose.OpenAccess(forge(t, header, string(x.Claims)), expectAccess(t))
	if err != nil {
		t.Fatal(err)
	}
	want := jose.Registered{
		Issuer: "https://authorization-server.example.com/", Subject: "5ba552d67", Audience: []string{"https://rs.example.com/"},
		Expires: time.Unix(1639528912, 0), IssuedAt: time.Unix(1618354090, 0), ID: "dbe39bf3a3ba4238a513f51d6e1691c4",
	}
	if !reflect.DeepEqual(got.Registered, want) || got.ClientID != "s6BhdRkqt3" || !reflect.DeepEqual(got.Scope, []string{"openid", "profile", "reademail"}) {
		t.Errorf("got %+v", got)
	}
	// The header of the example, word for word: RSA is not taken here, and typ is compared exactly.
	for _, h := range []string{`{"typ":"at+JWT","alg":"RS256","kid":"RjEwOwOA"}`, strings.Replace(header, "at+jwt", "at+JWT", 1)} {
		if _, err := jose.OpenAccess(forge(t, h, string(x.Claims)), expectAccess(t)); !errors.Is(err, jose.ErrProtection) {
			t.Errorf("%s: got %v, want %v", h, err, jose.ErrProtection)
		}
	}
}

func TestAccessTokensNeedTheirClaims(t *testing.T) {
	var all map[string]any
	if err := json.Unmarshal(readRFC(t, "rfc9068-3").Claims, &all); err != nil {
		t.Fatal(err)
	}
	for _, required := range strings.Fields("iss exp aud sub client_id iat jti") {
		claims := map[string]any{}
		for name, value := range all {
			if name != required {
				claims[name] = value
			}
		}
		if got, err := jose.OpenAccess(forge(t, header, toJSON(t, claims)), expectAccess(t)); !errors.Is(err, jose.ErrClaims) {
			t.Errorf("without %s: got %+v, %v", required, got, err)
		}
	}
	for name, value := range map[string]any{
		"scope": []string{"openid"}, "client_id": 7, "aud": []string{"https://other.example"},
	} {
		claims := map[string]any{}
		for n, v := range all {
			claims[n] = v
		}
		claims[name] = value
		if got, err := jose.OpenAccess(forge(t, header, toJSON(t, claims)), expectAccess(t)); !errors.Is(err, jose.ErrClaims) {
			t.Errorf("%s %v: got %+v, %v", name, value, got, err)
		}
	}
	for name, change := range map[string]func(*jose.Expect){
		"issuer": func(e *jose.Expect) { e.Issuer = "" }, "audience": func(e *jose.Expect) { e.Audience = "" }, "time": func(e *jose.Expect) { e.Now = time.Time{} },
	} {
		e := expectAccess(t)
		change(&e)
		if got, err := jose.OpenAccess(forge(t, header, toJSON(t, all)), e); err == nil {
			t.Errorf("without an expected %s: got %+v", name, got)
		}
	}
	e := expectAccess(t)
	e.Now = time.Unix(1639528912, 0)
	if _, err := jose.OpenAccess(forge(t, header, toJSON(t, all)), e); !errors.Is(err, jose.ErrExpired) {
		t.Errorf("got %v, want %v", err, jose.ErrExpired)
	}
}

// TestConfirmationsOfOthers are the examples of RFC 7800 and RFC 8705.
func TestConfirmationsOfOthers(t *testing.T) {
	key, err := jose.ParseKey([]byte(instanceKey))
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]*jose.Confirmation{
		"rfc7800-3.2": {Key: key},
		"rfc7800-3.4": {KeyID: "dfd1aa97-6d8d-4575-a0fe-34b96de2bfad"},
		"rfc7800-3.5": nil, // a key behind a URL
		"rfc8705-3.1": nil, // its last digit has bits that stand for nothing, which no encoder writes
	} {
		x := readRFC(t, id)
		got, err := jose.Verify(forge(t, header, string(x.Claims)), jose.Expect{Type: jose.TypeAccessToken, Keys: jose.Only(issuerKey(t, ""))})
		if want == nil {
			if !errors.Is(err, jose.ErrClaims) { // refused
				t.Errorf("%s: got %+v, %v", id, got, err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got.Confirmation, want) {
			t.Errorf("%s: got %+v, %v, want %+v", id, got, err, want)
		}
	}
	written := strings.Replace(string(readRFC(t, "rfc8705-3.1").Claims), `-dg2"`, `-dg0"`, 1)
	got, err := jose.Verify(forge(t, header, written), jose.Expect{Type: jose.TypeAccessToken, Keys: jose.Only(issuerKey(t, ""))})
	if err != nil || got.Confirmation.Certificate != jkt(t, "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg0") {
		t.Errorf("a certificate: got %+v, %v", got, err)
	}
}

// A token that brings its own key could be anyone's, whatever issuer it names.
func TestAccessTokenDoesNotBringItsKey(t *testing.T) {
	jwk, err := issuerKey(t, "").JWK()
	if err != nil {
		t.Fatal(err)
	}
	x := readRFC(t, "rfc9068-3")
	e := expectAccess(t)
	e.Keys, e.Embedded = nil, true
	if got, err := jose.OpenAccess(forge(t, `{"typ":"at+jwt","alg":"ES256","jwk":`+string(jwk)+`}`, string(x.Claims)), e); err == nil {
		t.Errorf("got %+v", got)
	}
}

func accessFor(t testing.TB, cnf *jose.Confirmation) jose.AccessToken {
	return jose.AccessToken{
		Registered: jose.Registered{
			Issuer: "https://as.example", Subject: "alice", Audience: []string{"https://rs.example", "https://rs2.example"}, ID: "t1",
			Expires: time.Unix(1_800_003_600, 0), IssuedAt: time.Unix(1_800_000_000, 0), NotBefore: time.Unix(1_800_000_000, 0), Confirmation: cnf,
		},
		ClientID: "phone", Scope: []string{"unlock", "view"},
		Private: map[jose.Claim]any{jose.ClaimAuthTime: 1_799_999_000, jose.ClaimRoles: []string{"owner", `x":0,"admin`}},
	}
}

func TestAccessTokensComeBackAsTheyWere(t *testing.T) {
	key, err := jose.ParseKey([]byte(instanceKey))
	if err != nil {
		t.Fatal(err)
	}
	e := jose.Expect{Issuer: "https://as.example", Audience: "https://rs2.example", Now: time.Unix(1_800_000_001, 0)}
	for alg, signer := range signers(t) {
		public, err := jose.NewKey(signer.Public(), "k")
		if err != nil {
			t.Fatal(err)
		}
		for name, cnf := range map[string]*jose.Confirmation{
			"none": nil, "jwk": {Key: key}, "jkt": {Thumbprint: key.Thumbprint()}, "kid": {KeyID: "k/1"}, "jwe": {Encrypted: encrypted(t)},
			"x5t#S256": {Certificate: key.Thumbprint()},
		} {
			want := accessFor(t, cnf)
			token, err := jose.SignAccess(want, jose.Signer{Key: signer, ID: "k"})
			if err != nil {
				t.Fatal(err)
			}
			e.Keys = jose.Only(public)
			got, err := jose.OpenAccess(token, e)
			if err != nil {
				t.Fatalf("%v %s: %v", alg, name, err)
			}
			if !reflect.DeepEqual(got.Registered, want.Registered) || got.ClientID != want.ClientID || !reflect.DeepEqual(got.Scope, want.Scope) {
				t.Errorf("%v %s: got %+v, want %+v", alg, name, got, want)
			}
			if roles := string(got.Verified.Other["roles"]); roles != `["owner","x\":0,\"admin"]` {
				t.Errorf("roles %s", roles)
			}
		}
	}
}

func TestAccessTokensThatAreNotSigned(t *testing.T) {
	key := issuerKey(t, "")
	shared, err := jose.NewSecretKey([]byte(strings.Repeat("s", 32)), "")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]func(*jose.AccessToken){
		"no issuer":            func(a *jose.AccessToken) { a.Issuer = "" },
		"no subject":           func(a *jose.AccessToken) { a.Subject = "" },
		"no audience":          func(a *jose.AccessToken) { a.Audience = nil },
		"an empty audience":    func(a *jose.AccessToken) { a.Audience = []string{""} },
		"nine audiences":       func(a *jose.AccessToken) { a.Audience = strings.Fields("1 2 3 4 5 6 7 8 9") },
		"an audience twice":    func(a *jose.AccessToken) { a.Audience = []string{"a", "a"} },
		"no expiry":            func(a *jose.AccessToken) { a.Expires = time.Time{} },
		"before 1970":          func(a *jose.AccessToken) { a.IssuedAt = time.Unix(-1, 0) },
		"no id":                func(a *jose.AccessToken) { a.ID = "" },
		"no client":            func(a *jose.AccessToken) { a.ClientID = "" },
		"a scope of two":       func(a *jose.AccessToken) { a.Scope = []string{"unlock admin"} },
		"an empty scope":       func(a *jose.AccessToken) { a.Scope = []string{""} },
		"a quoted scope":       func(a *jose.AccessToken) { a.Scope = []string{`"`} },
		"two confirmations":    func(a *jose.AccessToken) { a.Confirmation = &jose.Confirmation{Key: key, KeyID: "k"} },
		"no confirmation":      func(a *jose.AccessToken) { a.Confirmation = &jose.Confirmation{} },
		"a shared secret":      func(a *jose.AccessToken) { a.Confirmation = &jose.Confirmation{Key: shared} },
		"a jwe that is none":   func(a *jose.AccessToken) { a.Confirmation = &jose.Confirmation{Encrypted: "a.b.c.d.e"} },
		"a claim with a field": func(a *jose.AccessToken) { a.Private = map[jose.Claim]any{jose.ClaimScope: "admin"} },
		"a registered claim":   func(a *jose.AccessToken) { a.Private = map[jose.Claim]any{jose.ClaimSubject: "mallory"} },
		"an unknown claim":     func(a *jose.AccessToken) { a.Private = map[jose.Claim]any{"admin": true} },
		"JSON with a name twice": func(a *jose.AccessToken) {
			a.Private = map[jose.Claim]any{jose.ClaimRoles: json.RawMessage(`{"a":1,"a":2}`)}
		},
		"JSON that is none": func(a *jose.AccessToken) {
			a.Private = map[jose.Claim]any{jose.ClaimRoles: json.RawMessage(`1,"admin":true`)}
		},
		"too long as a whole": func(a *jose.AccessToken) {
			a.Private = map[jose.Claim]any{jose.ClaimRoles: strings.Repeat("r", jose.MaxForeign)}
		},
	}
	for name, change := range tests {
		a := accessFor(t, nil)
		change(&a)
		token, err := jose.SignAccess(a, signer())
		if err == nil {
			t.Errorf("%s: got %s", name, token)
		}
		if name == "a shared secret" && !errors.Is(err, jose.ErrSecretInClear) {
			t.Errorf("%s: got %v, want %v", name, err, jose.ErrSecretInClear)
		}
	}
}

// TestPrivateClaimNamesComeFromTheirTable is GHSA-4cf7-xm37-g63h again, for the one function that takes names.
func TestPrivateClaimNamesComeFromTheirTable(t *testing.T) {
	for _, c := range []jose.Claim{`x":0,"admin`, `roles":[],"admin`, "admin", "", "ROLES", "roles ", "rol\u0435s", "iss", "exp", "cnf", "latchkey_grant", "htm"} {
		if token, err := jose.Make(jose.TypeAccessToken, jose.Registered{Subject: "s"}, map[jose.Claim]any{c: true}, signer()); err == nil {
			t.Errorf("%q: got %s", c, token)
		}
	}
	for typ, allowed := range map[jose.Type]string{
		jose.TypeAccessToken:    "scope client_id auth_time acr amr roles groups entitlements authorization_details",
		jose.TypeDPoP:           "htm htu ath nonce",
		jose.TypeIntrospection:  "token_introspection",
		jose.TypeAttestation:    "",
		jose.TypeAttestationPoP: "challenge",
	} {
		for _, c := range strings.Fields("scope client_id auth_time acr amr roles groups entitlements authorization_details htm htu ath nonce token_introspection challenge") {
			token, err := jose.Make(typ, jose.Registered{Subject: "s"}, map[jose.Claim]any{jose.Claim(c): `","admin":"true`}, signer())
			ok := strings.Contains(" "+allowed+" ", " "+c+" ")
			if (err == nil) != ok {
				t.Errorf("%v with %s: got %v, allowed %v", typ, c, err, ok)
			}
			if err == nil {
				checkNames(t, unb64(t, strings.Split(token, ".")[1]), []string{"sub", c})
			}
		}
	}
	for _, typ := range []jose.Type{0, 99, jose.TypeAssertion} {
		if token, err := jose.Make(typ, jose.Registered{Subject: "s"}, nil, signer()); err == nil {
			t.Errorf("type %d: got %s", typ, token)
		}
	}
}

// TestIntrospectionAnswer is RFC 9701 §5: the answer stands in a claim of its own, with no sub and exp beside it.
func TestIntrospectionAnswer(t *testing.T) {
	answer := json.RawMessage(`{"active":true,"iss":"https://as.example","cnf":{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"},"scope":"unlock"}`)
	token, err := jose.Make(jose.TypeIntrospection, jose.Registered{
		Issuer: "https://as.example", Audience: []string{"https://rs.example"}, IssuedAt: time.Unix(1_800_000_000, 0),
	}, map[jose.Claim]any{jose.ClaimIntrospection: answer}, signer())
	if err != nil {
		t.Fatal(err)
	}
	got, err := jose.Verify(token, jose.Expect{
		Type: jose.TypeIntrospection, Keys: jose.Only(issuerKey(t, serverKey)), Issuer: "https://as.example", Audience: "https://rs.example",
		Now: time.Unix(1_800_000_000, 0), Require: []jose.Claim{jose.ClaimIssuedAt, jose.ClaimIntrospection},
	})
	if err != nil || string(got.Other["token_introspection"]) != string(answer) || got.Subject != "" || !got.Expires.IsZero() {
		t.Errorf("got %+v, %v", got, err)
	}
}
