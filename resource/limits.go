package resource

import "time"

// Bounds of what a device keeps and how long. Everything that strangers can make grow has one.
const (
	// MaxSessions is the number of accepted tokens kept at once: more phones than one door sees between two sweeps.
	MaxSessions = 64
	// MaxOfGrant is the number of sessions of one grant, and of its running exi tokens with which it may crowd out others': a
	// guest with many tokens must leave room.
	MaxOfGrant = 16
	// MaxUnconfirmed is the number of contexts, in all, that nobody has used yet (D18). /authz-info is open to anyone who
	// holds a token, so the oldest makes room for the next.
	MaxUnconfirmed = 8
	// MaxCounts is the number of exi tokens whose time runs. When it is exceeded the lowest sequence number counts as
	// expired, which ends lives early but never late.
	MaxCounts = 128
	// MaxSpent is the number of used-up actions kept (D14). A mark whose token may still live is never dropped for space.
	MaxSpent = 512
	// MaxRevoked is the number of revoked token hashes kept (RFC 9770 §10).
	MaxRevoked = 256
	// MaxLog is the number of access log entries kept, oldest dropped first: weeks of a busy front door, 50 KiB on disk.
	MaxLog = 512
	// MaxLogBatch is the number of entries of one answer: 32 entries of 30 bytes stay below one 1,024-byte block.
	MaxLogBatch = 32
	// MaxReceiptLog is the number of entries in one receipt, which must fit a phone's courier item (D24).
	MaxReceiptLog = 8
	// MaxNonces is the number of cnonces remembered as used: more tokens than one device takes in NonceLifetime.
	MaxNonces = 256

	// NonceLifetime is how long a cnonce is good: a phone's trip to the authorization server and back (RFC 9200 §5.3).
	NonceLifetime = 5 * time.Minute
	// FreshFor is how old the proof may be that an actuation is asked for now (D15).
	FreshFor = 5 * time.Second
	// Linger is how long a session whose key is dropped still answers "used": EXCHANGE_LIFETIME of RFC 7252 §4.8.2, so
	// that a phone which lost the answer learns what happened (D14).
	Linger = 247 * time.Second
	// RevokedFor is how long the hash of a token that was never seen is kept at least: no app gets a token for longer, but
	// for devices without a clock whose exi is very long.
	RevokedFor = 31 * 24 * time.Hour
	// SpentFor is how long a mark outlives its token, because a grant may outlive its tokens (D3 keeps keys as long).
	SpentFor = 400 * 24 * time.Hour
	// MaxStep is the longest jump of the time or the epoch that is believed without a live authorization server (D16): a
	// single forged or mistaken value must not age every token at once.
	MaxStep = 30 * 24 * time.Hour
	// SaveTimeEvery bounds how much of the lower bound of the time is lost by a power cut (D16).
	SaveTimeEvery = time.Hour
	// AskTime is how long the authorization server has to say what a token is; a phone at the door waits for it.
	AskTime = 5 * time.Second
	// MaxAsking is how many tokens are asked about at a time: a lock has a few visitors, a flood gets 4.29.
	MaxAsking = 4
	// ActionTimeout is what an action gets before its context ends; a bolt that takes longer is jammed.
	ActionTimeout = 30 * time.Second

	// clockDrift is what the device's clock and the server's may differ between two registrations without a write.
	clockDrift = time.Minute
	// nonceSize is the length of N2 (RFC 9203 §4.2 recommends 8), and of the random number and the MAC in a cnonce.
	nonceSize = 8
	// maxPeerID is the longest id that leaves room in an AES-CCM-16-64-128 nonce (RFC 8613 §3.3).
	maxPeerID = 7
	// maxNonce1 is the longest N1 accepted; longer ones only cost storage.
	maxNonce1 = 32
	// maxKeyID is the longest kid of a DTLS key: our server's have 16 bytes, and it travels in each handshake.
	maxKeyID = 32
	// minPSK is the shortest DTLS key: what AES-128 has (D9).
	minPSK = 16
	// idSize is the length of our recipient ids. Two bytes, drawn at random, so that a phone that comes back with a
	// context we dropped meets no context instead of somebody else's.
	idSize = 2
)
