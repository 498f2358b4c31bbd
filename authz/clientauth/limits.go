package clientauth

import "time"

// Bounds of assertions, each with its reason.
const (
	MaxLife = 5 * time.Minute  // from now to exp: how long a stolen assertion that was not used is worth something
	Skew    = 10 * time.Second // FAPI 2.0 §5.3.2.1: iat and nbf up to 10 s ahead are taken, 60 s are not

	// keepAfter is how long a spent jti is remembered beyond exp: nodes' clocks differ, and a set clock may go back.
	keepAfter = time.Minute
	// challengeKept is how long a spent challenge is remembered: longer than a face takes one.
	challengeKept = 10 * time.Minute
	maxSeen       = 4096 // attestations that are known to be signed well, under 2 KiB each: the phones of some minutes
	maxCerts      = 32   // certificates of one client that are compared: as many as a key set has keys
)
