package jose

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// Describe shows the header and claims of a compact JWS for people. It verifies nothing: what it shows may be forged.
func Describe(token string) (string, error) {
	if len(token) > MaxToken || strings.Count(token, ".") != 2 { // before parts are made of it (CVE-2025-30204)
		return "", fmt.Errorf("not a compact JWS of at most %d bytes: %w", MaxToken, ErrForm)
	}
	var out []string
	for _, part := range strings.Split(token, ".")[:2] {
		text, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil {
			return "", fmt.Errorf("not base64url: %w", ErrForm)
		}
		out = append(out, fmt.Sprintf("%q", text))
	}
	return fmt.Sprintf("header %s\nclaims %s\nsignature not checked", out[0], out[1]), nil
}
