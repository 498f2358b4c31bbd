package coapapi

import "time"

// Bounds of the face.
const (
	minLifetime = 5 * time.Second // of a registration: shorter than any NAT binding, and no flood of registrations
	maxLifetime = 24 * time.Hour  // a battery lock calls once a day

	maxPayload = 4096 // bytes of an assembled request; the longest honest one has under 1 KiB
)
