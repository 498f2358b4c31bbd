//go:build !nocheck_audience

package checks

// Audience: a token is for this device (RFC 9200 §5.10.1.1).
const Audience = true
