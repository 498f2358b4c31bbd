package integrity

import "time"

// Spend uses a token that nobody verified.
func Spend(v *Verifier, token string, until, now time.Time) bool {
	return v.used.spend(token, until, now)
}
