package gatt

import "time"

const (
	// DefaultLinks is how many centrals are served at once; small controllers hold about that many connections.
	DefaultLinks = 4
	// IdleLink is how long a central keeps its link without a request when another one wants it: a phone that is in
	// use asks more often, and whoever merely occupies all links must not lock the others out.
	IdleLink = 30 * time.Second
)
