package cwt

import "github.com/latchkey-ace/latchkey/pop"

// EncodeClaims gives the deterministic claims set alone, with nothing to protect it: for an authorization server's own store,
// and for an answer about a token, whose parameters have the same labels (RFC 9200 §5.9.2).
func EncodeClaims(c *pop.Claims) ([]byte, error) { return encodeClaims(c) }

// ParseClaims reads a claims set that stands alone. Whether it is authentic its reader knows from where it came. Errors are
// ErrClaims.
func ParseClaims(data []byte) (*pop.Claims, error) { return parseClaims(data) }
