//go:build !nocheck_revocation

package checks

// Revocation: a revoked token ends (RFC 9770 §10).
const Revocation = true
