package ace

import (
	"strings"

	"github.com/latchkey-ace/latchkey/pop"
)

// Grant types by name. password is known and refused.
const (
	GrantAuthorizationCode = "authorization_code"
	GrantClientCredentials = "client_credentials"
	GrantRefreshToken      = "refresh_token"
	GrantDeviceCode        = "urn:ietf:params:oauth:grant-type:device_code" // RFC 8628 §3.4

	grantPassword = "password"
)

// grantTypes by number of IANA OAuth Grant Type CBOR Mappings (RFC 9200 §8.5). Device code has none; the number is ours.
var grantTypes = map[uint64]string{
	0: grantPassword, 1: GrantAuthorizationCode, 2: GrantClientCredentials, 3: GrantRefreshToken, grantNumberDeviceCode: GrantDeviceCode,
}

// grantNumber is the number of a grant type, -1 for none.
func grantNumber(name string) int64 {
	for number, n := range grantTypes {
		if n == name {
			return int64(number)
		}
	}
	return -1
}

// TokenType is an access token type (IANA OAuth Access Token Type CBOR Mappings, RFC 9200 §8.7). DPoP has no number: it is
// for HTTP and never travels in CBOR.
type TokenType int

// The zero TokenType means absent, which is PoP.
const (
	TokenTypeBearer TokenType = 1
	TokenTypePoP    TokenType = 2
	TokenTypeDPoP   TokenType = -1 // RFC 9449 §5
)

// String is the name in JSON.
func (t TokenType) String() string {
	switch t {
	case TokenTypeBearer:
		return "Bearer"
	case TokenTypePoP, 0:
		return "PoP"
	case TokenTypeDPoP:
		return "DPoP"
	}
	return "unknown"
}

func parseTokenType(name string) (TokenType, bool) {
	for _, t := range []TokenType{TokenTypeBearer, TokenTypePoP, TokenTypeDPoP} {
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
