package ace

import "time"

// Bounds of every message, checked on decoding and on encoding.
const (
	// MaxToken is four times the largest token of the tables in docs/wire.md; a lock holds one while it checks it.
	MaxToken = 2048
	// MaxMessage is the longest request or response: a token, a scope and a redirect URI at their bounds.
	MaxMessage = 16384
	// MaxNonce and MinNonce bound N1 and N2. RFC 9203 §4.1 recommends 8 bytes; more than 32 serve nobody.
	MinNonce = 8
	MaxNonce = 32
	// MaxRecipientID is what a nonce of AES-CCM-16-64-128 leaves: 13 − 6 (RFC 8613 §3.3).
	MaxRecipientID = 7
	// MaxCNonce leaves room for the 40 bytes some resource servers send.
	MaxCNonce = 64
	// MaxURIs and MaxURI bound rs_uri and a registration: one address per network interface of a small device.
	MaxURIs = 8
	MaxURI  = 256
	// MaxLifetime keeps expires_in and exi far from overflowing a time.Duration.
	MaxLifetime = 10 * 366 * 24 * time.Hour

	maxName        = 256  // client_id, audience
	maxSecret      = 512  // client_secret, code
	maxAssertion   = 8192 // a JWT of another party, as long as pop/jose reads
	maxResource    = 512  // the URI of an API
	maxVerifier    = 128  // RFC 7636 §4.1
	maxRedirectURI = 2048 // as long as a browser's address may safely be
	maxScope       = 1024 // action names and short paths; binary AIF has its own bound of 16 entries
	maxDetails     = 2048 // authorization_details: one device and its actions
	maxUpload      = 256  // to_rs and from_rs: two nonces and two ids, with room for another profile
	maxTokenHash   = 64   // RFC 9770 §3: 33 bytes for SHA-256
	maxDescription = 256
	maxErrorCode   = 65535 // so that a number never turns into one of our negative codes
	maxInquiry     = 8192  // a token to ask about or to revoke: those for HTTP APIs are longer than MaxToken
	maxDate        = 1 << 40
	maxDepth       = 6 // levels of a JSON text; a request has three
)
