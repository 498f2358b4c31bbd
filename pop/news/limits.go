package news

import "math"

const (
	// MaxSize is the most bytes of sealed news or of a sealed receipt: what a device keeps in memory for one body.
	MaxSize = 4096
	// MaxItems is the most items of one piece of news.
	MaxItems = 16
	// MaxHashes is the most token hashes of one item; several items may follow each other, up to MaxSize.
	MaxHashes = 32
	// MaxEntries is the most log entries of one receipt or one answer of the log: about 1 KiB, one block of CoAP.
	MaxEntries = 32
	// NoAction stands in Entry.Action for what is about no action; actions have lower indexes.
	NoAction = 255

	maxNumber  = math.MaxInt64 // sequences, epochs, numbers: every store keeps them as signed integers
	maxSeconds = 253402300799  // the last second of year 9999
)
