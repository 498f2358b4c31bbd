package jose

// Bounds of what is read and written.
const (
	// MaxToken is the length in bytes of the longest JWT: four times a full token with cnf.jwe, and less than the
	// smallest header limit of common HTTP servers.
	MaxToken = 4096
	// MaxJWE is the length of the longest cnf.jwe: more than twice the longest that EncryptKey makes.
	MaxJWE = 1024
	// MaxKeyID is the length of the longest header kid: a base64url SHA-256 thumbprint fits.
	MaxKeyID = 64

	maxDepth   = 4                 // levels of JSON objects and arrays: claims, cnf, jwk and one more for claims of others
	maxText    = 1024              // bytes of iss, sub, aud, client_id, each
	maxID      = 64                // bytes of jti and cnonce, decoded
	maxDate    = 253402300799      // 9999-12-31T23:59:59Z, the last second that dates of RFC 3339 can say
	maxSeconds = 100 * 365 * 86400 // exi: longer than any lock lives, and far from overflowing a time.Duration
	maxEpoch   = 1<<53 - 1         // the largest integer that every JSON reader takes unchanged (RFC 8259 §6)
	coordinate = 32                // bytes of a P-256 coordinate
	maxRecvID  = 8                 // bytes of the key's kid, an OSCORE id (D8)
)
