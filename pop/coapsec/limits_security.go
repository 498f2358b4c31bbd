package coapsec

import "time"

// Bounds of the security layer.
const (
	// EchoLifetime is how long an Echo proves freshness (D15): longer than a slow radio round trip, shorter than the time
	// it takes to walk away from a door.
	EchoLifetime = 5 * time.Second
	// echoSize in bytes: time, number and MAC. 64 bits cannot be guessed within EchoLifetime (RFC 9175 §2.3, appendix A).
	echoSize = 8 + 2 + echoMAC
	echoMAC  = 8
	// maxEcho is the longest value RFC 9175 §2.2.1 allows; a peer's own may be of any length up to it.
	maxEcho = 40
	// MaxSpentEchoes is the number of values remembered as spent, for one EchoLifetime each; beyond it none is good.
	MaxSpentEchoes = 16384
	// MaxEchoRepeats is how often a client repeats a request with a new Echo (D15).
	MaxEchoRepeats = 4

	// reachabilityWindow is what the age of an address's proof is counted in: one is good for one to two of them. That is
	// longer than a download in small blocks takes, and shorter than addresses are usually given to someone else.
	reachabilityWindow = time.Minute
	// reachabilityEcho in bytes. With it a challenge is at most three times as long as the shortest request, and 48 bits are
	// more guesses than it would take to send the victim as many bytes directly.
	reachabilityEcho = 6

	// MaxLostExchanges in a row without a verified answer make a channel renew its context (D1).
	MaxLostExchanges = 3
	// maxDiagnostic bounds the text taken from an unprotected answer, which anyone may have written.
	maxDiagnostic = 64
)
