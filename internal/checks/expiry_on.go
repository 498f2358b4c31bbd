//go:build !nocheck_expiry

package checks

// Expiry: a token ends (RFC 9200 §5.10.1.1).
const Expiry = true
