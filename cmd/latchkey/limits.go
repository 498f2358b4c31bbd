package main

import "time"

// Bounds of the server as a program.
const (
	adminTime = 30 * time.Second // of a command through the operator's socket; it covers a revocation that waits for the lock

	requestTime  = 50 * time.Second // for the work of one HTTP request; its answer must be written within a minute
	readyTime    = time.Second      // for the store to answer /readyz
	firstPause   = time.Second      // before a store that is not available is tried again; doubled each time
	longestPause = 10 * time.Second

	checkTime       = 5 * time.Second        // for a check of latchkey doctor that asks somebody
	clockSample     = 200 * time.Millisecond // in which a clock that is set by steps shows it
	clockDrift      = 20 * time.Millisecond  // NTP slews by less than a thousandth of the sample
	clockStep       = time.Hour              // as authz.ErrClockStepped
	longestMetadata = 64 << 10               // bytes; ours has under 4 KiB
	diskFull        = 64 << 20               // bytes: four logs of SQLite
	diskLow         = 1 << 30                // bytes: time to see to it
	fewFiles        = 1000

	garbage = 300 // percent: some 50 MiB at the busiest, for a tenth less work than Go's own 100; GOGC overrides

	maxNote = 64 // bytes of what an invitation is for, as the audit log keeps it

	longestLogged = 4096 // bytes of one logged value; a stack of calls may be cut

	certificateCheck = time.Hour // between looks at the certificate's end, which is warned of in days

	shortestLife = 30 * time.Second // of tokens: they must outlive the way to the door
	longestDrain = 10 * time.Minute // no request takes that long
	longestDelay = 5 * time.Minute  // before the doors close; load balancers ask every few seconds
)
