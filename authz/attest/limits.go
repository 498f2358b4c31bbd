package attest

import "time"

// Bounds of what can be asked.
const (
	MinAge = 10 * time.Second // less than a round trip with a clock that is 10 s off
	MaxAge = time.Hour        // no attestation lives longer
)
