package attestation

import "time"

// Bounds of attestations and proofs, each with its reason.
const (
	MaxHeader = 8 << 10          // bytes of either header: what common HTTP servers leave
	MaxLife   = time.Hour        // from now to exp of an attestation: it is used again and again, so its life is its freshness
	ProofAge  = 60 * time.Second // how old a proof may be, as a DPoP proof
	Ahead     = 10 * time.Second // how far clocks may differ (FAPI 2.0 §5.3.2.1)

	minID = 8   // bytes of jti: less cannot be unique
	maxID = 128 // bytes of jti: a hash in hex, twice
)
