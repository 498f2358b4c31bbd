//go:build nocheck_once

package checks

// Once is switched off in this test-only build.
const Once = false
