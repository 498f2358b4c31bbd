//go:build !nocheck_echo

package checks

// Echo: an actuation is fresh (D15).
const Echo = true
