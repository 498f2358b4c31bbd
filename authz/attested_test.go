package authz_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/grade"
)

// vouched is a caller for whose instance somebody vouches.
func vouched(c authz.Client, key []byte) authz.Caller {
	return authz.Caller{Client: c, Attested: &authz.Attested{Attester: "acme", Instance: key, Verdict: attest.Verdict{Kind: attest.Service, App: "app", At: evening}}}
}

// everyGrant is a request of every grant there is, all of them good but for the client not showing itself.
func everyGrant(t *testing.T, w *world, c authz.Client, key []byte) map[string]*ace.TokenRequest {
	t.Helper()
	pushed := func() string {
		q := question()
		q.ClientID, q.Verdict, q.DPoPKey = c.ID, vouched(c, key).Attested.Verdict, ""
		q.Pushed = "pushed"
		a, err := w.server.Authorize(t.Context(), q)
		w.must(err)
		a.Request.Pushed = "" // nothing lies in the store
		to, err := w.server.Approve(t.Context(), a, "mother")
		w.must(err)
		return answerOf(t, q.RedirectURI, to).Get("code")
	}
	first, err := w.server.Token(t.Context(), vouched(c, key), codeOf(c, pushed()))
	w.must(err)
	device, err := w.server.AuthorizeDevice(t.Context(), vouched(c, key), authz.AuthorizeRequest{ClientID: c.ID, Audience: audience(1)})
	w.must(err)
	q, err := w.server.DeviceQuestion(t.Context(), device.UserCode)
	w.must(err)
	w.must(w.server.AnswerDevice(t.Context(), q, "mother", aif.New(view, unlock)))
	return map[string]*ace.TokenRequest{
		authz.AuthorizationCode: codeOf(c, pushed()), authz.ClientCredentials: own(1), authz.RefreshToken: refresh(first.RefreshToken),
		authz.DeviceCodeGrant: {GrantType: authz.DeviceCodeGrant, DeviceCode: device.DeviceCode},
	}
}

func codeOf(c authz.Client, code string) *ace.TokenRequest {
	in := redemption(code)
	in.ClientID = c.ID
	return in
}

// TestNoGrantWithoutAttestation: whatever face forgot to ask, no grant of a client whose instances show themselves reaches a mint
// without it, or for another instance, and none is used up; with it each does.
func TestNoGrantWithoutAttestation(t *testing.T) {
	key, other := []byte(strings.Repeat("k", 32)), []byte(strings.Repeat("o", 32))
	for _, method := range []authz.AuthMethod{authz.AuthAttested, authz.AuthAttestedDPoP, authz.AuthIntegrity} {
		for _, encoding := range []authz.Encoding{authz.EncodingJSON, authz.EncodingCBOR} {
			w := newWorld(t)
			c := w.client(authz.Client{
				ID: "app", AuthMethod: method, RedirectURIs: []string{back}, ClientMadeKeys: true,
				GrantTypes: []string{authz.AuthorizationCode, authz.ClientCredentials, authz.RefreshToken, authz.DeviceCodeGrant},
				Settings:   authz.ClientSettings{Attesters: []string{"acme"}},
			})
			w.give(func(g *authz.Grant) { g.To = authz.Subject{User: "mother"} }, view, unlock)
			w.give(func(g *authz.Grant) { g.To = authz.Subject{Client: "app"} }, view, unlock)
			all := everyGrant(t, w, c, key)
			before := len(w.tokens(1))
			for grantType, in := range all {
				bare := authz.Caller{Client: c, Encoding: encoding}
				proven := bare
				proven.DPoP = key
				for name, caller := range map[string]authz.Caller{"nothing": bare, "a DPoP proof of the instance's key alone": proven} {
					_, err := w.server.Token(t.Context(), caller, in)
					if !isCode(err, ace.InvalidClient) {
						t.Errorf("%s, %s, %s: got %v", method, grantType, name, err)
					}
				}
				stolen := vouched(c, other)
				if _, err := w.server.Token(t.Context(), stolen, in); grantType == authz.RefreshToken && !isCode(err, ace.InvalidGrant) {
					t.Errorf("%s, %s of another instance: got %v", method, grantType, err)
				}
			}
			if got := len(w.tokens(1)); got-before > 2 { // what is bound to no key another instance may redeem: the code and the client's own rights
				t.Errorf("%s: %d tokens, before %d", method, got, before)
			}
			for _, grantType := range []string{authz.ClientCredentials, authz.RefreshToken} {
				if _, err := w.server.Token(t.Context(), vouched(c, key), all[grantType]); err != nil {
					t.Errorf("%s, %s with it: %v", method, grantType, err)
				}
			}
			// Neither a pushed request nor a device code begins without it.
			q := question()
			q.ClientID = c.ID
			if _, _, err := w.server.Push(t.Context(), c, q, "q"); !isCode(err, ace.InvalidClient) {
				t.Errorf("%s: pushed: %v", method, err)
			}
			if _, err := w.server.AuthorizeDevice(t.Context(), authz.Caller{Client: c}, authz.AuthorizeRequest{ClientID: c.ID, Audience: audience(1)}); !isCode(err, ace.InvalidClient) {
				t.Errorf("%s: device authorization: %v", method, err)
			}
		}
	}
}

