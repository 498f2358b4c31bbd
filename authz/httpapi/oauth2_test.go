package httpapi_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"golang.org/x/oauth2"
)

// tenant adds a client with a secret that may use every grant a person answers.
func (w *world) tenant(change func(*authz.Client)) (secret string) {
	w.t.Helper()
	secret, hash, err := authz.Secret(strings.NewReader(strings.Repeat("0123456789abcdef", 4)))
	w.must(err)
	c := authz.Client{
		ID: "tenant", AuthMethod: authz.AuthSecretBasic, SecretHash: hash, RedirectURIs: []string{redirect},
		GrantTypes: []string{authz.AuthorizationCode, authz.RefreshToken, authz.DeviceCodeGrant},
	}
	if change != nil {
		change(&c)
	}
	w.client(c)
	return secret
}

// library is golang.org/x/oauth2 with the tenant's credentials.
func (w *world) library(secret string) *oauth2.Config {
	return &oauth2.Config{
		ClientID: "tenant", ClientSecret: secret, RedirectURL: redirect, Scopes: []string{"unlock"},
		Endpoint: oauth2.Endpoint{
			AuthURL: w.url + "/authorize", TokenURL: w.url + "/token", DeviceAuthURL: w.url + "/device_authorization", AuthStyle: oauth2.AuthStyleInHeader,
		},
	}
}

// TestCommonLibrary: golang.org/x/oauth2, which knows nothing of us, runs the code flow with PKCE, refreshes, and meets a
// wrong verifier.
func TestCommonLibrary(t *testing.T) {
	w := newWorld(t)
	w.give("mother", unlock)
	library := w.library(w.tenant(nil))
	redeem := func(with oauth2.AuthCodeOption) (*oauth2.Token, error) {
		address, err := url.Parse(library.AuthCodeURL("st", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("audience", "door-1")))
		w.must(err)
		b := w.browser()
		return library.Exchange(t.Context(), w.back(b.fill(b.signIn("mother", address.Query()), "answer", "yes")).Get("code"), with)
	}
	var refused *oauth2.RetrieveError
	if _, err := redeem(oauth2.VerifierOption(oauth2.GenerateVerifier())); !errors.As(err, &refused) || refused.ErrorCode != "invalid_grant" {
		t.Errorf("another verifier: %v", err)
	}
	token, err := redeem(oauth2.VerifierOption(verifier))
	w.must(err)
	if token.AccessToken == "" || token.RefreshToken == "" || token.TokenType != "PoP" || token.Extra("scope") != "unlock" {
		t.Fatalf("type %s, scope %v", token.TokenType, token.Extra("scope"))
	}
	token.Expiry = time.Unix(1, 0) // the library then refreshes
	next, err := library.TokenSource(t.Context(), token).Token()
	w.must(err)
	if next.AccessToken == token.AccessToken || next.RefreshToken == "" || next.RefreshToken == token.RefreshToken {
		t.Error("not refreshed")
	}
}

// TestCommonLibraryOnAnotherScreen: its device flow (RFC 8628) against our pages. It does not authenticate where that begins, so
// the client is public.
func TestCommonLibraryOnAnotherScreen(t *testing.T) {
	w := newWorld(t)
	w.give("mother", unlock)
	w.tenant(func(c *authz.Client) { c.AuthMethod, c.SecretHash = authz.AuthNone, nil })
	library := w.library("")
	library.Endpoint.AuthStyle = oauth2.AuthStyleInParams
	begun, err := library.DeviceAuth(t.Context(), oauth2.SetAuthURLParam("audience", "door-1"))
	w.must(err)
	if begun.Interval != 5 || len(begun.UserCode) != 9 || begun.VerificationURI != w.url+"/device" {
		t.Fatalf("interval %d, user code of %d letters at %s", begun.Interval, len(begun.UserCode), begun.VerificationURI)
	}
	waiting, cancel := context.WithCancel(t.Context())
	cancel()
	begun.Interval = 1 // its own wait, not ours
	if _, err := library.DeviceAccessToken(waiting, begun); err == nil {
		t.Error("a token before anybody answered")
	}
	p := w.atDevice("mother", begun.VerificationURIComplete)
	for _, says := range []string{begun.UserCode, "tenant", "door-1", "<li>unlock</li>", "only if you started this"} {
		if !strings.Contains(p.body, says) {
			t.Errorf("the question lacks %q", says)
		}
	}
	if p := p.from.fill(p.page, "answer", "yes"); p.StatusCode != http.StatusOK {
		t.Fatalf("status %d", p.StatusCode)
	}
	token, err := library.DeviceAccessToken(t.Context(), begun)
	w.must(err)
	if token.AccessToken == "" || token.RefreshToken != "" {
		t.Error("not a token alone")
	}
}
