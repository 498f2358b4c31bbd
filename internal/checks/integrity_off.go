//go:build nocheck_integrity

package checks

// Integrity is switched off in this test-only build.
const Integrity = false