func isCode(err error, code ace.ErrorCode) bool {
	var wire *ace.Error
	return errors.As(err, &wire) && wire.Code == code
}

// TestDemandOfClient: what an operator asks of an app's instances holds at every device.
func TestDemandOfClient(t *testing.T) {
	w := newWorld(t)
	key := []byte(strings.Repeat("k", 32))
	c := w.client(authz.Client{
		ID: "app", AuthMethod: authz.AuthAttested, GrantTypes: []string{authz.ClientCredentials}, ClientMadeKeys: true,
		Settings: authz.ClientSettings{Attesters: []string{"acme"}, Demand: attest.Demand{Key: attest.KeyHardware, MaxAge: time.Minute}},
	})
	w.give(func(g *authz.Grant) { g.To = authz.Subject{Client: "app"} }, view, unlock)
	ask := func(change func(*attest.Verdict)) error {
		by := vouched(c, key)
		by.Attested.Verdict.Key = attest.KeyHardware
		change(&by.Attested.Verdict)
		_, err := w.server.Token(t.Context(), by, own(1))
		return err
	}
	if err := ask(func(*attest.Verdict) {}); err != nil {
		t.Error(err)
	}
	if err := ask(func(v *attest.Verdict) { v.Key = attest.KeySoftware }); !isCode(err, ace.InvalidScope) || !strings.Contains(err.Error(), "in hardware") {
		t.Errorf("a key in software: %v", err)
	}
	if err := ask(func(v *attest.Verdict) { v.At = evening.Add(-61 * time.Second) }); !isCode(err, ace.UseFreshAttestation) {
		t.Errorf("stale: %v", err)
	}
	if err := ask(func(v *attest.Verdict) { v.Kind = attest.Development }); !isCode(err, ace.InvalidScope) {
		t.Errorf("of an attester for development: %v", err)
	}
}

// TestDevicesLearnTheGrade: each shape of token carries what was known of the app instance, as it is now, and nothing of an app for
// which nobody vouches.
func TestDevicesLearnTheGrade(t *testing.T) {
	w := newWorld(t)
	key := []byte(strings.Repeat("k", 32))
	c := w.client(authz.Client{
		ID: "app", AuthMethod: authz.AuthAttested, GrantTypes: []string{authz.ClientCredentials}, ClientMadeKeys: true,
		Settings: authz.ClientSettings{Attesters: []string{"acme"}},
	})
	want := grade.Grade{Kind: grade.KeyAttestation, Key: grade.KeyHardware, System: grade.SystemDegraded}
	for i, s := range allShapes {
		n := byte(i + 2)
		w.device(n, func(d *authz.Device) { d.Shape, d.Private = s.shape, s.private })
		for _, to := range []string{"app", "gateway"} {
			_, err := w.server.Give(t.Context(), authz.Grant{Owner: "alice", To: authz.Subject{Client: to}, Device: deviceID(n), Rights: aif.New(view)})
			w.must(err)
		}
		by := vouched(c, key)
		by.Attested.Verdict.Kind, by.Attested.Verdict.Key, by.Attested.Verdict.System = want.Kind, want.Key, want.System
		out, err := w.server.Token(t.Context(), by, own(n))
		w.must(err)
		claims, _, _, err := w.reader(n).open(s.shape, out.AccessToken)
		w.must(err)
		if claims.Grant.Grade != want {
			t.Errorf("%v: got %v, want %v", s.shape, claims.Grant.Grade, want)
		}
		if claims, _, _, err = w.reader(n).open(s.shape, w.granted(w.gateway, own(n)).AccessToken); err != nil || claims.Grant.Grade != (grade.Grade{}) {
			t.Errorf("%v, nobody vouches: %v, %v", s.shape, claims.Grant.Grade, err)
		}
	}
}
