package coapsec

import "time"

// Datagrams.
const (
	// maxDatagram is what fits an Ethernet frame with IPv4 and UDP headers; IP fragments are lost too often to rely on.
	maxDatagram = 1472
	// maxReceived is generous to peers with larger links; longer datagrams are dropped unread.
	maxReceived = 2048
	// maxReadErrors is how often in a row the socket may fail before Serve gives it up.
	maxReadErrors = 16
)

// Transmission parameters of RFC 7252 §4.8.
const (
	defaultAckTimeout = 2 * time.Second
	maxTransmissions  = 5 // MAX_RETRANSMIT 4 and the first one
	exchangeLifetime  = 247 * time.Second
	maxTransmitWait   = 93 * time.Second
	// defaultAckDelay is PROCESSING_DELAY kept below ACK_TIMEOUT, so that a slow handler causes no retransmission.
	defaultAckDelay = time.Second
)

// maxAliases bounds the peers of a connection without IP addresses; as many as are remembered for duplicates.
const maxAliases = maxRemembered

// Work in progress.
const (
	// maxRunning bounds the handlers at work. Each may wait for storage or another device for seconds.
	maxRunning = 512
	// maxRunningPerPeer leaves room for others; RFC 7252 §4.7 asks peers for one outstanding request.
	maxRunningPerPeer = 64
	// maxResting is how many workers wait for the next request, their stacks grown already, instead of ending.
	maxResting = 16
	// usualOptions is room for the options of a request that needs no memory of its own.
	usualOptions = 4
	// maxSeparate bounds the separate responses being retransmitted; the rest is sent once.
	maxSeparate = 128
	// maxPending bounds our own requests and observations under way.
	maxPending = 4096
	// maxTurns bounds those that wait until the peer they are for has answered another (NSTART).
	maxTurns = 256
	// messageIDCounters is the number of counters that peers share by hash. A counter repeats a value after 65,536
	// messages, so within EXCHANGE_LIFETIME 1,024 of them allow 270,000 messages per second over all peers.
	messageIDCounters = 1024
)

// Deduplication. Entries are forgotten in the order they were made, by age, by count and by bytes.
const (
	// maxRemembered covers 66 requests per second over the whole EXCHANGE_LIFETIME, and 350 over MAX_TRANSMIT_SPAN (45 s).
	maxRemembered = 16384
	// maxRememberedPerPeer keeps one peer from pushing out the others; it covers 2.8 requests per second over 45 s.
	maxRememberedPerPeer = 128
	// maxRememberedBytes bounds the stored answers: 512 bytes each at full count.
	maxRememberedBytes = 8 << 20
	// maxSpare is how much room for entries and peers is kept for those to come.
	maxSpare = 1024
	// maxForgottenAtOnce bounds what one datagram pays for the expiry of others; each adds at most one entry.
	maxForgottenAtOnce = 4
)

// maxAmplification is how much longer an unprotected answer may be than its request (RFC 9175 §2.6): who asked is not
// known to be at that address.
const maxAmplification = 3

// Observing (RFC 7641).
const (
	// maxObservations bounds the clients' observations that an endpoint keeps. Each may have a notification under way.
	maxObservations = 4096
	// maxObservationsPerPeer is generous to a gateway, and little to whoever claims to be at another's address.
	maxObservationsPerPeer = 16
	// maxQueued is how many notifications wait for a slow receiver; of more, the oldest go, being out of date.
	maxQueued = 16
	// observeBits is the length of the value of Observe (RFC 7641 §2).
	observeBits = 24
	// maxReordering is how long a notification can be on its way (RFC 7641 §3.4).
	maxReordering = 128 * time.Second
)

// Block-wise uploads (RFC 7959).
const (
	// defaultMaxBody holds the longest token with key material that a device takes, four times over.
	defaultMaxBody = 4096
	// defaultBodyTotal is split evenly: unprotected uploads cannot displace protected ones.
	defaultBodyTotal = 1 << 20
	// defaultBodyLifetime is how long an upload may stand still.
	defaultBodyLifetime = 60 * time.Second
	// uploadOverhead is charged for each upload beside its bytes: keys, list elements, map entries.
	uploadOverhead = 512
	// maxBlockExponent stands for blocks of 1024 bytes; 7 is reserved over UDP (RFC 7959 §2.2).
	maxBlockExponent = 6
	// requestTagLength makes tags of one client differ (RFC 9175 §3.2.1: 0 to 8 bytes).
	requestTagLength = 8
)
