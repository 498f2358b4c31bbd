package authz_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/jose"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

const (
	apiURI   = "https://api.example/v1"
	otherURI = "https://other.example/"
)

// api adds Alice's HTTP API as device 7, which the gateway may use, and another as device 8.
func (w *world) api() {
	w.t.Helper()
	for n, uri := range map[byte]string{7: apiURI, 8: otherURI} {
		w.device(n, func(d *authz.Device) {
			d.Kind, d.Delivery, d.Resource, d.Profile, d.Shape = provision.KindGeneric, authz.DeliveryHTTP, uri, 0, provision.ShapeJWT
			d.RootKey, d.PublicKey, d.SenderID, d.Registration = nil, nil, nil, authz.Registration{}
		})
	}
	w.give(func(g *authz.Grant) { toGateway(g); g.Device = deviceID(7) }, unlock, view)
}

var (
	proofKey    = sha256.Sum256([]byte("the key of the proof"))
	certificate = sha256.Sum256([]byte("the certificate"))
)

func (w *world) open(token []byte) *jose.AccessToken {
	w.t.Helper()
	set, err := w.server.KeySet(w.t.Context())
	w.must(err)
	t, err := jose.OpenAccess(string(token), jose.Expect{Keys: set.Find, Issuer: issuer, Audience: apiURI, Now: w.clock.now()})
	w.must(err)
	return t
}

