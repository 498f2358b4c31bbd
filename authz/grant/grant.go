// Package grant judges OAuth grants with go-oauth2's Manager (RFC 6749 §4.1, §4.4, RFC 7636). It is the only importer of
// go-oauth2.
//
// The Manager alone is not safe: it redeems a code twice under a race, takes grant types that do not exist, matches
// redirect URIs by suffix and lets PKCE be left out. So it judges last, and only what cannot hurt: the client is
// authenticated and the code consumed before (D20), the Manager sees no secret, no request and no store but one made
// for the call, and what it does not ask is asked here. It issues nothing: its result is compared and dropped.
//
// Of refresh tokens and device codes the Manager knows nothing that helps: it would refresh for any client and take any scope.
// They are judged by what is asked here alone. Start from New.
package grant

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/go-oauth2/oauth2/v4"
	oautherrors "github.com/go-oauth2/oauth2/v4/errors"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
)

// Bounds of RFC 7636 §4.1 and §4.2, and of our codes.
const (
	minVerifier   = 43
	maxVerifier   = 128
	challengeSize = sha256.Size
	codeSize      = 32 // bytes: 256 bits, beyond what a rate-limited guesser reaches in the 60 s of a code (D20)
)

// Engine implements authz.Granter. It is safe for concurrent use and keeps no state between calls.
type Engine struct {
	random io.Reader
}

var _ authz.Granter = (*Engine)(nil)

// New makes an Engine. random gives the bits of codes; it must be safe for concurrent use, as crypto/rand.Reader is.
func New(random io.Reader) *Engine { return &Engine{random: random} }

// grantTypes are those the Manager may see: it would accept any name.
var grantTypes = map[string]oauth2.GrantType{
	authz.AuthorizationCode: oauth2.AuthorizationCode,
	authz.ClientCredentials: oauth2.ClientCredentials,
}

// Judge refuses a redemption with an *ace.Error. It neither blocks nor waits, reads no clock of its own — a code is as old
// as it was when it was consumed — and leaves j as it was. An error of another type is a fault of this server, such as a
// row that nobody consumed.
func (e *Engine) Judge(ctx context.Context, j authz.Judgement) error {
	kind, ok := grantTypes[j.GrantType]
	if agreed := ours[j.GrantType]; agreed != nil {
		return judgeOurs(&j, agreed)
	}
	if !ok {
		return &ace.Error{Code: ace.UnsupportedGrantType}
	}
	if !slices.Contains(j.Client.GrantTypes, j.GrantType) {
		return &ace.Error{Code: ace.UnauthorizedClient, Description: "this client may not use " + j.GrantType}
	}
	if kind == oauth2.AuthorizationCode {
		if err := checkRow(&j); err != nil {
			return err
		}
	}
	desk := &desk{client: client{id: j.Client.ID, redirectURI: j.Code.RedirectURI, public: j.Client.Public()}, code: &j.Code, presented: j.CodeValue}
	info, err := manager(desk).GenerateAccessToken(ctx, kind, &oauth2.TokenGenerateRequest{
		ClientID: j.Client.ID, RedirectURI: j.RedirectURI, Scope: j.Scope, Code: j.CodeValue, CodeVerifier: j.Verifier,
	})
	if err != nil {
		return refusal(err)
	}
	return compare(info, &j)
}

// ours are the grant types that the Manager is not asked about, with what a person agreed to and to whom it was given.
var ours = map[string]func(*authz.Judgement) (client string, agreed aif.Rights){
	authz.RefreshToken:    func(j *authz.Judgement) (string, aif.Rights) { return j.Family.Client, j.Family.Rights },
	authz.DeviceCodeGrant: func(j *authz.Judgement) (string, aif.Rights) { return j.DeviceCode.Client, j.DeviceCode.Rights },
}

func judgeOurs(j *authz.Judgement, of func(*authz.Judgement) (string, aif.Rights)) error {
	client, agreed := of(j)
	asked, err := aif.ParseText(j.Scope)
	switch {
	case !slices.Contains(j.Client.GrantTypes, j.GrantType):
		return &ace.Error{Code: ace.UnauthorizedClient, Description: "this client may not use " + j.GrantType}
	case client == "" || client != j.Client.ID:
		return &ace.Error{Code: ace.InvalidGrant, Description: "not given to this client"}
	case err != nil || asked.Empty() || !asked.Subset(agreed):
		return &ace.Error{Code: ace.InvalidScope, Description: "more than was agreed to"}
	}
	return nil
}

