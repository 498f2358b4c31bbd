//go:build nocheck_audience

package checks

// Audience is switched off in this test-only build.
const Audience = false
