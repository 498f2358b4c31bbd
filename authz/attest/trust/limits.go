package trust

import "time"

// Bounds of an attester's keys, each with its reason.
const (
	FreshFile = 5 * time.Second  // a file is looked at again as soon as its owner would expect
	FreshURL  = 5 * time.Minute  // so long a withdrawn key may still count; as authz.KeySetLife
	MaxStale  = time.Hour        // how long an attester may be away before nobody counts for whom it vouched: attestation.MaxLife
	Pause     = 2 * time.Second  // between two tries, whatever tokens name
	PauseAway = 15 * time.Second // and after one that failed: while an attester is away, nobody waits for it again and again
	FetchTime = 3 * time.Second  // a request waits no longer
	maxFile   = 64 << 10         // bytes of the file of attesters
	minSecret = 32               // bytes of a shared secret (RFC 7518 §3.2)
	playKey   = 32               // bytes of the key that Google Play encrypts with (A256KW)
	maxPlay   = 5 * time.Minute  // age of a verdict: a challenge lives no longer
)
