// Package cli has no code, only tests: the real programs against bad input. Each must be refused in one line that names
// what was wrong and what to do, and must change nothing.
package cli
