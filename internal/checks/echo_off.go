//go:build nocheck_echo

package checks

// Echo is switched off in this test-only build.
const Echo = false
