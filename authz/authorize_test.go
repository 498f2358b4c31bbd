package authz_test

import (
	"errors"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/policy"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
)

func asking(change func(*authz.AuthorizeRequest)) authz.AuthorizeRequest {
	r := question()
	change(&r)
	return r
}

func TestAuthorizeRefuses(t *testing.T) {
	w := newWorld(t)
	w.client(authz.Client{ID: "backend", AuthMethod: authz.AuthSecretBasic, RedirectURIs: []string{back}, GrantTypes: []string{authz.ClientCredentials}})
	tests := []struct {
		name   string
		change func(*authz.AuthorizeRequest)
		want   ace.ErrorCode
		reason string
	}{
		{"a client that may not use codes", func(r *authz.AuthorizeRequest) { r.ClientID = "backend" }, ace.UnauthorizedClient, "this client may not use authorization_code"},
		{"implicit", func(r *authz.AuthorizeRequest) { r.ResponseType = "token" }, ace.UnsupportedResponseType, "response_type must be code"},
		{"hybrid", func(r *authz.AuthorizeRequest) { r.ResponseType = "code token" }, ace.UnsupportedResponseType, "response_type must be code"},
		{"no response type", func(r *authz.AuthorizeRequest) { r.ResponseType = "" }, ace.UnsupportedResponseType, "response_type must be code"},
		{"no PKCE", func(r *authz.AuthorizeRequest) { r.CodeChallenge, r.CodeChallengeMethod = "", "" }, ace.InvalidRequest, "code_challenge_method must be S256 (RFC 7636)"},
		{"plain PKCE", func(r *authz.AuthorizeRequest) { r.CodeChallenge, r.CodeChallengeMethod = verifier, "plain" }, ace.InvalidRequest, "code_challenge_method must be S256 (RFC 7636)"},
		{"PKCE without a method, which would mean plain", func(r *authz.AuthorizeRequest) { r.CodeChallengeMethod = "" }, ace.InvalidRequest, "code_challenge_method must be S256 (RFC 7636)"},
		{"s256", func(r *authz.AuthorizeRequest) { r.CodeChallengeMethod = "s256" }, ace.InvalidRequest, "code_challenge_method must be S256 (RFC 7636)"},
		{"a method without a challenge", func(r *authz.AuthorizeRequest) { r.CodeChallenge = "" }, ace.InvalidRequest, "code_challenge must be a SHA-256 in unpadded base64url"},
		{"a challenge too short", func(r *authz.AuthorizeRequest) { r.CodeChallenge = challenge[:42] }, ace.InvalidRequest, "code_challenge must be a SHA-256 in unpadded base64url"},
		{"a challenge too long", func(r *authz.AuthorizeRequest) { r.CodeChallenge += "A" }, ace.InvalidRequest, "code_challenge must be a SHA-256 in unpadded base64url"},
		{"a padded challenge", func(r *authz.AuthorizeRequest) { r.CodeChallenge = challenge[:42] + "=" }, ace.InvalidRequest, "code_challenge must be a SHA-256 in unpadded base64url"},
		{"a challenge that is not base64url", func(r *authz.AuthorizeRequest) { r.CodeChallenge = challenge[:42] + "~" }, ace.InvalidRequest, "code_challenge must be a SHA-256 in unpadded base64url"},
		{"a challenge no SHA-256 has", func(r *authz.AuthorizeRequest) { r.CodeChallenge = challenge[:42] + "N" }, ace.InvalidRequest, "code_challenge must be a SHA-256 in unpadded base64url"},
		{"no audience", func(r *authz.AuthorizeRequest) { r.Audience = "" }, ace.InvalidRequest, "audience is missing: name the device"},
		{"an unknown audience", func(r *authz.AuthorizeRequest) { r.Audience = "barn" }, ace.InvalidRequest, "unknown audience"},
		{"an unknown device id", func(r *authz.AuthorizeRequest) { r.Audience = audience(9) }, ace.InvalidRequest, "unknown audience"},
		{"an audience with a zero byte", func(r *authz.AuthorizeRequest) { r.Audience = "door-1\x00" }, ace.InvalidRequest, "unknown audience"},
		{"an unknown action", func(r *authz.AuthorizeRequest) { r.Scope = "unlock fly" }, ace.InvalidScope, "the device has no such action"},
		{"a malformed path", func(r *authz.AuthorizeRequest) { r.Scope = "/door//x:GET" }, ace.InvalidScope, "the device has no such action"},
		{"a space as the scope", func(r *authz.AuthorizeRequest) { r.Scope = " " }, ace.InvalidScope, "the device has no such action"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := w.server.Authorize(t.Context(), asking(tt.change))
			w.refused(err, tt.want, tt.reason)
		})
	}
}

