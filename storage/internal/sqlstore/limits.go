package sqlstore

import "time"

// Bounds of the store, each with its reason.
const (
	clockStep      = time.Hour            // D4: a clock further behind the newest stored value stops minting
	clientKeyLife  = 400 * 24 * time.Hour // D9: how long a key made by a client stays known
	clientKeyAfter = 30 * 24 * time.Hour  // D9: and at least this long past the last token with it
	unusedCodeLife = 24 * time.Hour       // an expired code says nothing any more; a day helps who reads the tables
	tombstoneLife  = 400 * 24 * time.Hour // D20: a replay is recognised as long as a token from the code may live (366 days)
	maxAuditTail   = 10_000               // entries read at once
)

// Tables that hold sealed columns, as their associated data names them (D3).
const (
	tableMeta        = "meta"
	tableClients     = "clients"
	tableDevices     = "devices"
	tableSigningKeys = "signing_keys"
)
