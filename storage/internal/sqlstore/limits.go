package sqlstore

import "time"

// Bounds of the store, each with its reason.
const (
	clockStep        = time.Hour            // D4: a clock further behind the newest stored value stops minting
	clientKeyLife    = 400 * 24 * time.Hour // D9: how long a key made by a client stays known
	clientKeyAfter   = 30 * 24 * time.Hour  // D9: and at least this long past the last token with it
	codeAfter        = 24 * time.Hour       // an expired code says nothing any more; a day helps who reads the tables
	tombstoneLife    = 48 * time.Hour       // D20: a replay is recognised so long, and as long as what came from the code may live
	deviceCodeAfter  = 24 * time.Hour       // as codeAfter; tokens from device codes end with their family or grant
	grantHistory     = 90 * 24 * time.Hour  // how long owners can look up what has ended
	updateLife       = 30 * 24 * time.Hour  // a requester of the revocation list that was away longer asks for all of it
	slowDown         = 5                    // seconds (RFC 8628 §3.5)
	maxPace          = 300                  // seconds between polls at most; a device code lives no longer
	closeTime        = 5 * time.Second      // for the last notes of the audit chains; a store that is busy is closed without
	maxSweep         = 10_000               // rows removed from a table when a store is opened
	endAtOnce        = 1000                 // tokens ended in one transaction, alone at the gate: some 50 ms in which nothing is minted
	tokensPerMessage = 12                   // 24 hashes: a message to a device is one datagram
	hashSize         = 33                   // a token hash (RFC 9770 §4)
	noteEvery        = 64                   // groups of an audit chain between two notes of its head: what may be cut off unseen
	adoptAtOnce      = 100                  // entries of before there were chains in one group, so that it can be pruned
	chainIDSize      = 8                    // random bytes that make chains of a restored store differ
	pageSize         = 1000                 // audit entries read at a time when all are verified
	recoverAhead     = time.Minute          // D4 after a restore: clocks of nodes differ by less, so nothing given out is that far ahead
	maxAuditTail     = 10_000               // entries read at once
	maxKnown         = 1024                 // rows of a kind in memory: the parties of a busy minute, a few MB
	markTime         = 5 * time.Second      // to read how far the database has come, which takes milliseconds
	maxTogether      = 64                   // mints in one transaction: bounds what the first of them waits for the last
)

// Tables that hold sealed columns, as their associated data names them (D3).
const (
	tableMeta        = "meta"
	tableClients     = "clients"
	tableDevices     = "devices"
	tableSigningKeys = "signing_keys"
	tableTokens      = "tokens"
	tableFamilies    = "families"
)
