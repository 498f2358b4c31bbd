// Package trl is the token revocation list (RFC 9770) as messages and arithmetic: queries, answers and errors, and which
// part of a requester's update collection answers which query.
//
// It keeps no list and speaks no CoAP: the authorization server stores collections and hands them in. A server starts
// from Collection.Answer, a requester from ParseAnswer. Wrapping of indexes is not covered: they are 63 bits wide and
// never go back (D4).
package trl

import "slices"

// Hash is a token hash: a suite byte of RFC 6920 and the digest, 33 bytes for sha-256 (RFC 9770 §4).
type Hash []byte

// Update is one series item of a requester's update collection (RFC 9770 §6.2): the hashes of its tokens that left the
// list, being expired, and those that came into it. Index grows from item to item, not always by one.
type Update struct {
	Index          uint64 // 0 … MaxIndex
	Removed, Added []Hash
}

// Collection is what one requester may see: the whole of his part of the list, and the updates that are kept of it.
type Collection struct {
	Full    []Hash
	Updates []Update // oldest first; the last MaxUpdates at most
	// Before is the index of the newest update that is not kept any more. It counts only when Dropped.
	Before  uint64
	Dropped bool
}

// last is the index of the newest update.
func (c Collection) last() (uint64, bool) {
	if len(c.Updates) == 0 {
		return 0, false
	}
	return c.Updates[len(c.Updates)-1].Index, true
}

// Answer is an answer to a query. Full is nil in the answer to a diff query, Diffs in that to a full query.
type Answer struct {
	Full  []Hash
	Diffs []Update // newest first; indexes are not sent
	// Cursor is the index of the newest update that the answer tells of; nil: the collection is empty.
	Cursor *uint64
	// More says that there are newer updates than those told. With neither updates nor Cursor it says that some after the
	// cursor asked for are lost: the whole list has to be asked for.
	More bool
}

// Answer is RFC 9770 §8: the whole part of the list, the newest N updates, or the newest N of those after a cursor. The
// collection must be one consistent state; q comes from ParseQuery. The error is an *Error.
func (c Collection) Answer(q Query) (Answer, error) {
	if q.Diff == nil {
		full := c.Full
		if full == nil {
			full = []Hash{}
		}
		return Answer{Full: full, Cursor: c.cursor()}, nil
	}
	if len(c.Updates) == 0 {
		if q.Cursor != nil && c.Dropped && *q.Cursor < c.Before { // what came after it is not kept any more
			return Answer{Diffs: []Update{}, More: true}, nil
		}
		return Answer{Diffs: []Update{}}, nil
	}
	updates := c.Updates
	if q.Cursor != nil {
		if last, _ := c.last(); *q.Cursor > last {
			return Answer{}, &Error{ID: CursorOutOfBound}
		}
		after, ok := c.after(*q.Cursor)
		switch {
		case !ok:
			return Answer{Diffs: []Update{}, More: true}, nil
		case len(after) == 0:
			return Answer{Diffs: []Update{}, Cursor: c.cursor()}, nil
		}
		updates = after
	}
	return batch(updates[len(updates)-min(clip(*q.Diff), len(updates)):]), nil
}

// clip is N of a diff query, 0 meaning as many as possible, as a number of updates.
func clip(n uint64) int {
	if n == 0 || n > MaxUpdates {
		return MaxUpdates
	}
	return int(n)
}

// batch tells the eldest of the updates asked for, newest of them first (RFC 9770 §8.2.3).
func batch(updates []Update) Answer {
	told := slices.Clone(updates[:min(len(updates), MaxBatch)])
	cursor := told[len(told)-1].Index
	slices.Reverse(told)
	return Answer{Diffs: told, Cursor: &cursor, More: len(told) < len(updates)}
}

// after gives the updates that a requester who knows all up to cursor has not seen; false when some of them are lost.
func (c Collection) after(cursor uint64) ([]Update, bool) {
	if c.Dropped && cursor == c.Before {
		return c.Updates, true
	}
	for i, u := range c.Updates {
		if u.Index == cursor {
			return c.Updates[i+1:], true
		}
	}
	return nil, false
}

func (c Collection) cursor() *uint64 {
	last, ok := c.last()
	if !ok {
		return nil
	}
	return &last
}
