//go:build nocheck_rights

package checks

// Rights is switched off in this test-only build.
const Rights = false
