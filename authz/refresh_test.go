package authz_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/cose"
)

var bothGrants = []string{authz.AuthorizationCode, authz.RefreshToken}

// renter is an app with a secret that may refresh; its tokens rotate.
func (w *world) renter() authz.Client {
	w.t.Helper()
	return w.client(authz.Client{ID: "renter", AuthMethod: authz.AuthSecretBasic, RedirectURIs: []string{back}, GrantTypes: bothGrants, ClientMadeKeys: true})
}

// codeOf is a code for a client.
func (w *world) codeOf(client string) string {
	w.t.Helper()
	q := question()
	q.ClientID = client
	return w.ask("mother", q).Get("code")
}

// first is a client's first token, with its refresh token.
func (w *world) first(caller authz.Caller) *ace.TokenResponse {
	w.t.Helper()
	out, err := w.server.Token(w.t.Context(), caller, redemption(w.codeOf(caller.Client.ID)))
	w.must(err)
	return out
}

func refresh(token string) *ace.TokenRequest {
	return &ace.TokenRequest{GrantType: authz.RefreshToken, RefreshToken: token}
}

// newRent is a world in which the renter has a token for unlock and view on door 1.
func newRent(t *testing.T) (w *world, c authz.Client, g authz.Grant, first *ace.TokenResponse) {
	t.Helper()
	w = newWorld(t)
	g, c = w.give(nil, unlock, view), w.renter()
	first = w.first(authz.Caller{Client: c})
	if first.RefreshToken == "" {
		t.Fatal("no refresh token")
	}
	return w, c, g, first
}

// TestRefreshRotates: each use gives a successor and a full token for the same key (D19, RFC 9200 §5.8.2).
func TestRefreshRotates(t *testing.T) {
	w, c, g, first := newRent(t)
	seen := []string{first.RefreshToken}
	for range 3 {
		w.clock.move(time.Hour)
		out := w.granted(c, refresh(seen[len(seen)-1]))
		if slices.Contains(seen, out.RefreshToken) || out.RefreshToken == "" {
			t.Fatal("no successor")
		}
		seen = append(seen, out.RefreshToken)
		m, was := out.Cnf.OSCORE, first.Cnf.OSCORE
		if m == nil || !bytes.Equal(m.MasterSecret, was.MasterSecret) || !bytes.Equal(m.ID, was.ID) || bytes.Equal(out.AccessToken, first.AccessToken) {
			t.Error("not a new token with the same key")
		}
		if out.Scope.Words != "unlock view" {
			t.Errorf("scope %q", out.Scope.Words)
		}
	}
	rows := w.tokens(1)
	last := rows[len(rows)-1]
	if last.Series == nil || last.Family == (authz.FamilyID{}) || last.Grant != g.ID || last.Code == nil {
		t.Errorf("the token is on record as %+v", last)
	}
}

// TestLostRefreshAnswer: soon after, the same request gets the same successor; at the same moment it waits; later it is theft.
func TestLostRefreshAnswer(t *testing.T) {
	w, c, _, first := newRent(t)
	next := w.granted(c, refresh(first.RefreshToken))
	var busy *authz.BusyError
	for _, after := range []time.Duration{0, authz.RefreshPause - time.Millisecond} {
		w.clock.move(after)
		if _, err := w.token(c, refresh(first.RefreshToken)); !errors.As(err, &busy) || busy.Wait != authz.RefreshPause || errors.As(err, new(*ace.Error)) {
			t.Fatalf("after %v: got %v", after, err)
		}
	}
	for _, after := range []time.Duration{time.Millisecond, authz.RefreshGrace - authz.RefreshPause} {
		w.clock.move(after)
		again := w.granted(c, refresh(first.RefreshToken))
		if again.RefreshToken != next.RefreshToken || bytes.Equal(again.AccessToken, next.AccessToken) {
			t.Errorf("after %v: not the same successor with a fresh token", after)
		}
	}
	w.clock.move(time.Millisecond)
	_, err := w.token(c, refresh(first.RefreshToken))
	w.refused(err, ace.InvalidGrant, "a replaced refresh token was used")
	if left := w.tokens(1); len(left) != 0 {
		t.Errorf("%d tokens are left of the family", len(left))
	}
	_, err = w.token(c, refresh(next.RefreshToken))
	w.refused(err, ace.InvalidGrant, "revoked refresh token")
	told := func(e authz.AuditEntry) bool { return e.Event == "refresh.reuse" && e.User == "mother" }
	if !slices.ContainsFunc(w.audit(), told) {
		t.Error("the theft is not on record")
	}
}

