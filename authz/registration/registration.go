// Package registration judges what a client wants to be: the metadata of RFC 7591 §2, which clients that were invited send by
// themselves, and the flags of an operator, by the same rules.
//
// It reads and writes the messages of RFC 7591 and RFC 7592 and decides; it keeps nothing and knows no token. authz.Server keeps
// clients, authz/httpapi serves. Start from Check, or from Parse for what clients send.
package registration

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/clientauth"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

// ErrRedirectURI is in what Check says about an address.
var ErrRedirectURI = errors.New("redirect URI")

// grantTypes are those there are.
var grantTypes = []string{authz.AuthorizationCode, authz.ClientCredentials, authz.RefreshToken, authz.DeviceCodeGrant}

// Check says why a client, registered like this, could never work, or would be unsafe; nil if all is well. It does not look at the
// id and at what others have.
func Check(c *authz.Client) error {
	if err := CheckAllowed(authz.Allowed{GrantTypes: c.GrantTypes, Scope: c.Ceiling}); err != nil {
		return err
	}
	if err := checkRedirects(c.RedirectURIs); err != nil {
		return err
	}
	switch {
	case slices.Contains(c.GrantTypes, authz.AuthorizationCode) && len(c.RedirectURIs) == 0:
		return fmt.Errorf("authorization_code needs a %w", ErrRedirectURI)
	case slices.Equal(c.GrantTypes, []string{authz.RefreshToken}):
		return errors.New("refresh_token goes with authorization_code or device_code, which give the first token")
	case c.Settings.RequirePAR && !slices.Contains(c.GrantTypes, authz.AuthorizationCode):
		return errors.New("pushed authorization requests go with authorization_code")
	case c.Public() && slices.Contains(c.GrantTypes, authz.ClientCredentials):
		return errors.New("a public client has no credentials: leave out client_credentials")
	case len(c.Name) > maxName || strings.ContainsFunc(c.Name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("a name has at most %d bytes that print", maxName)
	}
	if c.Keys != "" {
		if _, err := jose.ParseSet([]byte(c.Keys)); err != nil { // also where only its certificates are used: a private key in it is lost
			return err
		}
	}
	return clientauth.Check(c)
}

// CheckAllowed says what of an invitation could never be used. Methods are for the face to judge, which serves them.
func CheckAllowed(a authz.Allowed) error {
	if len(a.GrantTypes) == 0 {
		return errors.New("a client needs a grant type")
	}
	for _, g := range a.GrantTypes {
		if !slices.Contains(grantTypes, g) {
			return fmt.Errorf("grant type %.64q is not available; there are authorization_code, client_credentials, refresh_token and device_code", g)
		}
	}
	return checkScope(a.Scope)
}

// checkRedirects refuses addresses that cannot be compared, or from which a code could be read by others (RFC 6749 §3.1.2,
// RFC 8252 §7).
func checkRedirects(uris []string) error {
	if len(uris) > maxRedirectURIs {
		return fmt.Errorf("%w: at most %d", ErrRedirectURI, maxRedirectURIs)
	}
	for _, r := range uris {
		u, err := url.Parse(r)
		bad := func(why string) error { return fmt.Errorf("%w %.300q: %s", ErrRedirectURI, r, why) }
		switch {
		case err != nil, len(r) > maxRedirectURI, u.Scheme == "", u.Fragment != "", strings.ContainsAny(r, " \"'<>;,*#\\"), u.User != nil:
			return bad("give a whole address without #")
		case strings.HasPrefix(u.Scheme, "http") && u.Host == "":
			return bad("give a whole address without #")
		case u.Scheme == "http" && u.Hostname() != "127.0.0.1" && u.Hostname() != "::1" && u.Hostname() != "localhost":
			return bad("plain http is for this machine only")
		case slices.Contains([]string{"javascript", "vbscript", "data", "file", "blob", "about"}, u.Scheme):
			return bad("no app answers to " + u.Scheme)
		}
	}
	return nil
}

// checkScope holds words to the characters of RFC 6749 §3.3.
func checkScope(words []string) error {
	total := -1 // blanks stand between
	for _, word := range words {
		total += len(word) + 1
		if word == "" || strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
			return fmt.Errorf("scope %.64q: a word of letters, digits and signs of ASCII", word)
		}
	}
	if total > maxScope {
		return fmt.Errorf("scope: at most %d bytes", maxScope)
	}
	return nil
}
