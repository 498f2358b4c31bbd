//go:build !nocheck_rights

package checks

// Rights: nobody gets more than granted (D26).
const Rights = true
