//go:build !nocheck_attestation

package checks

// Attestation: an app is the one it says it is (draft-ietf-oauth-attestation-based-client-auth-10).
const Attestation = true
