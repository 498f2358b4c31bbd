package oscore

import "time"

// Bounds of this package.
const (
	// MinMasterSecret is 128 bits, the strength of the AEAD; a shorter secret would be the weakest part.
	MinMasterSecret = 16
	// MaxMasterSecret is what HMAC-SHA-256 takes without hashing first.
	MaxMasterSecret = 64
	// MaxMasterSalt holds three byte strings of RFC 9203 with room to spare.
	MaxMasterSalt = 256
	// MaxID follows from the nonce: 13 − 6 bytes (RFC 8613 §5.2).
	MaxID = 7
	// MaxIDContext keeps the OSCORE option below the 255 bytes that CoAP allows it.
	MaxIDContext = 128

	// MaxSequence is the largest number that fits the five bytes of a Partial IV (RFC 8613 §7.2.1).
	MaxSequence = 1<<40 - 1
	// MaxPartialIV is the length of MaxSequence in bytes.
	MaxPartialIV = 5
	// ReserveBatch is K of appendix B.1.1: one durable write for so many messages. A restart skips at most so many numbers.
	ReserveBatch = 64
	// WindowSize is the default of RFC 8613 §3.2.2; a request more than so many numbers behind the newest is refused.
	WindowSize = 32

	// RenewalNonce is the length of R1, R2 and R3 in bytes, at least 8 by appendix B.2.
	RenewalNonce = 8
	// MaxRenewals bounds the R2 values a Responder remembers. The oldest gives way, because refusing new ones would let
	// sixteen replayed requests lock the rightful peer out for RenewalLifetime.
	MaxRenewals = 16
	// RenewalLifetime is how long request #2 may follow response #1: MAX_TRANSMIT_SPAN of 45 s and the way there.
	RenewalLifetime = 60 * time.Second
)
