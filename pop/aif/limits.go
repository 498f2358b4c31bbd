package aif

// Bounds of every set of rights that is parsed or encoded.
const (
	// MaxEntries is one scope's share of a 256-byte Bluetooth block, and more doors than one device has.
	MaxEntries = 16
	// MaxPath is the length in bytes of the longest path; every lock keeps it in a fixed row of its store.
	MaxPath = 64
	// MaxText is the longest text form: 16 entries of 64 bytes with all 14 method names.
	MaxText = MaxEntries * (MaxPath + 160)
	// MaxJSON is the longest JSON form that is read: 16 entries, each byte of a path escaped as \u00XX, and room for
	// the number and white space.
	MaxJSON = MaxEntries * (6*MaxPath + 64)

	maxJSONInteger = 1 << 53 // RFC 7493 §2.2; every bit that has a meaning is below
)
