package coapapi_test

import (
	"bytes"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/delivery/deliverytest"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/jose"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// said is what a face answers about a token, without what only one encoding can say.
type said struct {
	Status int // of CoAP and HTTP alike: 201 and 200 are 200
	Error  ace.ErrorCode
	Active bool
	ID     string
	Rights string
	Client string
	Cnf    string
}

func introspectRequest(payload []byte) message.Message {
	return coapsec.NewRequest(codes.POST, ace.PathIntrospect, ace.FormatACE, payload)
}

// asked reads an answer over CoAP.
func asked(t *testing.T, answer message.Message) said {
	t.Helper()
	status := int(answer.Code>>5)*100 + int(answer.Code&31)
	if answer.Code != codes.Created {
		if len(answer.Payload) == 0 {
			return said{Status: status}
		}
		refused, err := ace.ParseErrorCBOR(answer.Payload)
		if err != nil {
			t.Fatal(err)
		}
		return said{Status: status, Error: refused.Code}
	}
	if age, err := answer.Options.GetUint32(message.MaxAge); err != nil || age != 0 {
		t.Errorf("Max-Age %d, %v", age, err)
	}
	out, err := ace.ParseIntrospectionResponseCBOR(answer.Payload)
	if err != nil {
		t.Fatal(err)
	}
	return spoken(out, out.Claims.Scope.String())
}

func spoken(out *ace.IntrospectionResponse, rights string) said {
	c := &out.Claims
	got := said{Status: 200, Active: out.Active, ID: hex.EncodeToString(c.ID), Rights: rights, Client: c.ClientID}
	switch {
	case c.Confirmation.OSCORE != nil:
		got.Cnf = "osc"
	case c.Confirmation.KeyID != nil:
		got.Cnf = hex.EncodeToString(c.Confirmation.KeyID)
	}
	return got
}

// inquire posts to an HTTP endpoint as a client.
func (f *faces) inquire(c authz.Client, path, mediaType, body string, headers ...string) (*http.Response, []byte) {
	f.t.Helper()
	r, err := http.NewRequestWithContext(f.t.Context(), http.MethodPost, f.http.URL+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	r.Header.Set("Content-Type", mediaType)
	r.SetBasicAuth(c.ID, url.QueryEscape(secret))
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := f.http.Client().Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return response, data
}

func (f *faces) introspectHTTP(c authz.Client, mediaType, body string) said {
	f.t.Helper()
	response, data := f.inquire(c, "/introspect", mediaType, body)
	if response.Header.Get("Cache-Control") != "no-store" {
		f.t.Error("the answer may be cached")
	}
	switch {
	case response.StatusCode != 200 && len(data) == 0:
		return said{Status: response.StatusCode}
	case response.StatusCode != 200:
		refused, err := ace.ParseErrorJSON(data)
		if err != nil {
			f.t.Fatal(err)
		}
		return said{Status: response.StatusCode, Error: refused.Code}
	}
	out, err := ace.ParseIntrospectionResponseJSON(data)
	if err != nil {
		f.t.Fatalf("%v in %s", err, data)
	}
	rights, _ := f.record.ParseRights(strings.Fields(out.Words))
	if out.Words == "" {
		rights = out.Claims.Scope
	}
	return spoken(out, rights.String())
}

// TestFacesAgreeOnTokens: who asks about a token gets one answer, over CoAP, in JSON and by a form.
func TestFacesAgreeOnTokens(t *testing.T) {
	f := newFaces(t)
	f.addClient("other")
	reference := deliverytest.Record("reference")
	reference.Delivery = authz.DeliveryIntrospect
	f.addDevice(reference)
	api := f.addClient("api")
	api.Serves = reference.ID
	if err := f.store.UpdateClient(t.Context(), api); err != nil {
		t.Fatal(err)
	}
	suspended := f.addClient("suspended")
	suspendedCaller := f.caller(suspended)
	if err := f.store.SuspendClient(t.Context(), "suspended", f.now()); err != nil {
		t.Fatal(err)
	}
	own := f.gateway.granted(ace.TokenRequest{Audience: "front-door"})
	ref := f.gateway.granted(ace.TokenRequest{Audience: "reference"})
	ended := f.gateway.granted(ace.TokenRequest{Audience: "front-door"})
	if err := f.server.RevokeToken(t.Context(), f.client, ended.AccessToken); err != nil {
		t.Fatal(err)
	}
	kid := hex.EncodeToString(own.Cnf.OSCORE.ID)
	clients := map[string]struct {
		record authz.Client
		caller *caller
	}{"gateway": {f.client, f.gateway}, "api": {api, f.caller(api)}, "other": {f.addClient("third"), nil}, "suspended": {suspended, suspendedCaller}}
	for _, tt := range []struct {
		name, by string
		in       ace.IntrospectionRequest
		active   bool
		cnf      string
		status   int
		refused  ace.ErrorCode
	}{
		{"its own", "gateway", ace.IntrospectionRequest{Token: own.AccessToken}, true, kid, 200, 0},
		{"its own, with a hint", "gateway", ace.IntrospectionRequest{Token: own.AccessToken, Hint: "access_token"}, true, kid, 200, 0},
		{"its own, with a wrong hint", "gateway", ace.IntrospectionRequest{Token: own.AccessToken, Hint: "refresh_token"}, true, kid, 200, 0},
		{"a reference of its own", "gateway", ace.IntrospectionRequest{Token: ref.AccessToken}, true, hex.EncodeToString(ref.Cnf.OSCORE.ID), 200, 0},
		{"a reference for it", "api", ace.IntrospectionRequest{Token: ref.AccessToken}, true, "osc", 200, 0},
		{"for another device", "api", ace.IntrospectionRequest{Token: own.AccessToken}, false, "", 200, 0},
		{"revoked", "gateway", ace.IntrospectionRequest{Token: ended.AccessToken}, false, "", 200, 0},
		{"nobody's", "gateway", ace.IntrospectionRequest{Token: []byte("invented")}, false, "", 200, 0},
		{"suspended", "suspended", ace.IntrospectionRequest{Token: own.AccessToken}, false, "", 403, 0},
		{"another's name", "gateway", ace.IntrospectionRequest{Token: own.AccessToken, ClientID: "other"}, false, "", 400, ace.InvalidRequest},
		{"a secret as well", "gateway", ace.IntrospectionRequest{Token: own.AccessToken, ClientSecret: secret}, false, "", 400, ace.InvalidRequest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f.t = t
			by := clients[tt.by]
			payload, err := tt.in.CBOR()
			if err != nil {
				t.Fatal(err)
			}
			object, err := tt.in.JSON()
			if err != nil {
				t.Fatal(err)
			}
			form, err := tt.in.Form()
			if err != nil {
				t.Fatal(err)
			}
			want := asked(t, by.caller.ask(introspectRequest(payload)))
			if want.Status != tt.status || want.Active != tt.active || want.Cnf != tt.cnf || want.Error != tt.refused {
				t.Errorf("over CoAP: %+v", want)
			}
			if tt.active != (want.ID != "") || !tt.active && want.Client+want.Rights != "" {
				t.Errorf("over CoAP: %+v", want)
			}
			if tt.by == "suspended" { // over HTTP it is nobody (authz/clientauth), over CoAP its security context still is
				want = said{Status: 401, Error: ace.InvalidClient}
			}
			for name, got := range map[string]said{
				"JSON": f.introspectHTTP(by.record, ace.MediaTypeJSON, string(object)),
				"form": f.introspectHTTP(by.record, ace.MediaTypeForm, form.Encode()),
			} {
				if got != want {
					t.Errorf("got\n%s %+v\nCBOR %+v", name, got, want)
				}
			}
		})
	}
}

// TestDeviceIntrospects: a device asks over its own channel about its own tokens, and learns nothing of others.
func TestDeviceIntrospects(t *testing.T) {
	w := newWorld(t)
	by := w.caller(w.client)
	other, _ := w.addDevice(deliverytest.Record("other"))
	in := ace.IntrospectionRequest{Token: by.granted(ace.TokenRequest{Audience: "front-door"}).AccessToken}
	foreign := ace.IntrospectionRequest{Token: by.granted(ace.TokenRequest{Audience: other.Audience()}).AccessToken}
	payload, err := in.CBOR()
	if err != nil {
		t.Fatal(err)
	}
	if got := asked(t, w.byDevice(introspectRequest(payload))); !got.Active || got.Cnf != "osc" || got.Client != "gateway" {
		t.Errorf("got %+v", got)
	}
	numbered := append([]byte{0xa2}, append(bytes.Clone(payload[1:]), 0x18, 33, 2)...) // token_type_hint as in RFC 9200's example
	if got := asked(t, w.byDevice(introspectRequest(numbered))); !got.Active {
		t.Errorf("with a number for a hint: %+v", got)
	}
	if payload, err = foreign.CBOR(); err != nil {
		t.Fatal(err)
	}
	if got := w.byDevice(introspectRequest(payload)); !bytes.Equal(got.Payload, []byte{0xa1, 0x0a, 0xf4}) {
		t.Errorf("about another's token: %x", got.Payload)
	}
	if err := w.store.SuspendDevice(t.Context(), w.record.ID, w.now()); err != nil {
		t.Fatal(err)
	}
	if got := w.byDevice(introspectRequest(payload)); got.Code != codes.Forbidden || len(got.Payload) != 0 {
		t.Errorf("suspended: %v with %d bytes", got.Code, len(got.Payload))
	}
}

// TestIntrospectionRefusals are the rules of CoAP and of the payload.
func TestIntrospectionRefusals(t *testing.T) {
	w := newWorld(t)
	by := w.caller(w.client)
	good := introspectRequest([]byte{0xa1, 0x0b, 0x41, 0x00})
	for _, tt := range []struct {
		name    string
		request message.Message
		want    codes.Code
	}{
		{"good", good, codes.Created},
		{"GET", method(good, codes.GET), codes.MethodNotAllowed},
		{"PUT", method(good, codes.PUT), codes.MethodNotAllowed},
		{"another format", inFormat(good, ace.FormatCBOR), codes.UnsupportedMediaType},
		{"a query", with(good, message.Option{ID: message.URIQuery, Value: []byte("token=x")}), codes.BadRequest},
		{"no payload", introspectRequest(nil), codes.BadRequest},
		{"no token", introspectRequest([]byte{0xa0}), codes.BadRequest},
		{"two tokens", introspectRequest([]byte{0xa2, 0x0b, 0x41, 0, 0x0b, 0x41, 0}), codes.BadRequest},
		{"an indefinite map", introspectRequest([]byte{0xbf, 0x0b, 0x41, 0, 0xff}), codes.BadRequest},
	} {
		if answer := by.ask(tt.request); answer.Code != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, answer.Code, tt.want)
		}
	}
	if answer := by.plain(good); answer.Code != codes.Unauthorized {
		t.Errorf("a stranger: %v", answer.Code)
	}
}