// TestUsedSuccessorEndsGrace: once the successor was used, its forebear is theft at any time.
func TestUsedSuccessorEndsGrace(t *testing.T) {
	w, c, _, first := newRent(t)
	second := w.granted(c, refresh(first.RefreshToken))
	w.granted(c, refresh(second.RefreshToken))
	_, err := w.token(c, refresh(first.RefreshToken))
	w.refused(err, ace.InvalidGrant, "a replaced refresh token was used")
}

// TestRefreshFlaws: what is wrong with a refresh changes nothing; the right one goes through afterwards.
func TestRefreshFlaws(t *testing.T) {
	w, c, _, first := newRent(t)
	other := w.client(authz.Client{ID: "other", AuthMethod: authz.AuthSecretBasic, GrantTypes: bothGrants})
	w.device(2, nil)
	w.give(func(g *authz.Grant) { g.Device = deviceID(2) }, unlock, view)
	forged := func(at int) string {
		raw, err := base64.RawURLEncoding.DecodeString(first.RefreshToken)
		w.must(err)
		raw[at] ^= 1
		return base64url(raw)
	}
	rows := []struct {
		name   string
		caller authz.Client
		change func(r *ace.TokenRequest)
		want   ace.ErrorCode
		reason string
	}{
		{"no token", c, func(r *ace.TokenRequest) { r.RefreshToken = "" }, ace.InvalidRequest, "refresh_token is missing"},
		{"another client", other, func(*ace.TokenRequest) {}, ace.InvalidGrant, "refresh token of another client"},
		{"another family", c, func(r *ace.TokenRequest) { r.RefreshToken = forged(0) }, ace.InvalidGrant, "unknown refresh token"},
		{"another generation", c, func(r *ace.TokenRequest) { r.RefreshToken = forged(19) }, ace.InvalidGrant, "unknown refresh token"},
		{"another secret", c, func(r *ace.TokenRequest) { r.RefreshToken = forged(51) }, ace.InvalidGrant, "unknown refresh token"},
		{"one more letter", c, func(r *ace.TokenRequest) { r.RefreshToken += "A" }, ace.InvalidGrant, "unknown refresh token"},
		{"more than was agreed", c, func(r *ace.TokenRequest) { r.Scope.Words = "unlock disarm" }, ace.InvalidScope, "more than was granted"},
		{"another audience", c, func(r *ace.TokenRequest) { r.Audience = audience(2) }, ace.InvalidGrant, "another audience"},
		{"a key made by the client", c, func(r *ace.TokenRequest) {
			r.ReqCnf = &pop.Confirmation{Key: cose.NewSymmetric([]byte("0123456789abcdef"), nil)}
		}, ace.InvalidGrant, "another possession key"},
		{"another key's id", c, func(r *ace.TokenRequest) { r.ReqCnf = &pop.Confirmation{KeyID: cose.KeyID("another!")} }, ace.InvalidGrant, "another possession key"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w.t = t
			in := refresh(first.RefreshToken)
			row.change(in)
			before := w.tokens(1)
			_, err := w.token(row.caller, in)
			w.refused(err, row.want, row.reason)
			var told *ace.Error
			if errors.As(err, &told) && told.Code == ace.InvalidGrant && !strings.HasPrefix(told.Description, "the refresh token is not valid") {
				t.Errorf("told %q", told.Description)
			}
			if n := len(w.tokens(1)); n != len(before) {
				t.Errorf("%d tokens came of it", n-len(before))
			}
		})
	}
	w.t = t
	for n := range first.RefreshToken {
		if _, err := w.token(c, refresh(first.RefreshToken[:n])); !errors.Is(err, &ace.Error{Code: ace.InvalidGrant}) && n > 0 {
			w.refusedAs(err, ace.InvalidGrant)
		}
	}
	w.granted(c, refresh(first.RefreshToken))
}

// TestRefreshOfAClientThatBecamePublic: a refresh token that only a credential protects is worth nothing without one (RFC 9700
// §4.14.2), also when the client itself gave the credential up (RFC 7592 §2.2).
func TestRefreshOfAClientThatBecamePublic(t *testing.T) {
	w, c, _, first := newRent(t)
	c.AuthMethod = authz.AuthNone
	w.must(w.store.UpdateClient(t.Context(), c))
	_, err := w.token(c, refresh(first.RefreshToken))
	w.refused(err, ace.InvalidGrant, "refresh token bound to nothing")
	c.AuthMethod = authz.AuthSecretBasic
	w.must(w.store.UpdateClient(t.Context(), c))
	w.granted(c, refresh(first.RefreshToken)) // it was not spent
}

