package keyattest

const (
	// maxCertificates: phones send four or five, from leaf to root; more are chains of attest keys, which are refused anyway.
	maxCertificates = 6
	// maxChainBytes: a chain of five with an RSA-4096 root has about 4 KiB; the room above is for longer names and boot hashes.
	maxChainBytes = 16 << 10
	// maxChallenge is what Android lets an app ask for.
	maxChallenge = 128
	// maxAppID: keystore cuts an attestationApplicationId at 1024 bytes.
	maxAppID = 1024
	// maxBytes bounds every other OCTET STRING (unique id, boot key and hash); all of them are hashes.
	maxBytes = 64
	// maxEntries bounds an authorization list; the schema of version 400 knows fewer than 60 tags.
	maxEntries = 64
	// maxPurposes: KeyMint knows eight.
	maxPurposes = 8
	// maxPackage is the longest name of a package that Android installs, rounded up.
	maxPackage = 256
	// RSA keys outside of these sizes are either weak or cost too much to check; Google's roots have 4096 bits.
	minRSABits, maxRSABits = 2048, 4096
	// maxStatusBytes: Google's list had well under 1 MiB in its first eight years.
	maxStatusBytes = 4 << 20
	// maxSerialHex: RFC 5280 §4.1.2.2 allows 20 octets.
	maxSerialHex = 40
)