// TestSignedAnswerOverHTTP: asked for by Accept, with its own media type (RFC 9701 §4, §5).
func TestSignedAnswerOverHTTP(t *testing.T) {
	f := newFaces(t)
	own := f.gateway.granted(ace.TokenRequest{Audience: "front-door"})
	form := url.Values{"token": {ace.TokenText(own.AccessToken)}}.Encode()
	for accept, signed := range map[string]bool{
		"": false, "*/*": false, "application/json": false, ace.MediaTypeIntrospection: true,
		ace.MediaTypeIntrospection + ", application/json;q=0.9": true, ace.MediaTypeIntrospection + ";q=0.5, application/json": false,
		ace.MediaTypeIntrospection + ";q=0": false,
	} {
		response, data := f.inquire(f.client, "/introspect", ace.MediaTypeForm, form, "Accept", accept)
		if got := response.Header.Get("Content-Type") == ace.MediaTypeIntrospection; got != signed || response.StatusCode != 200 {
			t.Errorf("Accept %q: %d %s", accept, response.StatusCode, response.Header.Get("Content-Type"))
		}
		if !signed {
			continue
		}
		key, err := jose.NewKey(f.server.PublicKeys()["1"], "1")
		if err != nil {
			t.Fatal(err)
		}
		answer, err := jose.Verify(string(data), jose.Expect{
			Type: jose.TypeIntrospection, Keys: jose.Only(key), Issuer: f.server.Issuer(), Audience: f.client.ID, Now: f.now(),
			Require: []jose.Claim{jose.ClaimIssuedAt, jose.ClaimIntrospection},
		})
		if err != nil || answer.Subject != "" || !answer.Expires.IsZero() {
			t.Fatalf("got %+v, %v", answer, err)
		}
		if out, err := ace.ParseIntrospectionResponseJSON(answer.Other["token_introspection"]); err != nil || !out.Active || out.Claims.ClientID != f.client.ID {
			t.Errorf("got %+v, %v", out.Claims, err)
		}
	}
}

