package postgres

import "time"

// Bounds of the PostgreSQL engine, each with its reason.
const (
	maxConnections = 16               // more gain nothing from one server process and cost PostgreSQL memory; callers queue
	maxTries       = 10               // of a transaction that PostgreSQL asks to repeat
	firstPause     = time.Millisecond // before the second try; doubled each time, halved at random
	connectTime    = 5 * time.Second  // to get a connection, unless the URL says otherwise; a server that is up answers in milliseconds
	sharedWait     = time.Second      // mints that share a transaction wait no longer for a lock that one of them needs; then each is alone
	longestWrite   = 30 * time.Second // a transaction that waits longer for a row lock gives up
)
