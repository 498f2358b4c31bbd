package housekeeping

import "time"

// Bounds of housekeeping, each with its reason.
const (
	Every      = time.Minute           // between turns: what piles up in a minute of full speed goes in some seconds
	leaseTurns = 3                     // turns that a lease lasts: two may be missed before another takes over
	batchSize  = 500                   // rows of a table in one transaction: some 10 ms in which nothing is minted
	batchPause = 50 * time.Millisecond // after each batch, so that mints have five sixths of the time
	leaveTime  = 2 * time.Second       // to give the lease back when the server stops
	leaseName  = "housekeeping"
)
