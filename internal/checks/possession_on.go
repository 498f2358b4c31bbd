//go:build !nocheck_possession

package checks

// Possession: a request shows the token's key (RFC 9203 §4.3).
const Possession = true
