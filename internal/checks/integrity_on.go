//go:build !nocheck_integrity

package checks

// Integrity: an AEAD tag fits (RFC 5116 §2.2).
const Integrity = true
