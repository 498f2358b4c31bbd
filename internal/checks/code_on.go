//go:build !nocheck_code

package checks

// Code: a code is redeemed once (D20).
const Code = true
