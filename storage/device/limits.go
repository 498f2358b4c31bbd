package device

const (
	// MaxState is the longest state file read: five times a full device, so that a damaged length does not exhaust memory.
	MaxState = 1 << 20
	// MaxSecret is the longest secret file read; a provisioning file has less than 4 KiB.
	MaxSecret = 64 << 10
)