// TestRevokeOverHTTP: 200 for its client's token, another's and nobody's; introspection and list know it at once (RFC 7009).
func TestRevokeOverHTTP(t *testing.T) {
	f := newFaces(t)
	other := f.addClient("other")
	token := f.gateway.granted(ace.TokenRequest{Audience: "front-door"}).AccessToken
	form := url.Values{"token": {ace.TokenText(token)}, "token_type_hint": {"refresh_token"}}.Encode()
	active := func() bool { return f.introspectHTTP(f.client, ace.MediaTypeForm, form).Active }
	for _, c := range []authz.Client{other, f.client, f.client} {
		before := active()
		response, data := f.inquire(c, "/revoke", ace.MediaTypeForm, form)
		if response.StatusCode != 200 || len(data) != 0 || active() != (before && c.ID == "other") {
			t.Errorf("%s: %d %s, then active %v", c.ID, response.StatusCode, data, active())
		}
	}
	if response, _ := f.inquire(f.client, "/revoke", ace.MediaTypeJSON, `{"token":"aW52ZW50ZWQ"}`); response.StatusCode != 200 {
		t.Errorf("nobody's: %d", response.StatusCode)
	}
	for body, status := range map[string]int{"": 400, "token=": 400, "token=a&token=b": 400, "token=a&client_id=other": 400, "%zz": 400} {
		if response, _ := f.inquire(f.client, "/revoke", ace.MediaTypeForm, body); response.StatusCode != status {
			t.Errorf("%q: %d, want %d", body, response.StatusCode, status)
		}
	}
	if response, _ := f.inquire(f.client, "/revoke?token=a", ace.MediaTypeForm, form); response.StatusCode != 400 {
		t.Errorf("in the address: %d", response.StatusCode)
	}
	if response, _ := f.inquire(f.client, "/introspect", "text/plain", form); response.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("another type: %d", response.StatusCode)
	}
	wrong := f.client
	wrong.ID = "nobody"
	for _, path := range []string{"/introspect", "/revoke"} {
		if response, _ := f.inquire(wrong, path, ace.MediaTypeForm, form); response.StatusCode != 401 || response.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s by nobody: %d", path, response.StatusCode)
		}
	}
}

