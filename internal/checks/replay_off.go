//go:build nocheck_replay

package checks

// Replay is switched off in this test-only build.
const Replay = false
