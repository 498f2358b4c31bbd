package aif

// Bounds of every set of rights that is parsed or encoded.
const (
	// MaxEntries is one scope's share of a 256-byte Bluetooth block, and more doors than one device has.
	MaxEntries = 16
	// MaxPath is the length in bytes of the longest path; every lock keeps it in a fixed row of its store.
	MaxPath = 64
	// MaxText is the longest text form: 16 entries of 64 bytes with all 14 method names.
	MaxText = MaxEntries * (MaxPath + 160)
)
