package trl

import "math"

const (
	// MaxUpdates is MAX_N: the updates kept of one collection. Whoever missed more asks for the whole list, which then is
	// not much longer.
	MaxUpdates = 64
	// MaxBatch is MAX_DIFF_BATCH: sixteen updates of one hash each stay below one 1,024-byte block.
	MaxBatch = 16
	// MaxIndex is the largest index and cursor. It is never reached, so that indexes never wrap (D4).
	MaxIndex = math.MaxInt64
	// MaxAnswer bounds an answer that a requester reads, in bytes.
	MaxAnswer = 65536
	// HashSize is the length of a token hash with sha-256, the only one used here.
	HashSize = 33

	maxHashes = MaxAnswer / (HashSize + 2) // of an answer: what fits
)
