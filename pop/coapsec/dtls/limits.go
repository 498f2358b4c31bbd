package dtls

import "time"

// Bounds of what peers, proven or not, can make an endpoint hold.
const (
	// defaultIdle is for locks and sensors that report once or twice a day. Connection IDs and MaxSessions make long
	// lives harmless: an idle association costs memory and nothing else.
	defaultIdle = 36 * time.Hour
	// defaultMaxSessions keeps the server's associations below about 48 MiB: each is four goroutines and 20 KiB of heap,
	// nearly all the engine's.
	defaultMaxSessions = 1024
	// maxPerSession is how many associations one key may hold: a client that lost its memory, or runs twice, needs a few;
	// one that opens more displaces its own, never those of others.
	maxPerSession = 4

	// defaultMaxHandshakes is what a flood can keep busy at once, about 12 MiB.
	defaultMaxHandshakes = 256
	// handshakeShare is the part of the proven handshakes that one IPv4 address or one IPv6 link may hold: one host is no
	// reason to turn others away, and whole houses share an address.
	handshakeShare = 4
	// handshakeTimeout covers four retransmissions of a flight (1, 2, 4 and 8 s; RFC 6347 §4.2.4.1).
	handshakeTimeout = 20 * time.Second
	// maxHandshakeBytes is what one handshake may send: the longest identity, retransmitted four times, and its records.
	maxHandshakeBytes = 32 << 10
	// greyBits makes a flood of 10,000 invented addresses per second look known 8 times in 100, in 2 * 128 KiB.
	greyBits = 1 << 20
	// greyLifetime lets a client's first two retransmissions come, after 1 and 3 s.
	greyLifetime = 4 * time.Second

	// maxIdentity holds an access token as psk_identity (RFC 9202 §3.3.2).
	maxIdentity = 4096
	// minKey is 128 bits: whoever has seen a handshake can try short keys one after the other.
	minKey = 16

	// maxDatagram is the longest UDP datagram looked at: the longest message and its record, or a handshake flight.
	maxDatagram = 4096
	// maxMessage is the longest CoAP message, as in coapsec.
	maxMessage = 2048
	// maxQueued datagrams wait for one association; more are lost as on the network.
	maxQueued = 64
	// readErrorPause keeps a broken socket from taking a processor.
	readErrorPause = 10 * time.Millisecond
	// maxReadErrors is how often in a row a socket or an association may fail before it is given up.
	maxReadErrors = 16
)
