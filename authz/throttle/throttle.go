// Package throttle slows down who asks too often or guesses wrong: a bucket of requests for each key, and after failures a
// delay that doubles.
//
// It counts in memory, reads no clock and decides nothing about keys: the caller names who is meant ("client:app",
// "account:alice 192.0.2.0/24"), so that nobody can be locked out by somebody else's attempts. Counts of several
// processes are not joined. Start from New.
package throttle

import (
	"container/list"
	"sync"
	"time"
)

// Rule says how often a key may ask and how wrong guesses are slowed down. A zero field is no limit of its kind.
type Rule struct {
	Burst int           // requests at once
	Every time.Duration // and then one in each such time

	Free  int           // failures in a row without delay
	First time.Duration // delay after the next one; each further one doubles it
	Max   time.Duration // of the delay
}

// Table counts under one rule for many keys. It is safe for concurrent use.
type Table struct {
	rule Rule
	size int

	mu      sync.Mutex
	entries map[string]*list.Element // of *entry
	order   *list.List               // heard of last in front
}

type entry struct {
	key      string
	debt     time.Duration // time that must pass until the bucket is full
	at       time.Time     // when debt was right
	failures int
	until    time.Time // of the delay
}

// MaxKeys is the usual size of a table, some 250 bytes for each key; the one heard of longest ago gives way.
const MaxKeys = 16384

// New makes a table for at most size keys; 0 means MaxKeys.
func New(rule Rule, size int) *Table {
	if size <= 0 {
		size = MaxKeys
	}
	return &Table{rule: rule, size: size, entries: make(map[string]*list.Element), order: list.New()}
}

// Try counts a request and returns 0 when it may be served, or how long to wait before asking again. What is refused is
// not counted, so that waiting as told is enough. now should not go back; when it does, delays grow by as much.
func (t *Table) Try(key string, now time.Time) (wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entry(key, now)
	if wait = e.until.Sub(now); wait > 0 {
		return wait
	}
	if t.rule.Every <= 0 || t.rule.Burst <= 0 {
		return 0
	}
	debt := max(0, e.debt-now.Sub(e.at))
	if wait = debt + t.rule.Every - time.Duration(t.rule.Burst)*t.rule.Every; wait > 0 {
		return wait
	}
	e.debt, e.at = debt+t.rule.Every, now
	return 0
}

// Failed counts a wrong guess and returns the delay that begins now.
func (t *Table) Failed(key string, now time.Time) (delay time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rule.First <= 0 {
		return 0
	}
	e := t.entry(key, now)
	if e.failures++; e.failures <= t.rule.Free {
		return 0
	}
	delay = t.rule.First
	for n := t.rule.Free + 1; n < e.failures && delay < t.rule.Max; n++ {
		delay *= 2
	}
	delay = min(delay, t.rule.Max)
	e.until = now.Add(delay)
	return delay
}

// Succeeded forgets the failures of a key; its requests still count.
func (t *Table) Succeeded(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if found, ok := t.entries[key]; ok {
		e := found.Value.(*entry)
		e.failures, e.until = 0, time.Time{}
	}
}

// Len is the number of keys remembered.
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.entries)
}

func (t *Table) entry(key string, now time.Time) *entry {
	if found, ok := t.entries[key]; ok {
		t.order.MoveToFront(found)
		return found.Value.(*entry)
	}
	if len(t.entries) >= t.size {
		oldest := t.order.Back()
		delete(t.entries, t.order.Remove(oldest).(*entry).key)
	}
	e := &entry{key: key, at: now}
	t.entries[key] = t.order.PushFront(e)
	return e
}