// TestTokenForAnAPI: RFC 9068 §2.2, with the bindings of RFC 9449 §6.1 and RFC 8705 §3.1.
func TestTokenForAnAPI(t *testing.T) {
	w := newWorld(t)
	w.api()
	with := func(s authz.ClientSettings) authz.Client {
		c := w.gateway
		c.Settings = s
		return c
	}
	tests := map[string]struct {
		caller authz.Caller
		kind   ace.TokenType
		cnf    string // as JSON, "" none
	}{
		"RFC 9449 §5: a proof":           {authz.Caller{DPoP: proofKey[:]}, ace.TokenTypeDPoP, `{"jkt":"` + base64url(proofKey[:]) + `"}`},
		"RFC 8705 §3: a certificate":     {authz.Caller{Certificate: certificate[:]}, ace.TokenTypeBearer, `{"x5t#S256":"` + base64url(certificate[:]) + `"}`},
		"both: the proof":                {authz.Caller{DPoP: proofKey[:], Certificate: certificate[:]}, ace.TokenTypeDPoP, `{"jkt":"` + base64url(proofKey[:]) + `"}`},
		"both, bound to its certificate": {authz.Caller{Client: with(authz.ClientSettings{TLSBound: true}), DPoP: proofKey[:], Certificate: certificate[:]}, ace.TokenTypeBearer, `{"x5t#S256":"` + base64url(certificate[:]) + `"}`},
		"neither, with permission":       {authz.Caller{Client: with(authz.ClientSettings{Bearer: true})}, ace.TokenTypeBearer, ""},
		"a proof, with permission":       {authz.Caller{Client: with(authz.ClientSettings{Bearer: true}), DPoP: proofKey[:]}, ace.TokenTypeDPoP, `{"jkt":"` + base64url(proofKey[:]) + `"}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w.t = t
			if tt.caller.Client.ID == "" {
				tt.caller.Client = w.gateway
			}
			out, err := w.server.Token(t.Context(), tt.caller, &ace.TokenRequest{GrantType: authz.ClientCredentials, Resource: apiURI, Scope: ace.Scope{Words: "view"}})
			w.must(err)
			if out.TokenType != tt.kind || out.ExpiresIn != authz.TokenLife || out.Scope.Words != "view" || out.Cnf != nil || out.Profile != 0 || out.RSURI != nil || out.TokenUpload != nil {
				t.Errorf("answer %v %v %q", out.TokenType, out.ExpiresIn, out.Scope.Words)
			}
			got := w.open(out.AccessToken)
			records := w.tokens(7)
			last := slices.MaxFunc(records, func(a, b authz.TokenRecord) int { return bytes.Compare(a.ID, b.ID) })
			asJSON, asCBOR := cwt.HashJWT(string(out.AccessToken))
			if !bytes.Equal(last.Hash, asJSON[:]) || !bytes.Equal(last.AltHash, asCBOR[:]) || last.Client != "gateway" || !last.Expires.Equal(evening.Add(time.Hour)) {
				t.Errorf("record %+v", last)
			}
			want := jose.Registered{
				Issuer: issuer, Subject: "gateway", Audience: []string{apiURI}, IssuedAt: evening.Local(), Expires: evening.Add(time.Hour).Local(), ID: base64url(last.ID),
				Confirmation: got.Confirmation,
			}
			if !reflect.DeepEqual(got.Registered, want) || got.ClientID != "gateway" || !slices.Equal(got.Scope, []string{"view"}) {
				t.Errorf("got %+v of %s for %q, want %+v", got.Registered, got.ClientID, got.Scope, want)
			}
			if cnf := claim(t, out.AccessToken, "cnf"); cnf != tt.cnf {
				t.Errorf("cnf %s, want %s", cnf, tt.cnf)
			}
			if typ := header(t, out.AccessToken, "typ"); typ != `"at+jwt"` {
				t.Errorf("typ %s", typ)
			}
		})
	}
}

func part(t *testing.T, token []byte, n int, name string) string {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(string(token), ".")[n])
	var m map[string]json.RawMessage
	if err == nil {
		err = json.Unmarshal(raw, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(m[name])
}

func claim(t *testing.T, token []byte, name string) string { return part(t, token, 1, name) }

func header(t *testing.T, token []byte, name string) string { return part(t, token, 0, name) }

func TestRefusedTokensForAPIs(t *testing.T) {
	w := newWorld(t)
	w.api()
	w.give(toGateway, view)
	proven := func(c *authz.Caller) { c.DPoP = proofKey[:] }
	tests := map[string]struct {
		caller func(*authz.Caller)
		change func(*ace.TokenRequest)
		want   ace.ErrorCode
		reason string
	}{
		"no key shown":               {func(*authz.Caller) {}, nil, ace.InvalidRequest, "send a DPoP proof (RFC 9449) or connect with a TLS certificate (RFC 8705): this client gets no bearer tokens"},
		"RFC 9449 §5.2: no proof":    {func(c *authz.Caller) { c.Client.Settings.DPoPBound, c.Certificate = true, certificate[:] }, nil, ace.InvalidRequest, "this client must send a DPoP proof (RFC 9449)"},
		"RFC 8705 §3.4: another key": {func(c *authz.Caller) { c.Client.Settings.TLSBound, c.DPoP = true, proofKey[:] }, nil, ace.InvalidRequest, "this client must connect with its TLS certificate (RFC 8705)"},
		"two bindings": {func(c *authz.Caller) {
			c.Client.Settings.TLSBound, c.Client.Settings.DPoPBound = true, true
			c.DPoP, c.Certificate = proofKey[:], certificate[:]
		}, nil, ace.InvalidRequest, "this client is registered for two bindings at once; the operator must choose one"},
		"RFC 8707 §2: an unknown resource":            {proven, func(r *ace.TokenRequest) { r.Resource = apiURI + "/x" }, ace.InvalidTarget, "resource: unknown"},
		"RFC 8707 §2: a fragment":                     {proven, func(r *ace.TokenRequest) { r.Resource = apiURI + "#x" }, ace.InvalidTarget, "resource: give one absolute URI without a fragment"},
		"RFC 8707 §2: audience and resource disagree": {proven, func(r *ace.TokenRequest) { r.Audience = otherURI }, ace.InvalidTarget, "audience and resource name two different things; one token is for one of them"},
		"D11: a device beside an API":                 {proven, func(r *ace.TokenRequest) { r.Audience = audience(1) }, ace.InvalidTarget, "audience and resource name two different things; one token is for one of them"},
		"an unknown audience beside it":               {proven, func(r *ace.TokenRequest) { r.Audience = "nothing" }, ace.InvalidRequest, "unknown audience"},
		"no target":                                   {proven, func(r *ace.TokenRequest) { r.Resource = "" }, ace.InvalidRequest, "audience is missing: name the device"},
		"req_cnf":                                     {proven, func(r *ace.TokenRequest) { r.ReqCnf = &pop.Confirmation{} }, ace.InvalidRequest, "req_cnf and ace_profile are for devices; a token for an HTTP API is bound by a DPoP proof or a TLS certificate"},
		"ace_profile":                                 {proven, func(r *ace.TokenRequest) { r.Profile = ace.TellProfile() }, ace.InvalidRequest, "req_cnf and ace_profile are for devices; a token for an HTTP API is bound by a DPoP proof or a TLS certificate"},
		"cnonce":                                      {proven, func(r *ace.TokenRequest) { r.CNonce = []byte{1} }, ace.InvalidRequest, "cnonce, to_rs and token_upload are for devices; leave them out for an HTTP API"},
		"token_upload":                                {proven, func(r *ace.TokenRequest) { r.TokenUpload = ptr(ace.UploadWantHash) }, ace.InvalidRequest, "cnonce, to_rs and token_upload are for devices; leave them out for an HTTP API"},
		"no grant":                                    {proven, func(r *ace.TokenRequest) { r.Resource = otherURI }, ace.InvalidScope, "no grant"},
		"more than was granted":                       {proven, func(r *ace.TokenRequest) { r.Scope.Words = "disarm" }, ace.InvalidScope, "more than was granted"},
		"an action it does not have":                  {proven, func(r *ace.TokenRequest) { r.Scope.Words = "fly" }, ace.InvalidScope, "the device has no such action"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w.t = t
			caller, in := authz.Caller{Client: w.gateway}, &ace.TokenRequest{GrantType: authz.ClientCredentials, Resource: apiURI}
			tt.caller(&caller)
			if tt.change != nil {
				tt.change(in)
			}
			_, err := w.server.Token(t.Context(), caller, in)
			w.refused(err, tt.want, tt.reason)
		})
	}
	w.t = t
	if len(w.tokens(7)) != 0 {
		t.Errorf("tokens %v", w.tokens(7))
	}
	for _, name := range []string{"door-7", audience(7), apiURI} { // RFC 9200 audience names it too
		for _, resource := range []string{"", apiURI} {
			in := &ace.TokenRequest{GrantType: authz.ClientCredentials, Audience: name, Resource: resource}
			if _, err := w.server.Token(t.Context(), authz.Caller{Client: w.gateway, DPoP: proofKey[:]}, in); err != nil {
				t.Errorf("audience %s, resource %q: %v", name, resource, err)
			}
		}
	}
}

// TestCodeForAnAPI: resource at both endpoints (RFC 8707 §2.1, §2.2), and the subject is the person.
func TestCodeForAnAPI(t *testing.T) {
	w := newWorld(t)
	w.api()
	w.give(func(g *authz.Grant) { g.Device = deviceID(7) }, unlock)
	q := question()
	q.Audience, q.Resource = "", apiURI
	caller := authz.Caller{Client: w.phone, DPoP: proofKey[:]}
	other := redemption(w.ask("mother", q).Get("code"))
	other.Resource = otherURI
	_, err := w.server.Token(t.Context(), caller, other)
	w.refused(err, ace.InvalidTarget, "resource: what was agreed to is another one")
	other.Resource = apiURI
	out, err := w.server.Token(t.Context(), caller, other)
	w.must(err)
	if got := w.open(out.AccessToken); got.Subject != "mother" || got.ClientID != "phone" || !slices.Equal(got.Scope, []string{"unlock"}) {
		t.Errorf("got %s, %s, %q", got.Subject, got.ClientID, got.Scope)
	}
	for _, bad := range []string{otherURI + "x", apiURI + " " + otherURI, "x"} {
		q.Resource = bad
		if _, err := w.server.Authorize(t.Context(), q); !errors.Is(err, &ace.Error{Code: ace.InvalidTarget}) {
			t.Errorf("resource %q: %v", bad, err)
		}
	}
	w.must(w.store.SuspendDevice(t.Context(), deviceID(7), evening))
	q.Resource = apiURI
	if v := w.ask("mother", q); v.Get("code") != "" {
		in := redemption(v.Get("code"))
		_, err := w.server.Token(t.Context(), caller, in)
		w.refused(err, ace.InvalidScope, "device is suspended or gone")
	}
}

// TestBoundCode: RFC 9449 §10, DpopAuthCodeBinding and MismatchedDpopJkt of the conformance suite.
func TestBoundCode(t *testing.T) {
	w := newWorld(t)
	w.give(nil, unlock)
	q := question()
	q.DPoPKey = base64url(proofKey[:])
	code := w.ask("mother", q).Get("code")
	for name, key := range map[string][]byte{"no proof": nil, "another key": certificate[:], "half the key": proofKey[:16]} {
		_, err := w.server.Token(t.Context(), authz.Caller{Client: w.phone, DPoP: key}, redemption(code))
		w.refused(err, ace.InvalidGrant, "without a proof of the key it is bound to")
		if err.Error() != "invalid_grant: the code is not valid for this client, redirect_uri and code_verifier" {
			t.Errorf("%s: told %v", name, err)
		}
	}
	out, err := w.server.Token(t.Context(), authz.Caller{Client: w.phone, DPoP: proofKey[:]}, redemption(code))
	w.must(err)
	// D11: a device's token keeps its own key, and its type.
	if out.TokenType != ace.TokenTypePoP || out.Cnf == nil || out.Cnf.OSCORE == nil {
		t.Errorf("answer %v, cnf %v", out.TokenType, out.Cnf)
	}
	for _, bad := range []string{"x", q.DPoPKey[:42], q.DPoPKey + "A", strings.Repeat("/", 43)} {
		q.DPoPKey = bad
		if _, err := w.server.Authorize(t.Context(), q); !errors.Is(err, &ace.Error{Code: ace.InvalidRequest}) {
			t.Errorf("dpop_jkt %q: %v", bad, err)
		}
	}
}

// TestProofsOnce: of sixteen parallel requests with one proof, or one assertion, one succeeds, and the others spend nothing.
func TestProofsOnce(t *testing.T) {
	for kind, want := range map[string]ace.ErrorCode{authz.UseDPoP: ace.InvalidDPoPProof, authz.UseAssertion: ace.InvalidClient} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			w.give(nil, unlock)
			caller := authz.Caller{Client: w.phone, Proofs: []authz.Use{{Kind: kind, Value: []byte("jti"), Until: evening.Add(time.Minute)}}}
			var codes [16]string
			for i := range codes {
				codes[i] = w.code()
			}
			var group sync.WaitGroup
			var errs [16]error
			for i, code := range codes {
				group.Go(func() { _, errs[i] = w.server.Token(t.Context(), caller, redemption(code)) })
			}
			group.Wait()
			won := -1
			for i, err := range errs {
				switch {
				case err == nil && won < 0:
					won = i
				case !errors.Is(err, &ace.Error{Code: want}):
					t.Errorf("request %d: %v", i, err)
				}
			}
			if won < 0 || len(w.tokens(1)) != 1 {
				t.Fatalf("won %d, %d tokens", won, len(w.tokens(1)))
			}
			caller.Proofs = nil
			if _, err := w.server.Token(t.Context(), caller, redemption(codes[(won+1)%16])); err != nil {
				t.Errorf("a replay has burnt the code: %v", err)
			}
		})
	}
	w := newWorld(t)
	use := authz.Use{Kind: authz.UseAssertion, Value: []byte("jti"), Until: evening.Add(time.Minute)}
	w.must(w.server.Spend(t.Context(), use))
	if err := w.server.Spend(t.Context(), use); !errors.Is(err, &ace.Error{Code: ace.InvalidClient}) {
		t.Errorf("spent twice: %v", err)
	}
	w.must(w.server.Spend(t.Context()))
}
