//go:build !nocheck_once

package checks

// Once: a once-grant opens once (D14).
const Once = true
