package coapapi

import "time"

// Bounds of the face.
const (
	minLifetime = 5 * time.Second // of a registration: shorter than any NAT binding, and no flood of registrations
	maxLifetime = 24 * time.Hour  // a battery lock calls once a day

	retryAfter = 5 // seconds a peer waits for the store to come back (RFC 7252 §5.9.3.4)

	maxPayload = 4096 // bytes of an assembled request; the longest honest one has under 1 KiB

	maxAnswer    = 256 << 10       // bytes of a revocation list: 7,000 tokens that were revoked and have not expired
	maxObservers = 4096            // as many as the transport keeps
	lookTime     = time.Second     // between looks at the revocation list, for what other processes put there
	tellTime     = 5 * time.Second // for the store to say what has changed
)