// TestTokensAge: an answer with a token may be kept no longer than the token is good (RFC 9202 §3.1).
func TestTokensAge(t *testing.T) {
	w := newWorld(t)
	answer := w.caller(w.client).ask(tokenRequest(encoded(t, ace.TokenRequest{Audience: "front-door"})))
	out, err := ace.ParseTokenResponseCBOR(answer.Payload)
	if err != nil {
		t.Fatal(err)
	}
	age, err := answer.Options.GetUint32(message.MaxAge)
	if err != nil || out.ExpiresIn == 0 || time.Duration(age)*time.Second > out.ExpiresIn || age == 0 {
		t.Errorf("Max-Age %d, %v, expires_in %v", age, err, out.ExpiresIn)
	}
}

// TestOneSequenceAcrossRestarts: ids go on rising after the server came back, for exi tokens and others alike (9200-AS-23, D4).
func TestOneSequenceAcrossRestarts(t *testing.T) {
	w := newWorld(t)
	var last []byte
	for range 3 {
		by := w.caller(w.client)
		for range 3 {
			claims, _ := w.open(w.record, nil, by.granted(ace.TokenRequest{Audience: "front-door"}).AccessToken)
			if !bytes.HasPrefix(claims.ID, w.record.ID[:]) || bytes.Compare(claims.ID, last) <= 0 {
				t.Errorf("id %x after %x", claims.ID, last)
			}
			last = claims.ID
		}
		w.restart()
	}
}

// TestCNonceToTheByte is T-9200-4, over both faces.
func TestCNonceToTheByte(t *testing.T) {
	f := newFaces(t)
	for _, nonce := range [][]byte{{}, {0}, bytes.Repeat([]byte{0xff, 0}, 20)} {
		in := ace.TokenRequest{GrantType: ace.GrantClientCredentials, Audience: "front-door", CNonce: nonce}
		for name, face := range map[string]func(*ace.TokenRequest) outcome{"CBOR": f.cbor, "JSON": f.json, "form": f.form} {
			if got := face(&in); got.CNonce != "present "+hex.EncodeToString(nonce) {
				t.Errorf("%s: got %q for %x", name, got.CNonce, nonce)
			}
		}
	}
	if got := f.cbor(&ace.TokenRequest{GrantType: ace.GrantClientCredentials, Audience: "front-door"}); got.CNonce != "" {
		t.Errorf("without one: %q", got.CNonce)
	}
}

// TestProfileIsTold: null in CBOR and the empty string elsewhere are always answered (9200-AS-6).
func TestProfileIsTold(t *testing.T) {
	f := newFaces(t)
	in := ace.TokenRequest{GrantType: ace.GrantClientCredentials, Audience: "front-door", Profile: ace.TellProfile()}
	for name, face := range map[string]func(*ace.TokenRequest) outcome{"CBOR": f.cbor, "JSON": f.json, "form": f.form} {
		if got := face(&in); got.Profile != f.record.Profile || got.ExpiresIn == 0 {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}
