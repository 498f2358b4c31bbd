package sqlite

import "time"

// Bounds of the SQLite engine, each with its reason.
const (
	busyTimeout    = 10 * time.Second // how long to wait for another process that writes; its batches take milliseconds
	maxBatch       = 128              // transactions in one commit: bounds what the first of them waits for the last
	checkpointSize = 4000             // pages of write-ahead log (16 MB) before SQLite copies them back: fewer, longer copies
	writerCache    = 16 << 10         // KiB of pages kept by the writer: the rows of a busy evening, so that commits read nothing
	restoreCache   = 64 << 10         // KiB of pages while a backup comes back: its rows are in no index's order
	minReaders     = 4                // connections that read
)
