//go:build nocheck_possession

package checks

// Possession is switched off in this test-only build.
const Possession = false
