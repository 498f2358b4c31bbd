package ace

import (
	"strings"

	"github.com/latchkey-ace/latchkey/pop"
)

// Grant types by name. refresh_token and password are known and refused; device_code has no number.
const (
	GrantAuthorizationCode = "authorization_code"
	GrantClientCredentials = "client_credentials"
)

// grantTypes in the order of IANA OAuth Grant Type CBOR Mappings (RFC 9200 §8.5): the index is the number.
var grantTypes = []string{"password", GrantAuthorizationCode, GrantClientCredentials, "refresh_token"}

// TokenType is an access token type (IANA OAuth Access Token Type CBOR Mappings, RFC 9200 §8.7). DPoP has no number.
type TokenType int

// The zero TokenType means absent, which is PoP.
const (
	TokenTypeBearer TokenType = 1
	TokenTypePoP    TokenType = 2
)

// String is the name in JSON.
func (t TokenType) String() string {
	switch t {
	case TokenTypeBearer:
		return "Bearer"
	case TokenTypePoP, 0:
		return "PoP"
	}
	return "unknown"
}

func parseTokenType(name string) (TokenType, bool) {
	for _, t := range []TokenType{TokenTypeBearer, TokenTypePoP} {
		if strings.EqualFold(t.String(), name) { // RFC 6749 §5.1: case insensitive
			return t, true
		}
	}
	return 0, false
}

// profiles we can serve, of IANA ACE Profiles. mqtt_tls 3 and the drafts' 4 and 5 are left out.
var profiles = []pop.Profile{pop.ProfileCoAPDTLS, pop.ProfileCoAPOSCORE}

func parseProfile(name string) (pop.Profile, bool) {
	for _, p := range profiles {
		if p.String() == name {
			return p, true
		}
	}
	return 0, false
}