// TestNoRedirectWithoutTrust: an unknown client or address is told to the person, never to the address.
func TestNoRedirectWithoutTrust(t *testing.T) {
	w := newWorld(t)
	tests := []struct {
		name   string
		change func(*authz.AuthorizeRequest)
		reason string
	}{
		{"an unknown client", func(r *authz.AuthorizeRequest) { r.ClientID = "nobody" }, "this app is not registered here"},
		{"no client", func(r *authz.AuthorizeRequest) { r.ClientID = "" }, "this app is not registered here"},
		{"a client with a zero byte", func(r *authz.AuthorizeRequest) { r.ClientID = "phone\x00" }, "this app is not registered here"},
		{"an unknown client with a bad request", func(r *authz.AuthorizeRequest) { r.ClientID, r.ResponseType = "nobody", "token" }, "this app is not registered here"},
		{"an unknown client with a very long name", func(r *authz.AuthorizeRequest) { r.ClientID = strings.Repeat("é", 2000) }, "this app is not registered here"},
		{"another address", func(r *authz.AuthorizeRequest) { r.RedirectURI = "https://evil.example/" }, "this app did not register the address it wants to return to"},
		{"no address", func(r *authz.AuthorizeRequest) { r.RedirectURI = "" }, "this app did not register the address it wants to return to"},
		{"a client without any address", func(r *authz.AuthorizeRequest) { r.ClientID = "gateway" }, "this app did not register the address it wants to return to"},
		{"another address with a bad request", func(r *authz.AuthorizeRequest) { r.RedirectURI, r.CodeChallenge = "https://evil.example/", "" }, "this app did not register the address it wants to return to"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := w.server.Authorize(t.Context(), asking(tt.change))
			var nowhere *authz.NoRedirectError
			if !errors.As(err, &nowhere) || nowhere.Reason != tt.reason || errors.As(err, new(*ace.Error)) {
				t.Errorf("got %v", err)
			}
			all := w.audit()
			if e := all[len(all)-1]; e.Event != "authorize" || e.Result != "refused" || e.Reason != tt.reason || len(e.Client) > 70 {
				t.Errorf("audit says %+v", e)
			}
		})
	}
}

// TestCodeStandsForWhatWasAgreed compares the whole row.
func TestCodeStandsForWhatWasAgreed(t *testing.T) {
	w := newWorld(t)
	g := w.give(nil, unlock, view)
	r := asking(func(r *authz.AuthorizeRequest) { r.Scope, r.RedirectURI = "unlock", "http://127.0.0.1:51004/callback" })
	v := w.ask("mother", r)
	row, err := w.store.Code(t.Context(), hashOf(v.Get("code")))
	w.must(err)
	want := authz.CodeGrant{
		Hash: hashOf(v.Get("code")), Client: "phone", User: "mother", RedirectURI: r.RedirectURI, Challenge: challenge, Device: deviceID(1),
		Rights: aif.New(unlock), Grant: g.ID, IssuedAt: evening, ExpiresAt: evening.Add(60 * time.Second),
	}
	if !reflect.DeepEqual(row, want) {
		t.Errorf("got  %+v\nwant %+v", row, want)
	}
	if len(v.Get("code")) != 43 || v.Get("state") != "st" || v.Get("iss") != issuer || len(v) != 3 {
		t.Errorf("the app gets %v", v)
	}
}

// TestEveryAnswerSaysWho is RFC 9207: iss and the unchanged state are in every answer.
func TestEveryAnswerSaysWho(t *testing.T) {
	w := newWorld(t)
	g := w.give(nil, unlock)
	state := "a b&c=d%20\"<>é+\n\x00"
	r := asking(func(r *authz.AuthorizeRequest) { r.State = state })
	check := func(name string, v url.Values, failure string) {
		t.Helper()
		if v.Get("iss") != issuer || v.Get("state") != state || v.Get("error") != failure || (v.Get("code") == "") != (failure != "") {
			t.Errorf("%s: the app gets %v", name, v)
		}
	}
	check("yes", w.ask("mother", r), "")
	a, err := w.server.Authorize(t.Context(), r)
	w.must(err)
	check("no", answerOf(t, back, w.server.Deny(t.Context(), a, "mother")), "access_denied")
	_, err = w.server.Revoke(t.Context(), g.ID)
	w.must(err)
	check("yes, but the grant is gone", w.ask("mother", r), "invalid_scope")
	check("a stranger's yes", w.ask("stranger", r), "invalid_scope")
	check("an error", answerOf(t, back, w.server.ErrorRedirect(r, &ace.Error{Code: ace.InvalidRequest, Description: "x & y"})), "invalid_request")
	bare := w.ask("stranger", asking(func(r *authz.AuthorizeRequest) { r.State = "" }))
	if _, has := bare["state"]; has || bare.Get("iss") != issuer {
		t.Errorf("without a state the app gets %v", bare)
	}
}

