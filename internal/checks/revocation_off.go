//go:build nocheck_revocation

package checks

// Revocation is switched off in this test-only build.
const Revocation = false
