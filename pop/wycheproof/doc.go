// Package wycheproof runs the test vectors of Project Wycheproof (github.com/c2sp/wycheproof) through pop: through its
// own primitives, and through COSE and JOSE messages where a primitive has no door of its own. It has tests and nothing
// else, and is a module of its own because the vectors are 100 MB that nobody who imports pop should fetch.
//
// A vector has one of three results. Valid must be accepted and invalid refused. Acceptable ones are listed in the test
// with our decision and the reason. A valid vector that is outside what pop offers (another key, nonce or tag size,
// another algorithm) is out of scope, and must be refused too. Each test prints its counts, and fails if fewer vectors
// ran than when it was written.
package wycheproof
