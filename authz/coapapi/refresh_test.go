package coapapi_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/delivery/deliverytest"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// addTenant registers a client with a secret and a channel, like addClient, that may refresh.
func (f *faces) addTenant(id string) authz.Client {
	f.t.Helper()
	c := authz.Client{
		ID: id, AuthMethod: authz.AuthSecretBasic, SecretHash: authz.HashSecret(secret), ClientMadeKeys: true,
		RedirectURIs: f.client.RedirectURIs, GrantTypes: []string{authz.AuthorizationCode, authz.RefreshToken},
		Channel: &authz.Channel{MasterSecret: bytes.Repeat([]byte(id)[:2], 8), PeerID: []byte(id), ServerID: []byte{1}},
	}
	if err := f.store.AddClient(f.t.Context(), c); err != nil {
		f.t.Fatal(err)
	}
	return c
}

// redeemed is the first answer to the client of the faces, over its OSCORE channel.
func (f *faces) redeemed() *ace.TokenResponse {
	f.t.Helper()
	verifier := strings.Repeat("v", 43)
	return f.gateway.granted(ace.TokenRequest{GrantType: ace.GrantAuthorizationCode, Code: f.code(verifier), RedirectURI: f.client.RedirectURIs[0], CodeVerifier: verifier})
}

func renewal(token string) ace.TokenRequest {
	return ace.TokenRequest{GrantType: ace.GrantRefreshToken, RefreshToken: token}
}

// newTenancy is the faces of a client that may refresh.
func newTenancy(t *testing.T) *faces {
	t.Helper()
	f := newFaces(t)
	f.client = f.addTenant("tenant")
	f.gateway = f.caller(f.client)
	return f
}

// TestRefreshOverCoAP: over OSCORE each refresh token gives a token for the same key, and its successor (D19, RFC 9200 §5.8.2);
// a late second use ends them all.
func TestRefreshOverCoAP(t *testing.T) {
	f := newTenancy(t)
	first := f.redeemed()
	if first.RefreshToken == "" {
		t.Fatal("no refresh token")
	}
	seen := []string{first.RefreshToken}
	for range 3 {
		out := f.gateway.granted(renewal(seen[len(seen)-1]))
		claims, material := f.open(f.record, nil, out.AccessToken)
		if bytes.Equal(out.AccessToken, first.AccessToken) || !bytes.Equal(material.MasterSecret, first.Cnf.OSCORE.MasterSecret) || !claims.Scope.Equal(view) {
			t.Error("not a new token with the same key and rights")
		}
		if out.RefreshToken == "" || out.RefreshToken == seen[len(seen)-1] {
			t.Error("no successor")
		}
		seen = append(seen, out.RefreshToken)
	}
	f.advance(authz.RefreshGrace + time.Second)
	request := renewal(seen[0])
	refusedWith(t, f.gateway.ask(tokenRequest(encoded(t, request))), codes.BadRequest, ace.InvalidGrant)
	request = renewal(seen[len(seen)-1])
	refusedWith(t, f.gateway.ask(tokenRequest(encoded(t, request))), codes.BadRequest, ace.InvalidGrant)
	if n := f.tokens(); n != 0 {
		t.Errorf("%d tokens are left of the family", n)
	}
}

// TestRefreshAtOnce: a lost answer is asked for again; at the same moment the answer is to wait, which over CoAP is 5.03 with Max-Age.
func TestRefreshAtOnce(t *testing.T) {
	f := newTenancy(t)
	request := renewal(f.redeemed().RefreshToken)
	next := f.gateway.granted(request)
	answer := f.gateway.ask(tokenRequest(encoded(t, request)))
	if age, err := answer.Options.GetUint32(14); answer.Code != codes.ServiceUnavailable || err != nil || time.Duration(age)*time.Second != authz.RefreshPause {
		t.Errorf("at once: got %v, Max-Age %d, %v", answer.Code, age, err)
	}
	f.advance(authz.RefreshPause)
	if again := f.gateway.granted(request); again.RefreshToken != next.RefreshToken || bytes.Equal(again.AccessToken, next.AccessToken) {
		t.Error("not the same successor with a fresh token")
	}
}

// TestFacesAgreeOnRefresh: what a refresh may change and what not, through all encodings and for the family's own client alone
// (RFC 9200 §5.8.2, RFC 6749 §6). Whatever is refused leaves the token good.
func TestFacesAgreeOnRefresh(t *testing.T) {
	f := newTenancy(t)
	other, _ := f.addDevice(deliverytest.Record("back-door"))
	tests := []struct {
		name   string
		change func(in *ace.TokenRequest)
		want   ace.ErrorCode
	}{
		{"all of it", func(*ace.TokenRequest) {}, 0},
		{"for the same audience", func(in *ace.TokenRequest) { in.Audience = "front-door" }, 0},
		{"for the same scope", func(in *ace.TokenRequest) { in.Scope.Words = "view" }, 0},
		{"profile to be told", func(in *ace.TokenRequest) { in.Profile = ace.TellProfile() }, 0},
		{"no refresh token", func(in *ace.TokenRequest) { in.RefreshToken = "" }, ace.InvalidRequest},
		{"an unknown token", func(in *ace.TokenRequest) { in.RefreshToken = "invented" }, ace.InvalidGrant},
		{"a token cut short", func(in *ace.TokenRequest) { in.RefreshToken = in.RefreshToken[:len(in.RefreshToken)-1] }, ace.InvalidGrant},
		{"a token with something behind it", func(in *ace.TokenRequest) { in.RefreshToken += "A" }, ace.InvalidGrant},
		{"another audience", func(in *ace.TokenRequest) { in.Audience = other.Audience() }, ace.InvalidGrant},
		{"an unknown audience", func(in *ace.TokenRequest) { in.Audience = "nowhere" }, ace.InvalidRequest},
		{"another possession key", func(in *ace.TokenRequest) { in.ReqCnf = &pop.Confirmation{KeyID: cose.KeyID("another!")} }, ace.InvalidGrant},
		{"a possession key of its own", func(in *ace.TokenRequest) { in.ReqCnf = newKey() }, ace.InvalidGrant},
		{"more than was granted", func(in *ace.TokenRequest) { in.Scope.Words = "view unlock" }, ace.InvalidScope},
		{"an unknown action", func(in *ace.TokenRequest) { in.Scope.Words = "fly" }, ace.InvalidScope},
		{"another profile", func(in *ace.TokenRequest) {
			in.Profile = &ace.ProfileRequest{Named: true, Profile: pop.ProfileCoAPDTLS}
		}, ace.IncompatibleProfiles},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f.t = t
			got := map[string]outcome{}
			for name, face := range map[string]func(*ace.TokenRequest) outcome{"CBOR": f.cbor, "JSON": f.json, "form": f.form} {
				right := renewal(f.redeemed().RefreshToken)
				in := right
				test.change(&in)
				got[name] = face(&in)
				if test.want != 0 {
					f.gateway.granted(right)
				}
			}
			for name, o := range got {
				o.Profile = sameProfile(got["CBOR"], o)
				if o != got["CBOR"] || o.Error != test.want {
					t.Errorf("got\n%s %+v\nCBOR %+v\nwant %v", name, o, got["CBOR"], test.want)
				}
			}
		})
	}
	t.Run("another client over its own channel", func(t *testing.T) {
		f.t = t
		right := renewal(f.redeemed().RefreshToken)
		refusedWith(t, f.caller(f.addTenant("mallory")).ask(tokenRequest(encoded(t, right))), codes.BadRequest, ace.InvalidGrant)
		f.gateway.granted(right)
	})
}
