//go:build nocheck_expiry

package checks

// Expiry is switched off in this test-only build.
const Expiry = false
