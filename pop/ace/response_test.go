package ace

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
)

const jwt = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJleGFtcGxlIn0.c2ln"

// Each row is one response in its two encodings.
var responses = []struct {
	name       string
	want       TokenResponse
	cbor, json string
}{
	{
		name: "the token was uploaded, the phone gets the key and its hash",
		want: TokenResponse{
			TokenType: TokenTypePoP, ExpiresIn: 2 * time.Hour, Profile: pop.ProfileCoAPOSCORE,
			Cnf:         &pop.Confirmation{OSCORE: &pop.InputMaterial{ID: []byte{1}, MasterSecret: []byte("0123456789abcdef")}},
			TokenUpload: ptr(UploadDone), TokenHash: []byte{1, 0xff},
			FromRS: []byte("\xa2\x18\x2a\x48\x25\xa8\x99\x1c\xd7\x00\xac\x01\x18\x2c\x42\x00\x00"),
			RSURI:  []string{"coap://192.0.2.20:5683", "coap+gatt:1"},
		},
		cbor: "a7" + "02191c20" + "08a104a20041010250" + hexOf("0123456789abcdef") + "182602" + "183100" + "18324201ff" +
			"183451a2182a4825a8991cd700ac01182c420000" + "3a0001117182" + "76" + hexOf("coap://192.0.2.20:5683") + "6b" + hexOf("coap+gatt:1"),
		json: `{"ace_profile":"coap_oscore","cnf":{"osc":{"id":"AQ","ms":"MDEyMzQ1Njc4OWFiY2RlZg"}},"expires_in":7200,` +
			`"from_rs":"UaIYKkglqJkc1wCsARgsQgAA","rs_uri":["coap://192.0.2.20:5683","coap+gatt:1"],"token_hash":"Af8",` +
			`"token_type":"PoP","token_upload":0}`,
	},
	{
		name: "a CWT in base64url, with fewer rights than asked",
		want: TokenResponse{
			AccessToken: []byte{0xd8, 0x3d, 0xd0}, TokenType: TokenTypePoP, ExpiresIn: time.Second, Scope: Scope{Words: "view"},
			TokenUpload: ptr(UploadFailed),
		},
		cbor: "a4" + "0143d83dd0" + "0201" + "0964" + hexOf("view") + "183101",
		json: `{"access_token":"2D3Q","expires_in":1,"scope":"view","token_type":"PoP","token_upload":1}`,
	},
	{
		name: "a JWT as it is, for a binary scope",
		want: TokenResponse{
			AccessToken: []byte(jwt), TokenType: TokenTypePoP, ExpiresIn: time.Minute,
			Scope: Scope{Rights: aif.New(aif.Entry{Path: "/a", Methods: aif.GET})},
		},
		cbor: "a3" + "015831" + hexOf(jwt) + "02183c" + "09468182622f6101",
		json: `{"access_token":"` + jwt + `","expires_in":60,"scope_aif":"gYJiL2EB","token_type":"PoP"}`,
	},
}

func TestTwoEncodingsOfOneResponse(t *testing.T) {
	for _, tt := range responses {
		t.Run(tt.name, func(t *testing.T) {
			encoded, err := tt.want.CBOR()
			if got := fmt.Sprintf("%x", encoded); err != nil || got != tt.cbor {
				t.Errorf("cbor: got %s, %v, want %s", got, err, tt.cbor)
			}
			text, err := tt.want.JSON()
			if err != nil || string(text) != tt.json {
				t.Errorf("json: got %s, %v, want %s", text, err, tt.json)
			}
			fromCBOR, err := ParseTokenResponseCBOR(unhex(t, tt.cbor))
			if err != nil || !reflect.DeepEqual(fromCBOR, &tt.want) {
				t.Errorf("cbor: %v, or not what was written", err)
			}
			fromJSON, err := ParseTokenResponseJSON([]byte(tt.json))
			if err != nil || !reflect.DeepEqual(fromJSON, &tt.want) {
				t.Errorf("json: %v, or not what was written", err)
			}
		})
	}
}

