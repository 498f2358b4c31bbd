package coapapi_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/console"
	"github.com/latchkey-ace/latchkey/authz/httpapi"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// outcome is what a face makes of a request, without what differs by chance.
type outcome struct {
	Error     ace.ErrorCode
	Rights    string
	Scope     string
	Profile   pop.Profile
	CNonce    string
	Key       string // the possession key, if the client made it
	Token     bool
	Hash      bool
	Upload    int // token_upload, −1 if absent
	FromRS    string
	ExpiresIn time.Duration
}

// faces asks one server in three encodings.
type faces struct {
	*world
	gateway *caller
	http    *httptest.Server
}

func newFaces(t *testing.T) *faces {
	t.Helper()
	w := newWorld(t)
	pages, err := console.New(w.server, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	f := &faces{w, w.caller(w.client), httptest.NewServer(httpapi.New(w.server, pages, slog.New(slog.DiscardHandler), httpapi.Options{}))}
	t.Cleanup(f.http.Close)
	f.mustRegister(time.Hour)
	return f
}

// post sends a body to /token, the client authenticated by its secret.
func (f *faces) post(mediaType, body string) (int, []byte) {
	f.t.Helper()
	r, err := http.NewRequestWithContext(f.t.Context(), http.MethodPost, f.http.URL+"/token", strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	r.Header.Set("Content-Type", mediaType)
	r.SetBasicAuth(f.client.ID, url.QueryEscape(secret))
	response, err := f.http.Client().Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return response.StatusCode, data
}

// overHTTP reads the answer of the HTTP face.
func (f *faces) overHTTP(mediaType, body string) outcome {
	f.t.Helper()
	status, data := f.post(mediaType, body)
	if status == http.StatusOK {
		out, err := ace.ParseTokenResponseJSON(data)
		if err != nil {
			f.t.Fatal(err)
		}
		return f.outcome(out)
	}
	refused, err := ace.ParseErrorJSON(data)
	if err != nil || status != http.StatusBadRequest {
		f.t.Fatalf("status %d: %s, %v", status, data, err)
	}
	return outcome{Error: refused.Code}
}

func (f *faces) json(in *ace.TokenRequest) outcome {
	body, err := in.JSON()
	if err != nil {
		f.t.Fatal(err)
	}
	return f.overHTTP(ace.MediaTypeACE, string(body))
}

func (f *faces) form(in *ace.TokenRequest) outcome {
	form, err := in.Form()
	if err != nil {
		f.t.Fatal(err)
	}
	return f.overHTTP(ace.MediaTypeForm, form.Encode())
}

func (f *faces) cbor(in *ace.TokenRequest) outcome {
	f.t.Helper()
	payload, err := in.CBOR()
	if err != nil {
		f.t.Fatal(err)
	}
	return f.overCoAP(payload)
}

func (f *faces) overCoAP(payload []byte) outcome {
	f.t.Helper()
	return f.read(f.gateway.ask(tokenRequest(payload)))
}

// read reads an answer in CBOR.
func (f *faces) read(answer message.Message) outcome {
	f.t.Helper()
	if answer.Code == codes.Created {
		out, err := ace.ParseTokenResponseCBOR(answer.Payload)
		if err != nil {
			f.t.Fatal(err)
		}
		return f.outcome(out)
	}
	refused, err := ace.ParseErrorCBOR(answer.Payload)
	if err != nil || answer.Code != codes.BadRequest {
		f.t.Fatalf("%v: %x, %v", answer.Code, answer.Payload, err)
	}
	return outcome{Error: refused.Code}
}

func (f *faces) outcome(out *ace.TokenResponse) outcome {
	f.t.Helper()
	got := outcome{
		Scope: out.Scope.String(), Profile: out.Profile, Token: out.AccessToken != nil, Hash: out.TokenHash != nil, Upload: -1,
		FromRS: hex.EncodeToString(out.FromRS), ExpiresIn: out.ExpiresIn,
	}
	if out.TokenUpload != nil {
		got.Upload = int(*out.TokenUpload)
	}
	if out.Cnf == nil { // an update: the token names a key that the client has
		claims, err := openToken(f.server, f.record, out.AccessToken)
		if err != nil || claims.Confirmation.KeyID == nil {
			f.t.Fatalf("an answer without cnf, a token with %+v: %v", claims.Confirmation, err)
		}
		got.Key, got.Rights = "of the series", claims.Scope.String()
		return got
	}
	if bytes.HasPrefix(out.Cnf.OSCORE.MasterSecret, ownKey) {
		got.Key = "own"
	}
	if out.AccessToken != nil {
		claims, material := f.open(f.record, nil, out.AccessToken)
		if !bytes.Equal(material.MasterSecret, out.Cnf.OSCORE.MasterSecret) {
			f.t.Error("the token is for another key than the answer")
		}
		got.Rights = claims.Scope.String()
		if claims.CNonce != nil {
			got.CNonce = "present " + hex.EncodeToString(claims.CNonce)
		}
	}
	return got
}

// ownKey begins the keys that clients make here; the rest differs, because each may be used once (D9).
var ownKey = []byte("own key ")

func newKey() *pop.Confirmation {
	k := append(bytes.Clone(ownKey), make([]byte, 8)...)
	_, _ = rand.Read(k[8:])
	return &pop.Confirmation{Key: cose.NewSymmetric(k, nil)}
}

// code lets mother say yes to the client.
func (f *faces) code(verifier string) string {
	f.t.Helper()
	sum := sha256.Sum256([]byte(verifier))
	a, err := f.server.Authorize(f.t.Context(), authz.AuthorizeRequest{
		ResponseType: "code", ClientID: f.client.ID, RedirectURI: f.client.RedirectURIs[0], Audience: "front-door", Scope: "view",
		CodeChallenge: base64.RawURLEncoding.EncodeToString(sum[:]), CodeChallengeMethod: "S256",
	})
	if err != nil {
		f.t.Fatal(err)
	}
	back, err := f.server.Approve(f.t.Context(), a, "alice")
	if err != nil {
		f.t.Fatal(err)
	}
	u, err := url.Parse(back)
	if err != nil || u.Query().Get("code") == "" {
		f.t.Fatalf("no code in %s", back)
	}
	return u.Query().Get("code")
}

// row is a request, made anew for each face.
type row struct {
	name string
	in   func() ace.TokenRequest
	want ace.ErrorCode // 0: granted
}

// TestFacesAgree: one table through HTTP in JSON and as a form, and through CoAP in CBOR (D12).
func TestFacesAgree(t *testing.T) {
	f := newFaces(t)
	for _, test := range f.rows() {
		t.Run(test.name, func(t *testing.T) {
			f.t = t
			ask := func(face func(*ace.TokenRequest) outcome) outcome {
				in := test.in()
				if in.GrantType == "" {
					in.GrantType = ace.GrantClientCredentials
				}
				return face(&in)
			}
			asCBOR, asJSON, asForm := ask(f.cbor), ask(f.json), ask(f.form)
			asJSON.Profile, asForm.Profile = sameProfile(asCBOR, asJSON), sameProfile(asCBOR, asForm)
			if asCBOR != asJSON || asCBOR != asForm || asCBOR.Error != test.want {
				t.Errorf("got\nCBOR %+v\nJSON %+v\nform %+v\nwant %v", asCBOR, asJSON, asForm, test.want)
			}
		})
	}
}

func (f *faces) rows() []row {
	f.t.Helper()
	verifier := strings.Repeat("v", 43)
	redeem := func(code string) ace.TokenRequest {
		return ace.TokenRequest{GrantType: ace.GrantAuthorizationCode, Code: code, RedirectURI: f.client.RedirectURIs[0], CodeVerifier: verifier}
	}
	of := func(in ace.TokenRequest) func() ace.TokenRequest {
		return func() ace.TokenRequest { return in }
	}
	series := &pop.Confirmation{KeyID: f.gateway.granted(ace.TokenRequest{Audience: "front-door"}).Cnf.OSCORE.ID}
	used := newKey()
	f.gateway.granted(ace.TokenRequest{Audience: "front-door", ReqCnf: used})
	badKey := func(k []byte, kid cose.KeyID) func() ace.TokenRequest {
		return of(ace.TokenRequest{Audience: "front-door", ReqCnf: &pop.Confirmation{Key: cose.NewSymmetric(k, kid)}})
	}
	return []row{
		{"everything", of(ace.TokenRequest{Audience: "front-door"}), 0},
		{"by the audience of tokens", of(ace.TokenRequest{Audience: f.record.Audience()}), 0},
		{"a name", of(ace.TokenRequest{Audience: "front-door", Scope: ace.Scope{Words: "view"}}), 0},
		{"a path", of(ace.TokenRequest{Audience: "front-door", Scope: ace.Scope{Words: "/door/unlock:POST"}}), 0},
		{"a name and a path", of(ace.TokenRequest{Audience: "front-door", Scope: ace.Scope{Words: "view /door/unlock:POST"}}), 0},
		{"own key", func() ace.TokenRequest { return ace.TokenRequest{Audience: "front-door", ReqCnf: newKey()} }, 0},
		{"cnonce", of(ace.TokenRequest{Audience: "front-door", CNonce: []byte{0, 0xff}}), 0},
		{"empty cnonce", of(ace.TokenRequest{Audience: "front-door", CNonce: []byte{}}), 0},
		{"cnonce of 40 bytes", of(ace.TokenRequest{Audience: "front-door", CNonce: bytes.Repeat([]byte{0, 0xff}, 20)}), 0},
		{"new rights for a key", of(ace.TokenRequest{Audience: "front-door", Scope: ace.Scope{Words: "view"}, ReqCnf: series}), 0},
		{"new rights for a key, to be uploaded", of(ace.TokenRequest{Audience: "front-door", ReqCnf: series, TokenUpload: uintp(1), ToRS: toRS(f.t)}), 0},
		{"new rights for a key, profile to be told", of(ace.TokenRequest{Audience: "front-door", ReqCnf: series, Profile: ace.TellProfile()}), 0},
		{"new rights for a key, more than was granted", of(ace.TokenRequest{Audience: "front-door", ReqCnf: series, Scope: ace.Scope{Words: "disarm"}}), ace.InvalidScope},
		{"new rights for a key with a code of another person", func() ace.TokenRequest {
			in := redeem(f.code(verifier))
			in.ReqCnf = series
			return in
		}, ace.InvalidRequest},
		{"profile to be told", of(ace.TokenRequest{Audience: "front-door", Profile: ace.TellProfile()}), 0},
		{"profile named", of(ace.TokenRequest{Audience: "front-door", Profile: &ace.ProfileRequest{Named: true, Profile: pop.ProfileCoAPOSCORE}}), 0},
		{"upload, nothing back", of(ace.TokenRequest{Audience: "front-door", TokenUpload: uintp(0), ToRS: toRS(f.t)}), 0},
		{"upload, hash back", of(ace.TokenRequest{Audience: "front-door", TokenUpload: uintp(1), ToRS: toRS(f.t)}), 0},
		{"a code", func() ace.TokenRequest { return redeem(f.code(verifier)) }, 0},

		{"no audience", of(ace.TokenRequest{}), ace.InvalidRequest},
		{"unknown audience", of(ace.TokenRequest{Audience: "back-door"}), ace.InvalidRequest},
		{"unknown action", of(ace.TokenRequest{Audience: "front-door", Scope: ace.Scope{Words: "open"}}), ace.InvalidScope},
		{"more than was granted", of(ace.TokenRequest{Audience: "front-door", Scope: ace.Scope{Words: "disarm"}}), ace.InvalidScope},
		{"partly more than was granted", of(ace.TokenRequest{Audience: "front-door", Scope: ace.Scope{Words: "view disarm"}}), ace.InvalidScope},
		{"another method", of(ace.TokenRequest{Audience: "front-door", Scope: ace.Scope{Words: "/door:PUT"}}), ace.InvalidScope},
		{"DTLS", of(ace.TokenRequest{Audience: "front-door", Profile: &ace.ProfileRequest{Named: true, Profile: pop.ProfileCoAPDTLS}}), ace.IncompatibleProfiles},
		{"a key a second time", of(ace.TokenRequest{Audience: "front-door", ReqCnf: used}), ace.InvalidRequest},
		{"a key with a kid", badKey([]byte("0123456789abcdef"), cose.KeyID{1}), ace.InvalidRequest},
		{"a key of 24 bytes", badKey([]byte("0123456789abcdef01234567"), nil), ace.InvalidRequest},
		{"a key of equal bytes", badKey(make([]byte, 16), nil), ace.InvalidRequest},
		{"an earlier key", of(ace.TokenRequest{Audience: "front-door", ReqCnf: &pop.Confirmation{KeyID: cose.KeyID{1}}}), ace.InvalidRequest},
		{"another client's name", of(ace.TokenRequest{Audience: "front-door", ClientID: "other"}), ace.InvalidRequest},
		{"a secret as well", of(ace.TokenRequest{Audience: "front-door", ClientSecret: secret}), ace.InvalidRequest},
		{"an unknown code", of(redeem("invented")), ace.InvalidGrant},
		{"a code and another verifier", func() ace.TokenRequest { return redeem(f.code(strings.Repeat("w", 43))) }, ace.InvalidGrant},
		{"a code for more than was agreed to", func() ace.TokenRequest {
			in := redeem(f.code(verifier))
			in.Scope.Words = "view unlock"
			return in
		}, ace.InvalidScope},
		{"no code", of(redeem("")), ace.InvalidRequest},
	}
}

// sameProfile: JSON answers always name the profile, CBOR answers only when asked (RFC 9200 §5.8.2).
func sameProfile(asCBOR, other outcome) pop.Profile {
	if asCBOR.Profile == 0 && other.Profile == pop.ProfileCoAPOSCORE {
		return 0
	}
	return other.Profile
}

// TestFacesAgreeOnRawRequests: what no writer of ours would send.
func TestFacesAgreeOnRawRequests(t *testing.T) {
	f := newFaces(t)
	aud := append([]byte{0x05, 0x6a}, "front-door"...)
	cborMap := func(pairs int, rest ...byte) []byte {
		return append(append([]byte{0xa0 | byte(pairs)}, aud...), rest...)
	}
	rights, err := unlock.Encode()
	if err != nil {
		t.Fatal(err)
	}
	scopeAIF := base64.RawURLEncoding.EncodeToString(rights)
	const json = `{"grant_type":"client_credentials","audience":"front-door"`
	const form = "grant_type=client_credentials&audience=front-door"
	tests := []struct {
		name       string
		cbor       []byte
		json, form string // form "": it has no place for this
		want       ace.ErrorCode
	}{
		{"password", cborMap(2, 0x18, 0x21, 0), `{"grant_type":"password","audience":"front-door"}`, "grant_type=password&audience=front-door", ace.UnsupportedGrantType},
		{"a parameter twice", append(cborMap(2), aud...), json + `,"audience":"front-door"}`, form + "&audience=front-door", ace.InvalidRequest},
		{"token_upload out of range", cborMap(2, 0x18, 0x31, 3), json + `,"token_upload":3}`, form + "&token_upload=3", ace.InvalidRequest},
		{"cnonce of 65 bytes", cborMap(2, append([]byte{0x18, 0x27, 0x58, 65}, make([]byte, 65)...)...), json + `,"cnonce":"` + strings.Repeat("A", 87) + `"}`, form + "&cnonce=" + strings.Repeat("A", 87), ace.InvalidRequest},
		{"a profile that is not served", cborMap(2, 0x18, 0x26, 3), json + `,"ace_profile":"mqtt_tls"}`, form + "&ace_profile=mqtt_tls", ace.IncompatibleProfiles},
		{"a kid of another type", cborMap(2, 0x04, 0xa1, 0x03, 0x61, 0x61), json + `,"req_cnf":{"kid":5}}`, form + `&req_cnf={"kid":5}`, ace.InvalidRequest},
		{"rs_cnf", cborMap(2, 0x18, 0x29, 0xf5), json + `,"rs_cnf":true}`, form + "&rs_cnf=true", ace.InvalidRequest},
		{"an unknown parameter", cborMap(2, 0x19, 0x10, 0x00, 0x01), json + `,"colour":"red"}`, form + "&colour=red", 0},
		{"binary scope", cborMap(2, append([]byte{0x09, 0x40 | byte(len(rights))}, rights...)...), json + `,"scope_aif":"` + scopeAIF + `"}`, "", 0},
		{"binary scope that is no AIF", cborMap(2, 0x09, 0x41, 0xff), json + `,"scope_aif":"_w"}`, "", ace.InvalidScope},
		{"cut off", cborMap(2), json, "", ace.InvalidRequest},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f.t = t
			want := f.overCoAP(test.cbor)
			got := map[string]outcome{"JSON": f.overHTTP(ace.MediaTypeJSON, test.json)}
			if test.form != "" {
				got["form"] = f.overHTTP(ace.MediaTypeForm, test.form)
			}
			for name, o := range got {
				o.Profile = sameProfile(want, o)
				if o != want || o.Error != test.want {
					t.Errorf("got\n%s %+v\nCBOR %+v\nwant %v", name, o, want, test.want)
				}
			}
		})
	}
}

