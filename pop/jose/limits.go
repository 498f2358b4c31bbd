package jose

import "time"

// Bounds of what is read and written.
const (
	// MaxToken is the length in bytes of the longest JWT: four times a full token with cnf.jwe, and less than the
	// smallest header limit of common HTTP servers.
	MaxToken = 4096
	// MaxJWE is the length of the longest cnf.jwe: more than twice the longest that EncryptKey makes.
	MaxJWE = 1024
	// MaxKeyID is the length of the longest header kid: a base64url SHA-256 thumbprint fits.
	MaxKeyID = 64

	// MaxForeign is the length of the longest JWT of another party: what the header limits of common HTTP servers leave.
	MaxForeign = 8192
	// MaxWrapped is the length of the longest JWE whose key is wrapped: MaxForeign bytes of a signed token within, which base64
	// makes a third longer, and room for a header with a kid.
	MaxWrapped = 12 << 10
	// MaxSet is the length of the longest JWK Set that is read: MaxSetKeys RSA keys with certificates, which are ignored.
	MaxSet = 65536
	// MaxSetKeys is how many keys a set may list, used or ignored: a few issuers' worth, with rotation.
	MaxSetKeys = 32

	// The window of iat in DPoP proofs. FAPI 2.0 takes clocks up to 10 s ahead and refuses what is 60 s off.
	DefaultProofAge   = 60 * time.Second
	DefaultProofAhead = 10 * time.Second
	// MaxProofAge bounds both: what is longer makes a replay store large and a stolen proof useful.
	MaxProofAge = 10 * time.Minute

	maxProof   = 4096 // bytes of a DPoP proof: an htu of 2,048 bytes and an ES384 key
	minProofID = 8    // bytes of jti: less cannot be unique (RFC 9449 §4.2 asks for 96 random bits, in any spelling)
	maxProofID = 128  // bytes of jti: a UUID or a hash in hex, twice

	maxForeignDepth = 8    // levels in the JWTs and key sets of others; authorization_details and introspection need 5
	maxForeignText  = 2048 // bytes of one text of another party: a URL (htu) may be long
	maxForeignID    = 255  // bytes of a kid or jti of another party
	maxAudiences    = 8    // entries of aud
	maxOther        = 64   // claims without a field; RFC 9068 tokens with profile claims have about 20
	maxKey          = 8192 // bytes of one JWK, with a certificate chain that is ignored
	minSecret       = 32   // bytes of an HS256 key (RFC 7518 §3.2)
	maxSecret       = 64   // bytes: one block of SHA-256, beyond which HMAC would hash the key first

	maxDepth   = 4                 // levels of JSON objects and arrays: claims, cnf, jwk and one more for claims of others
	maxText    = 1024              // bytes of iss, sub, aud, client_id, each
	maxID      = 64                // bytes of jti and cnonce, decoded
	maxDate    = 253402300799      // 9999-12-31T23:59:59Z, the last second that dates of RFC 3339 can say
	maxSeconds = 100 * 365 * 86400 // exi: longer than any lock lives, and far from overflowing a time.Duration
	maxEpoch   = 1<<53 - 1         // the largest integer that every JSON reader takes unchanged (RFC 8259 §6)
	coordinate = 32                // bytes of a P-256 coordinate
	maxRecvID  = 8                 // bytes of the key's kid, an OSCORE id (D8)
)
