// Package race lets a thousand requests meet at what may be used once: a code, a refresh token, a pushed request and a device
// code. The servers are the real program; two of them share one PostgreSQL.
//
// It has tests only.
package race