// TestFacesDifferOnPurpose: without grant_type CBOR means client_credentials, HTTP nothing (RFC 9200 §5.8.1, D12); and no
// form carries binary rights.
func TestFacesDifferOnPurpose(t *testing.T) {
	f := newFaces(t)
	if got := f.overCoAP(encoded(t, ace.TokenRequest{GrantTypeImplied: true, Audience: "front-door"})); got.Error != 0 || !got.Token {
		t.Errorf("CBOR: got %+v", got)
	}
	for mediaType, body := range map[string]string{ace.MediaTypeACE: `{"audience":"front-door"}`, ace.MediaTypeForm: "audience=front-door"} {
		if got := f.overHTTP(mediaType, body); got.Error != ace.InvalidRequest {
			t.Errorf("%s: got %+v", mediaType, got)
		}
	}
	if got := f.overHTTP(ace.MediaTypeForm, "grant_type=client_credentials&audience=front-door&scope_aif=gA"); got.Error != ace.InvalidRequest {
		t.Errorf("binary rights in a form: got %+v", got)
	}
}

// TestClientOfTheOtherFace: a client that is registered for OSCORE alone has no way in over HTTP, and a public one none to
// credentials it does not have.
func TestClientOfTheOtherFace(t *testing.T) {
	f := newFaces(t)
	for i, method := range []authz.AuthMethod{authz.AuthOSCORE, authz.AuthNone} {
		c := f.client
		c.ID, c.AuthMethod, c.SecretHash = fmt.Sprintf("client %d", i), method, nil
		channel := *c.Channel
		channel.PeerID, channel.MasterSecret = []byte{0xc0, byte(i)}, bytes.Repeat([]byte{1, byte(i)}, 8)
		c.Channel = &channel
		if err := f.store.AddClient(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		body := url.Values{"grant_type": {"client_credentials"}, "audience": {"front-door"}, "client_id": {c.ID}}
		for _, password := range []string{"", secret} {
			body.Set("client_secret", password)
			response, err := f.http.Client().PostForm(f.http.URL+"/token", body)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode < 400 {
				t.Errorf("%s with secret %q: got %d", method, password, response.StatusCode)
			}
		}
		rights := aif.New(aif.Entry{Path: "/door", Methods: aif.GET})
		if _, err := f.server.Give(t.Context(), authz.Grant{Owner: "alice", To: authz.Subject{Client: c.ID}, Device: f.record.ID, Rights: rights}); err != nil {
			t.Fatal(err)
		}
		answer := f.caller(c).ask(tokenRequest(encoded(t, ace.TokenRequest{GrantTypeImplied: true, Audience: "front-door"})))
		if method == authz.AuthNone {
			refusedWith(t, answer, codes.BadRequest, ace.UnauthorizedClient)
		} else if answer.Code != codes.Created {
			t.Errorf("%s over CoAP: got %v", method, answer.Code)
		}
	}
}
