// Package throttle slows down who asks too often or guesses wrong: a bucket of requests for each key, and after wrong guesses
// a delay that doubles.
//
// It counts in memory: counts of several processes are not joined, and a restart forgets them. Keys name who asks together
// with who is meant, so that nobody is locked out by somebody else's attempts. Start from NewGuard.
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

	Free  int           // wrong guesses in a row without delay
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
	refused  bool      // since the last request that was served
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
	wait, _ = t.count(key, now, false)
	return wait
}

// Guess is Try for a secret that people or programs may guess. It counts as a wrong guess until Succeeded is called, so
// that many at once are no more than many in turn.
func (t *Table) Guess(key string, now time.Time) (wait time.Duration) {
	wait, _ = t.count(key, now, true)
	return wait
}

// count also reports whether this is the first refusal since the last request that was served.
func (t *Table) count(key string, now time.Time, guess bool) (wait time.Duration, first bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entry(key, now)
	if wait = t.wait(e, now); wait > 0 {
		first = !e.refused
		e.refused = true
		return wait, first
	}
	e.refused = false
	if t.rule.Every > 0 && t.rule.Burst > 0 {
		e.debt, e.at = max(0, e.debt-now.Sub(e.at))+t.rule.Every, now
	}
	if guess && t.rule.First > 0 {
		e.guessed(t.rule, now)
	}
	return 0, false
}

func (t *Table) wait(e *entry, now time.Time) time.Duration {
	wait := e.until.Sub(now)
	if wait > 0 || t.rule.Every <= 0 || t.rule.Burst <= 0 {
		return wait
	}
	return max(0, e.debt-now.Sub(e.at)) + t.rule.Every - time.Duration(t.rule.Burst)*t.rule.Every
}

// guessed begins the delay that a wrong guess causes.
func (e *entry) guessed(rule Rule, now time.Time) {
	if e.failures++; e.failures <= rule.Free {
		return
	}
	delay := rule.First
	for n := rule.Free + 1; n < e.failures && delay < rule.Max; n++ {
		delay *= 2
	}
	e.until = now.Add(min(delay, rule.Max))
}

// Succeeded forgets the wrong guesses of a key; its requests still count.
func (t *Table) Succeeded(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if found, ok := t.entries[key]; ok {
		e := found.Value.(*entry)
		e.failures, e.until = 0, time.Time{}
	}
}

func (t *Table) has(key string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.entries[key] != nil
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
