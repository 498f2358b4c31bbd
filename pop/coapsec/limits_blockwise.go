package coapsec

// Bounds of block-wise transfer beside those of uploads in limits.go.
const (
	// defaultMaxAnswer is the longest answer that a server divides: a revocation list of 200 tokens, or a day of a lock's log.
	defaultMaxAnswer = 8192
	// defaultMaxDownload is what a client puts together. It trusts the server it asked more than a server trusts its peers.
	defaultMaxDownload = 1 << 16
	// defaultMaxUnfragmented is MAX_UNFRAGMENTED_SIZE of RFC 8613 §4.1.3.4.2. Longer bodies go in inner blocks.
	defaultMaxUnfragmented = 4096
	// outerTotal bounds the protected messages that proxies send in pieces: nobody has shown a key for them yet.
	outerTotal = 1 << 18
	// maxBlockNumber is where the numbers of blocks end (RFC 7959 §2.2: 20 bits).
	maxBlockNumber = 1<<20 - 1
	// etagLength tells the bodies of one resource apart; a longer tag would be in every block (RFC 9175 §3.7).
	etagLength = 8
	// maxBlockOptions are the bytes of ETag, Block2, Block1 and Size2 in the first block of an answer, at most.
	maxBlockOptions = 9 + 5 + 4 + 5
	// maxEnvelope is what a datagram has beside the response inside: header and token, OSCORE option, code, tag of 16 bytes.
	maxEnvelope = 64
	// maxRestarts is how often a client begins a download again because the resource has changed meanwhile.
	maxRestarts = 2
)
