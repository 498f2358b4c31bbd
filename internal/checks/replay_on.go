//go:build !nocheck_replay

package checks

// Replay: a partial IV is new (RFC 8613 §7.4).
const Replay = true
