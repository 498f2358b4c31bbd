package provision

// Bounds of a provisioning file, checked on writing and on reading.
const (
	MaxFile     = 8192 // a factory tool writes the file into one flash sector
	MaxActions  = 16   // as many as one scope has entries (aif.MaxEntries)
	MaxName     = 32   // bytes of an action's name: a word on a phone's button
	MaxURIs     = 8
	MaxURI      = 256
	MaxKeys     = 4 // verification keys: two in use, two announced
	MaxSenderID = 7 // RFC 8613 §3.3 with AES-CCM-16-64-128
	MaxKeyID    = 8 // D7
	MinRoot     = 16
	MaxRoot     = 64
	MaxKey      = 64 // bytes of a derived key
)