func TestTokenTypeIsCaseInsensitiveAndDefaultsToPoP(t *testing.T) {
	for text, want := range map[string]TokenType{
		`{"access_token":"2D0","token_type":"pop"}`:    TokenTypePoP,
		`{"access_token":"2D0","token_type":"bearer"}`: TokenTypeBearer,
		`{"access_token":"2D0"}`:                       TokenTypePoP,
	} {
		got, err := ParseTokenResponseJSON([]byte(text))
		if err != nil || got.TokenType != want {
			t.Errorf("%s: got %v, want %v", text, err, want)
		}
	}
}

func TestRefusedResponses(t *testing.T) {
	tests := []struct{ name, cbor string }{
		{"nothing", ""},
		{"no token and no upload", "a10201"},
		{"no token after a failed upload", "a20201183101"},
		{"no token in a series begun anew", "a20201183102"},
		{"token and hash", "a301430000001831001832420100"},
		{"hash without upload", "a20143000000" + "1832420100"},
		{"from_rs after a failed upload", "a30143000000" + "183101" + "183440"},
		{"token in text", "a1016161"},
		{"token empty", "a10140"},
		{"token too long", "a101590801" + strings.Repeat("00", 2049)},
		{"lifetime negative", "a2014100" + "0220"},
		{"lifetime as a float", "a2014100" + "02f93c00"},
		{"lifetime beyond bounds", "a2014100" + "021b7fffffffffffffff"},
		{"unknown profile", "a2014100" + "182603"},
		{"profile null", "a2014100" + "1826f6"},
		{"unknown token type", "a2014100" + "182203"},
		{"rs_cnf", "a2014100" + "1829a0"},
		{"anchor_cnf", "a2014100" + "183780"},
		{"rs_uri as text", "a2014100" + "3a000111716161"},
		{"rs_uri relative", "a2014100" + "3a00011171816161"},
		{"rs_uri of nine", "a2014100" + "3a0001117189" + strings.Repeat("63613a62", 9)},
		{"rs_uri with a line end", "a2014100" + "3a00011171" + "8164613a620a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := ParseTokenResponseCBOR(unhex(t, tt.cbor)); err == nil {
				t.Error("it was accepted")
			}
		})
	}
}

func TestResponsesThatSayTooLittleAreNotWritten(t *testing.T) {
	token := []byte{0xd8, 0x3d}
	for name, r := range map[string]TokenResponse{
		"no lifetime":      {AccessToken: token},
		"half a second":    {AccessToken: token, ExpiresIn: time.Second / 2},
		"no token":         {ExpiresIn: time.Hour},
		"token and hash":   {AccessToken: token, ExpiresIn: time.Hour, TokenUpload: ptr(UploadDone), TokenHash: []byte{1}},
		"a relative URI":   {AccessToken: token, ExpiresIn: time.Hour, RSURI: []string{"lock"}},
		"an unknown type":  {AccessToken: token, ExpiresIn: time.Hour, TokenType: 7},
		"lifetime too far": {AccessToken: token, ExpiresIn: 2 * MaxLifetime},
	} {
		if _, err := r.CBOR(); err == nil {
			t.Errorf("%s: cbor was written", name)
		}
		if _, err := r.JSON(); err == nil {
			t.Errorf("%s: json was written", name)
		}
	}
}

func TestJWTAndCWTAreToldApart(t *testing.T) {
	for token, want := range map[string]bool{
		jwt: true, "a.b.c.d.e": true, "..": true,
		"": false, "abc": false, "a.b": false, "a.b.c.d": false, "\xd8\x3d..": false, "a.b.\n": false, "a.b.c=": false,
	} {
		if got := isJWT([]byte(token)); got != want {
			t.Errorf("%q: got %v, want %v", token, got, want)
		}
	}
}
