package delivery

import (
	"time"

	"github.com/latchkey-ace/latchkey/authz"
)

// Bounds of the engine.
const (
	transmissions = 2                // D18: a lock that does not answer two datagrams is not online
	exchangeTime  = authz.UploadTime // for one request, the making of a context included (D18)
	lookupTime    = 2 * time.Second  // for the store to say who a kid is
	blockSize     = 1024             // bytes: a longer payload goes in blocks, each of which fits a datagram (RFC 7959)
	collectTime   = 30 * time.Second // for one round of log pages
	collectPages  = 32               // pages of one round; the device keeps 512 entries, 32 to a page

	pollTime      = time.Second      // between looks into the outbox, for what other processes put there
	batch         = 16               // messages taken at once; with tellersAtOnce all are begun well within leaseTime
	tellersAtOnce = 8                // devices told at a time: nothing is to keep devices that answer from those that do not
	leaseTime     = 30 * time.Second // for a message to be told; one whose taker has died is told by another after it
	firstPause    = 2 * time.Second  // after the first attempt: a lock that was just busy
	longestPause  = time.Hour        // a lock that comes back is told at once, by registering; this is for those that did not notice
)
