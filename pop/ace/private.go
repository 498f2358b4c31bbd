package ace

import (
	"encoding/json"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// Private-use code points (IANA: less than −65536). −70001 is the claim pop.GrantRef.
const (
	paramRSURI        Parameter = -70002 // where the resource server may be reached (D13)
	paramCodeVerifier Parameter = -70003 // RFC 9200 gives PKCE no abbreviation
	paramDeviceCode   Parameter = -70004 // nor RFC 8628
	paramDetails      Parameter = -70005 // nor RFC 9396: authorization_details as JSON text
)

// grantNumberDeviceCode stands for the grant type of RFC 8628, which has no abbreviation. IANA assigns numbers from 0 up.
const grantNumberDeviceCode = 70004

var errDetails = &Error{Code: InvalidDetails, Description: "authorization_details: not a JSON array of objects"}

// parseDetails takes a JSON array, whose nesting and names are bounded as everything in JSON is; a reader of it stands
// where its types are known.
func parseDetails(raw wire.RawMessage) (string, error) {
	s, err := textOf(raw)
	if err != nil {
		return "", err
	}
	if len(s) > maxDetails || len(s) < 2 || s[0] != '[' {
		return "", errDetails
	}
	if _, err := parseObject([]byte(`{"d":` + s + `}`)); err != nil {
		return "", errDetails
	}
	if again, err := json.Marshal(json.RawMessage(s)); err != nil || string(again) != s {
		return "", errDetails
	}
	return s, nil
}

// memberScopeAIF is the JSON member that carries a binary scope (D12).
const memberScopeAIF = "scope_aif"
