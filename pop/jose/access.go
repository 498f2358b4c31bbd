package jose

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// AccessToken is what an access token for an HTTP resource server says (RFC 9068 §2.2). A nil Confirmation makes it a bearer
// token. Tokens for devices are pop.Claims, which Sign and Open carry.
type AccessToken struct {
	Registered
	ClientID string
	Scope    []string      // scope tokens of RFC 6749 §3.3
	Private  map[Claim]any // to sign: claims of RFC 9068 §2.2.1 to §2.2.3 beside the fields
	Verified *Token        // when read: the token itself, with its other claims and its key; nil to sign
}

var accessRequired = []Claim{ClaimIssuer, ClaimExpires, ClaimAudience, ClaimSubject, ClaimClientID, ClaimIssuedAt, ClaimID}

// SignAccess makes an access token. Issuer, Subject, Audience, Expires, IssuedAt, ID and ClientID must be set (RFC 9068 §2.2).
func SignAccess(t AccessToken, s Signer) (string, error) {
	private := map[Claim]any{ClaimClientID: textOrNone(t.ClientID), ClaimScope: textOrNone(strings.Join(t.Scope, " "))}
	for c, value := range t.Private {
		if _, twice := private[c]; twice {
			return "", fmt.Errorf("sign %v: claim %s has a field of its own", TypeAccessToken, c)
		}
		private[c] = value
	}
	for _, word := range t.Scope {
		if err := checkScopeToken(word); err != nil {
			return "", fmt.Errorf("sign %v: %w", TypeAccessToken, err)
		}
	}
	r := &t.Registered
	if r.Issuer == "" || r.Subject == "" || len(r.Audience) == 0 || r.Expires.IsZero() || r.IssuedAt.IsZero() || r.ID == "" || t.ClientID == "" {
		return "", fmt.Errorf("sign %v: iss, sub, aud, exp, iat, jti and client_id: %w", TypeAccessToken, errRequired)
	}
	return Make(TypeAccessToken, t.Registered, private, s)
}

// OpenAccess verifies an access token (RFC 9068 §4). Keys, Issuer, Audience and Now must be given; Type and Require are set
// here. The caller still checks possession and scope. Errors as of Verify.
func OpenAccess(token string, e Expect) (*AccessToken, error) {
	if e.Keys == nil || e.Issuer == "" || e.Audience == "" || e.Now.IsZero() {
		return nil, errors.New("verify access token: keys, issuer, audience and time must be given")
	}
	e.Type, e.Require = TypeAccessToken, append(slices.Clone(e.Require), accessRequired...)
	t, err := Verify(token, e)
	if err != nil {
		return nil, err
	}
	a := &AccessToken{Registered: t.Registered, Verified: t}
	if a.ClientID, err = t.Text(ClaimClientID, maxForeignText); err != nil {
		return nil, fmt.Errorf("verify access token: %w", err)
	}
	scope, err := t.Text(ClaimScope, maxForeignText)
	if err != nil {
		return nil, fmt.Errorf("verify access token: %w", err)
	}
	if scope == "" {
		return a, nil
	}
	a.Scope = strings.Split(scope, " ")
	for _, word := range a.Scope {
		if err := checkScopeToken(word); err != nil {
			return nil, fmt.Errorf("verify access token: %w: %w", ErrClaims, err)
		}
	}
	return a, nil
}

// checkScopeToken holds one word of a scope to RFC 6749 §3.3.
func checkScopeToken(word string) error {
	if word == "" || !printable(word) || strings.ContainsAny(word, `"\`) {
		return errors.New("scope is not made of scope tokens")
	}
	return nil
}