// refusedAs wants an *ace.Error with this code.
func (w *world) refusedAs(err error, code ace.ErrorCode) {
	w.t.Helper()
	var wire *ace.Error
	if !errors.As(err, &wire) || wire.Code != code {
		w.t.Errorf("got %v, want %v", err, code)
	}
}

// TestRefreshNarrows: less may be asked for, and the next may ask for all again (RFC 6749 §6).
func TestRefreshNarrows(t *testing.T) {
	w, c, _, first := newRent(t)
	less := refresh(first.RefreshToken)
	less.Scope.Words = "view"
	out := w.granted(c, less)
	if out.Scope.Words != "view" {
		t.Errorf("scope %q", out.Scope.Words)
	}
	if out = w.granted(c, refresh(out.RefreshToken)); out.Scope.Words != "unlock view" {
		t.Errorf("scope %q", out.Scope.Words)
	}
}

// TestRefreshEnds: with its absolute life, to the millisecond, whatever was refreshed; and with the grant.
func TestRefreshEnds(t *testing.T) {
	t.Run("with its life", func(t *testing.T) {
		w, c, _, first := newRent(t)
		w.clock.move(authz.RefreshLife - time.Millisecond)
		next := w.granted(c, refresh(first.RefreshToken))
		w.clock.move(time.Millisecond)
		_, err := w.token(c, refresh(next.RefreshToken))
		w.refused(err, ace.InvalidGrant, "expired refresh token")
	})
	t.Run("with the grant, which is not asked about again", func(t *testing.T) {
		w, c, g, first := newRent(t)
		w.clock.move(time.Minute)
		_, err := w.server.Revoke(t.Context(), g.ID)
		w.must(err)
		if _, err := w.token(c, refresh(first.RefreshToken)); !errors.As(err, new(*ace.Error)) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("with the client's suspension, and goes on after it", func(t *testing.T) {
		w, c, _, first := newRent(t)
		w.must(w.store.SuspendClient(t.Context(), c.ID, evening))
		if _, err := w.token(c, refresh(first.RefreshToken)); !errors.As(err, new(*ace.Error)) {
			t.Errorf("got %v", err)
		}
		w.must(w.store.SuspendClient(t.Context(), c.ID, time.Time{}))
		w.granted(c, refresh(first.RefreshToken))
	})
}

// TestRefreshOfPublicClients: only with a key, whose proof every use needs; it is not rotated (D19).
func TestRefreshOfPublicClients(t *testing.T) {
	w := newWorld(t)
	w.give(nil, unlock)
	c := w.client(authz.Client{ID: "app", AuthMethod: authz.AuthNone, RedirectURIs: []string{back}, GrantTypes: bothGrants})
	if out := w.first(authz.Caller{Client: c}); out.RefreshToken != "" {
		t.Fatal("a public client without a key got a refresh token")
	}
	key, thief := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	token := w.first(authz.Caller{Client: c, DPoP: key}).RefreshToken
	for _, shown := range [][]byte{nil, thief, key[:31]} {
		_, err := w.server.Token(t.Context(), authz.Caller{Client: c, DPoP: shown}, refresh(token))
		w.refused(err, ace.InvalidGrant, "refresh token of another key")
	}
	for range 3 {
		out, err := w.server.Token(t.Context(), authz.Caller{Client: c, DPoP: key}, refresh(token))
		w.must(err)
		if out.RefreshToken != "" && out.RefreshToken != token {
			t.Error("a bound refresh token was rotated")
		}
	}
}

// TestWhoGetsNoRefreshToken: who did not register for it, and who acts for itself.
func TestWhoGetsNoRefreshToken(t *testing.T) {
	w := newWorld(t)
	w.give(nil, unlock)
	w.give(toGateway, view)
	if out := w.granted(w.phone, redemption(w.code())); out.RefreshToken != "" {
		t.Error("a client that is not registered for refresh_token got one")
	}
	gateway := w.gateway
	gateway.GrantTypes = []string{authz.ClientCredentials, authz.RefreshToken}
	if out := w.granted(gateway, own(1)); out.RefreshToken != "" {
		t.Error("client_credentials gave a refresh token")
	}
	c := w.renter()
	token := w.first(authz.Caller{Client: c}).RefreshToken
	c.GrantTypes = []string{authz.AuthorizationCode}
	_, err := w.token(c, refresh(token))
	w.refused(err, ace.UnauthorizedClient, "this client may not use refresh_token")
}
