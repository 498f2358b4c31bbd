package coapapi

import "time"

// Bounds of the face.
const (
	minLifetime = 5 * time.Second // of a registration: shorter than any NAT binding, and no flood of registrations
	maxLifetime = 24 * time.Hour  // a battery lock calls once a day

	retryAfter = 5 // seconds a peer waits for the store to come back (RFC 7252 §5.9.3.4)

	maxPayload = 4096 // bytes of an assembled request; the longest honest one has under 1 KiB
)
