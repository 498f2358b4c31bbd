package grant

import (
	"errors"
	"fmt"
	"testing"

	oautherrors "github.com/go-oauth2/oauth2/v4/errors"
	"github.com/go-oauth2/oauth2/v4/models"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
)

func TestManagerErrorsInProtocolWords(t *testing.T) {
	tests := map[error]ace.ErrorCode{
		oautherrors.ErrInvalidAuthorizeCode:   ace.InvalidGrant,
		oautherrors.ErrInvalidRedirectURI:     ace.InvalidGrant,
		oautherrors.ErrMissingCodeVerifier:    ace.InvalidGrant,
		oautherrors.ErrMissingCodeChallenge:   ace.InvalidGrant,
		oautherrors.ErrInvalidCodeChallenge:   ace.InvalidGrant,
		oautherrors.ErrInvalidGrant:           ace.InvalidGrant,
		oautherrors.ErrInvalidClient:          ace.InvalidClient,
		oautherrors.ErrUnauthorizedClient:     ace.UnauthorizedClient,
		oautherrors.ErrUnsupportedGrantType:   ace.UnsupportedGrantType,
		oautherrors.ErrInvalidRequest:         ace.InvalidRequest,
		oautherrors.ErrInvalidScope:           ace.InvalidScope,
		fmt.Errorf("x: %w", errBadRedirect()): ace.InvalidGrant,
	}
	for in, want := range tests {
		var got *ace.Error
		if err := refusal(in); !errors.As(err, &got) || got.Code != want {
			t.Errorf("%v: got %v, want %v", in, err, want)
		}
	}
	var wire *ace.Error
	if err := refusal(errAbsent); errors.As(err, &wire) || !errors.Is(err, errAbsent) {
		t.Errorf("a fault of ours: got %v", err)
	}
}

func errBadRedirect() error { return exactURI("https://a.example/cb", "https://a.example/cb2") }

// TestRedirectURIsCompareExactly: each of these passes the Manager's own rule for https://example.com/cb.
func TestRedirectURIsCompareExactly(t *testing.T) {
	const registered = "https://example.com/cb"
	for _, got := range []string{
		"https://attackerexample.com/", "http://evil-example.com/steal", "javascript://example.com/%0aalert(1)", "https://example.com/other",
		"https://example.com/cb/", "https://example.com/cb?x", "https://EXAMPLE.com/cb", "https://example.com:443/cb", "https://u@example.com/cb", "",
	} {
		if err := exactURI(registered, got); !errors.Is(err, oautherrors.ErrInvalidRedirectURI) {
			t.Errorf("%q: got %v", got, err)
		}
	}
	if err := exactURI(registered, registered); err != nil {
		t.Errorf("the registered one: %v", err)
	}
	if err := exactURI("", ""); err == nil {
		t.Error("nothing equals nothing")
	}
}

// TestJudgementOfAnotherGrantIsAFault: whatever the Manager does, what it judged must be what was asked.
func TestJudgementOfAnotherGrantIsAFault(t *testing.T) {
	rights := aif.New(aif.Entry{Path: "/door", Methods: aif.GET})
	j := authz.Judgement{
		GrantType: authz.AuthorizationCode, Client: authz.Client{ID: "phone"}, Scope: "/door:GET",
		Code: authz.CodeGrant{User: "mother", Rights: rights},
	}
	tests := []struct {
		name   string
		change func(*models.Token)
		ok     bool
	}{
		{"the same", func(*models.Token) {}, true},
		{"another client", func(i *models.Token) { i.ClientID = "mallet" }, false},
		{"another user", func(i *models.Token) { i.UserID = "mallet" }, false},
		{"another scope", func(i *models.Token) { i.Scope = "/door:GET,PUT" }, false},
		{"a refresh token", func(i *models.Token) { i.Refresh = "r" }, false},
	}
	for _, tt := range tests {
		info := &models.Token{ClientID: "phone", UserID: "mother", Scope: "/door:GET", Access: judged}
		tt.change(info)
		err := compare(info, &j)
		var wire *ace.Error
		if (err == nil) != tt.ok || errors.As(err, &wire) {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
}

// TestDeskKnowsOneClient: the Manager's look-ups find nothing but what was laid out.
func TestDeskKnowsOneClient(t *testing.T) {
	d := &desk{client: client{id: "phone"}}
	for _, id := range []string{"", "mallet", "Phone"} {
		if c, err := d.GetByID(t.Context(), id); err == nil {
			t.Errorf("%q: got %v", id, c)
		}
	}
	if info, err := (tokens{d}).GetByCode(t.Context(), ""); err == nil {
		t.Errorf("a code without a row: got %v", info)
	}
	if info, err := (tokens{d}).GetByRefresh(t.Context(), "r"); err == nil {
		t.Errorf("a refresh token: got %v", info)
	}
}