// TestRedirectKeepsItsQuery: what the app registered comes first, so it cannot be pushed away.
func TestRedirectKeepsItsQuery(t *testing.T) {
	w := newWorld(t)
	const uri = "https://app.example/cb?code=mine"
	w.client(authz.Client{ID: "web", AuthMethod: authz.AuthNone, RedirectURIs: []string{uri}, GrantTypes: []string{authz.AuthorizationCode}})
	w.give(nil, unlock)
	a, err := w.server.Authorize(t.Context(), asking(func(r *authz.AuthorizeRequest) { r.ClientID, r.RedirectURI = "web", uri }))
	w.must(err)
	to, err := w.server.Approve(t.Context(), a, "mother")
	if err != nil || !strings.HasPrefix(to, uri+"&code=") {
		t.Errorf("sent to %s, %v", to, err)
	}
}

// TestApproveGivesWhatWasShown: a grant that comes while the page is open adds nothing to what the person agrees to.
func TestApproveGivesWhatWasShown(t *testing.T) {
	w := newWorld(t)
	w.give(func(g *authz.Grant) { g.Until = evening.Add(time.Hour) }, unlock)
	a, err := w.server.Authorize(t.Context(), question())
	w.must(err)
	shown, err := w.server.Preview(t.Context(), a, "mother")
	w.must(err)
	w.give(nil, unlock, view, disarm)
	a.Asked = shown.Rights
	to, err := w.server.Approve(t.Context(), a, "mother")
	w.must(err)
	row, err := w.store.Code(t.Context(), hashOf(answerOf(t, back, to).Get("code")))
	if err != nil || !row.Rights.Equal(aif.New(unlock)) {
		t.Errorf("the code stands for %v, %v", row.Rights, err)
	}
}

// TestPreviewTellsWhy: the reasons of the policy reach the page, and Refuse takes them to the app and the log.
func TestPreviewTellsWhy(t *testing.T) {
	w := newWorld(t)
	a, err := w.server.Authorize(t.Context(), asking(func(r *authz.AuthorizeRequest) { r.Scope = "configure" }))
	w.must(err)
	for person, want := range map[string]policy.Reason{"alice": policy.ReasonReserved, "mother": policy.ReasonNoGrant} {
		_, err := w.server.Preview(t.Context(), a, person)
		var refused *policy.RefusedError
		if !errors.As(err, &refused) || refused.Reason != want {
			t.Fatalf("%s: got %v, want %q", person, err, want)
		}
		v := answerOf(t, back, w.server.Refuse(t.Context(), a, person, refused))
		all := w.audit()
		if e := all[len(all)-1]; v.Get("error_description") != string(want) || e.Reason != string(want) || e.User != person || e.Device != audience(1) {
			t.Errorf("%s: the app gets %v, the log says %+v", person, v, e)
		}
	}
}

// TestOwnerThroughTheCodeFlow: an owner needs no grant for the door, and the token names none.
func TestOwnerThroughTheCodeFlow(t *testing.T) {
	w := newWorld(t)
	out := w.granted(w.phone, redemption(w.ask("alice", question()).Get("code")))
	if out.Scope.Words != "unlock view disarm" {
		t.Errorf("got %q", out.Scope.Words)
	}
	if r := w.tokens(1)[0]; r.User != "alice" || r.Grant != [8]byte{} {
		t.Errorf("token %+v", r)
	}
}

// TestAudienceByName: people say the name, the token says the id; an id comes before a name that looks like it.
func TestAudienceByName(t *testing.T) {
	w := newWorld(t)
	w.device(2, func(d *authz.Device) { d.Name = audience(1) })
	for _, tt := range []struct {
		audience string
		want     byte
	}{{"door-1", 1}, {audience(1), 1}, {audience(2), 2}} {
		a, err := w.server.Authorize(t.Context(), asking(func(r *authz.AuthorizeRequest) { r.Audience = tt.audience }))
		if err != nil || a.Device.ID != deviceID(tt.want) {
			t.Errorf("%s: got %v, %v", tt.audience, a.Device.ID, err)
		}
	}
}
