//go:build nocheck_code

package checks

// Code is switched off in this test-only build.
const Code = false