// checkRow asks what the Manager leaves out.
func checkRow(j *authz.Judgement) error {
	if j.Code.ConsumedAt.IsZero() {
		return errors.New("judge grant: the code was not consumed first")
	}
	hash := sha256.Sum256([]byte(j.CodeValue))
	switch {
	case subtle.ConstantTimeCompare(hash[:], j.Code.Hash) != 1, // the Manager compares a value with itself
		j.Code.RedirectURI == "" || j.RedirectURI == "", // each would switch a check off
		!isChallenge(j.Code.Challenge),
		!isVerifier(j.Verifier):
		return badCode()
	}
	asked, err := aif.ParseText(j.Scope)
	if err != nil || !asked.Subset(j.Code.Rights) {
		return &ace.Error{Code: ace.InvalidScope, Description: "more than was agreed to"}
	}
	return nil
}

// compare holds the Manager's result against the question. A difference would mean that it judged something else.
func compare(info oauth2.TokenInfo, j *authz.Judgement) error {
	scope := j.Scope
	if j.GrantType == authz.AuthorizationCode {
		scope = j.Code.Rights.String() // the Manager takes it from the row
	}
	if info.GetClientID() != j.Client.ID || info.GetUserID() != j.Code.User || info.GetScope() != scope || info.GetRefresh() != "" {
		return errors.New("judge grant: the judgement is of another grant")
	}
	return nil
}

// NewCode makes the value of an authorization code: 256 random bits, unpadded base64url. It refuses a row that could not be
// redeemed: one without client, redirect URI or S256 challenge.
func (e *Engine) NewCode(ctx context.Context, c authz.CodeGrant) (string, error) {
	switch {
	case c.Client == "":
		return "", &ace.Error{Code: ace.InvalidRequest, Description: "client_id is missing"}
	case c.RedirectURI == "":
		return "", &ace.Error{Code: ace.InvalidRequest, Description: "redirect_uri is missing"}
	case !isChallenge(c.Challenge):
		return "", &ace.Error{Code: ace.InvalidRequest, Description: "code_challenge must be a SHA-256 in unpadded base64url"}
	}
	desk := &desk{client: client{id: c.Client, redirectURI: c.RedirectURI}, random: e.random}
	info, err := manager(desk).GenerateAuthToken(ctx, oauth2.Code, &oauth2.TokenGenerateRequest{
		ClientID: c.Client, UserID: c.User, RedirectURI: c.RedirectURI, Scope: c.Rights.String(),
		CodeChallenge: c.Challenge, CodeChallengeMethod: oauth2.CodeChallengeS256,
	})
	if err != nil {
		return "", refusal(err)
	}
	return info.GetCode(), nil
}

// badCode is one answer to everything that can be wrong with a code, so that trying tells nothing.
func badCode() error {
	return &ace.Error{Code: ace.InvalidGrant, Description: "the code is not valid for this client, redirect_uri and code_verifier"}
}

// codes maps the Manager's errors. Those that its HTTP server would answer with 401 or 500 are 400 in RFC 6749 §5.2: the
// code decides that.
var codes = []struct {
	err  error
	code ace.ErrorCode
}{
	{oautherrors.ErrInvalidAuthorizeCode, ace.InvalidGrant},
	{oautherrors.ErrInvalidRedirectURI, ace.InvalidGrant},
	{oautherrors.ErrMissingCodeVerifier, ace.InvalidGrant},
	{oautherrors.ErrMissingCodeChallenge, ace.InvalidGrant},
	{oautherrors.ErrInvalidCodeChallenge, ace.InvalidGrant},
	{oautherrors.ErrInvalidGrant, ace.InvalidGrant},
	{oautherrors.ErrInvalidClient, ace.InvalidClient},
	{oautherrors.ErrUnauthorizedClient, ace.UnauthorizedClient},
	{oautherrors.ErrUnsupportedGrantType, ace.UnsupportedGrantType},
	{oautherrors.ErrInvalidRequest, ace.InvalidRequest},
	{oautherrors.ErrInvalidScope, ace.InvalidScope},
}

// refusal says an error of the Manager in protocol words. What is not in its list comes from our own desk and is a fault.
func refusal(err error) error {
	for _, c := range codes {
		switch {
		case !errors.Is(err, c.err):
		case c.code == ace.InvalidGrant:
			return badCode()
		default:
			return &ace.Error{Code: c.code}
		}
	}
	return fmt.Errorf("judge grant: %w", err)
}

func isChallenge(s string) bool {
	sum, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(sum) == challengeSize && len(s) == base64.RawURLEncoding.EncodedLen(challengeSize)
}

// isVerifier asks for the form of RFC 7636 §4.1: a verifier shorter than that can be searched for.
func isVerifier(s string) bool {
	if len(s) < minVerifier || len(s) > maxVerifier {
		return false
	}
	for i := range len(s) {
		if !unreserved(s[i]) {
			return false
		}
	}
	return true
}

func unreserved(c byte) bool {
	switch {
	case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		return true
	}
	return c == '-' || c == '.' || c == '_' || c == '~'
}
