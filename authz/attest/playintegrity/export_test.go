package playintegrity

import (
	"testing"
	"time"
)

// Door is the app that verdicts are of.
const Door = packageName

// Now is when they are made.
var Now = now

// Google makes verdicts for tests outside of the package.
type Google struct{ g *google }

// NewGoogle makes one with its keys.
func NewGoogle(t testing.TB) (*Google, *Verifier) {
	g := newGoogle(t)
	return &Google{g}, g.verifier()
}

// Claims are those of a genuine app on a good phone.
func Claims(bound string, at time.Time) map[string]map[string]any {
	c := claims()
	c["requestDetails"]["requestHash"], c["requestDetails"]["timestampMillis"] = bound, millis(at)
	return c
}

// Verdict is a token of claims.
func (g *Google) Verdict(t testing.TB, claims any) string { return g.g.verdict(t, claims) }
