package cwt

import "math"

const (
	// MaxToken is the longest token in bytes: 16 rights on paths of 64 bytes with every other claim, nested and with
	// an Encrypted_COSE_Key to a public key, stay below it.
	MaxToken = 2048

	maxText      = 255            // bytes of iss, sub, aud; a URL fits
	maxID        = 64             // bytes of cti; ours has 16
	maxCNonce    = 64             // bytes; an Echo value, which a cnonce may be, has at most 40 (RFC 9175 §2.2.1)
	maxSeconds   = 253402300799   // the last second of year 9999
	maxExpiresIn = math.MaxUint32 // seconds
	maxProfile   = math.MaxUint16 // ACE profiles (RFC 9200 §8.8) are numbered from 1
	maxMaterial  = 64             // bytes of an OSCORE master secret, salt or context id
	minSecret    = 16             // bytes of an OSCORE master secret: 128 bits
	maxInputID   = 16             // bytes of an OSCORE input material id; ours have at most 8
	maxOnce      = 16             // indexes; a scope has at most aif.MaxEntries
	minAlgorithm = math.MinInt32  // algorithm numbers are small; what is beyond is no algorithm
	maxAlgorithm = math.MaxInt32
	maxUnknown   = 32            // claims without a field of ours; what lies in one token has few
	scanDepth    = 4             // levels that the fast reader follows, well within wire.MaxDepth; deeper ones it leaves to wire
	maxLayers    = 3             // a signature, a MAC and an encryption around one another
	maxKeyName   = 8             // bytes of a possession key's id (D7)
	maxEpoch     = math.MaxInt64 // so that every store keeps it as an integer
)
