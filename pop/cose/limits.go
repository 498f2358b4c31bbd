package cose

const (
	// MaxKeyID is the longest key id in bytes; the published examples use names of 36.
	MaxKeyID = 64

	maxHeaders = 16 // parameters in one bucket; the registry has not many more that could stand together
	maxKeyOps  = 10 // RFC 9052 §7.1 defines ten operations

	// A key of less than 128 bits can be searched; none of our algorithms takes more than 512.
	minSecret = 16
	maxSecret = 64
)
