package playintegrity

import "time"

const (
	// DefaultMaxAge is how old a verdict may be: a person with a slow connection, and no more.
	DefaultMaxAge = 2 * time.Minute
	// MaxAhead is by how much Google's clock may be ahead of ours.
	MaxAhead = 10 * time.Second

	maxPackage = 256             // bytes: the longest name of a package that Android installs, rounded up
	maxBound   = 500             // bytes: Google takes hashes of at most 500 (requestHash) and nonces that are no longer
	maxWord    = 64              // bytes: the longest word of a verdict has 23
	maxLabels  = 16              // Google knows four labels of phones
	maxDigests = 16              // certificates that an app is signed with; more than one where they were rotated
	maxMillis  = 253402300799999 // the last millisecond of the year 9999
	maxRelease = 1<<63 - 1       // version codes are of 64 bits
)
