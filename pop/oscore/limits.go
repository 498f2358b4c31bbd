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
	// MaxID follows from the longest nonce: 13 − 6 bytes (RFC 8613 §5.2). With AES-GCM, whose nonce has 12, it is 6.
	MaxID = 7
	// MaxIDContext keeps the OSCORE option below the 255 bytes that CoAP allows it.
	MaxIDContext = 128

	// MaxSequence is the largest number that fits the five bytes of a Partial IV (RFC 8613 §7.2.1).
	MaxSequence = 1<<40 - 1
	// MaxPartialIV is the length of MaxSequence in bytes.
	MaxPartialIV = 5
	// MaxEncryptions bounds the own sender sequence numbers, and with them what one key encrypts (q of
	// draft-ietf-core-oscore-key-limits, which recommends 2^20 for messages of 2^8 blocks): each own number encrypts once, a
	// peer's number below the bound at most once more, and a request with a higher one is answered under an own number. So a
	// key encrypts 2^25 messages at most, and no restart forgets how many. Were each of the longest kind, 2^12 blocks, an
	// attacker would tell CCM or GCM from an ideal cipher with probability 2^-52 (l²q²/2^126). Then the context is
	// exhausted: at a message a second after half a year.
	MaxEncryptions = 1 << 24

	// maxFailuresShortTag is v of the same draft for 8-byte tags: one of so many forgeries is accepted with probability 2^-44.
	// It is not lower because anybody who can send may use it up, which at a thousand datagrams a second takes 17 minutes
	// and costs the peer one new context.
	maxFailuresShortTag = 1 << 20
	// maxFailuresLongTag is v for 16-byte tags: the bound is then the l²(q+v)² term, 2^-46 for the longest messages.
	maxFailuresLongTag = 1 << 28
	// ReserveBatch is K of appendix B.1.1: one durable write for so many messages. A restart skips at most so many numbers.
	ReserveBatch = 64
	// WindowSize is the default of RFC 8613 §3.2.2; a request more than so many numbers behind the newest is refused.
	WindowSize = 32

	// MaxCandidates is how many contexts a request without kid context is tried against, so that nobody can make one
	// datagram cost more than so many decryptions (RFC 8613 §12.2).
	MaxCandidates = 4

	// RenewalNonce is the length of R1, R2 and R3 in bytes, at least 8 by appendix B.2.
	RenewalNonce = 8
	// MaxRenewals bounds the R2 values a Responder remembers. The oldest gives way, because refusing new ones would let
	// sixteen replayed requests lock the rightful peer out for RenewalLifetime.
	MaxRenewals = 16
	// RenewalLifetime is how long request #2 may follow response #1: MAX_TRANSMIT_SPAN of 45 s and the way there.
	RenewalLifetime = 60 * time.Second
)
