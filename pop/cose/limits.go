package cose

const (
	// MaxKeyID is the longest key id in bytes; the published examples use names of 36.
	MaxKeyID = 64

	// MaxContent is the most that is encrypted, in bytes. Readers take items of at most 64 KiB, headers and recipients
	// included, and AES-CCM with L = 2 no longer messages.
	MaxContent = 1<<16 - 1 - 2048

	maxHeaders = 16 // parameters in one bucket; the registry has not many more that could stand together
	maxKeyOps  = 10 // RFC 9052 §7.1 defines ten operations
	maxBaseIV  = 16 // bytes; no nonce of ours is longer than 13
	maxKeys    = 64 // keys in one set; every point in it costs a check of its curve

	maxRecipients = 16 // recipients of one message, in all layers; each may cost a key agreement before the message is known to be good
	maxSigners    = 16 // signatures of one message; each may cost a verification
	maxLayers     = 2  // recipients within recipients: RFC 9052 appendix B has two, and nobody uses more
	maxPartyInfo  = 64 // bytes of a party's identity, nonce or other, and of a salt; they are names, numbers or hashes

	partyNonceSize = 16 // bytes of the nonce that makes a derived key unique: never twice in 2^48 messages

	// A key of less than 128 bits can be searched; none of our algorithms takes more than 512.
	minSecret = 16
	maxSecret = 64
)
