package backup

// Bounds of the format, each with its reason.
const (
	bufferSize    = 64 << 10 // bytes: a chunk of age, so that writes fill it
	maxLine       = 16 << 20 // bytes of a row: the widest is a client with its keys, far below; bounds what a reader holds
	maxColumns    = 200      // of a table; PostgreSQL allows some more, ours have 30
	maxKeys       = 64       // recipients or identities in a file
	maxKeyFile    = 64 << 10 // bytes of a file of keys: a post-quantum recipient has 2 KB
	minPassphrase = 12       // characters: age's scrypt makes each guess cost a second, not more
	MaxPassphrase = 1024     // bytes read from a terminal or standard input
	workFactor    = 18       // log2 of scrypt's N (age's default): one second
	maxWorkFactor = 22       // what a file may ask of a reader: 16 seconds
)
