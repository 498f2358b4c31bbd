//go:build nocheck_attestation

package checks

// Attestation is switched off in this test-only build.
const Attestation = false
