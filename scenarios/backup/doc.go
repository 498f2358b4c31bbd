// Package backup plays docs/backup.md with the real programs: a house whose server's disk dies, and upgrades. It has tests
// only.
package backup
