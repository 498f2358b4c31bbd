package sqlstore

// Condition is what can be seen of a database from outside.
type Condition struct {
	Engine  string // SQLite or PostgreSQL, with its version
	Version int64  // of the tables
	Known   int64  // newest version of the tables this program knows
	Durable string // "" if commits survive a power cut, else the setting by which they may not
}
