package aif

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

var errShape = errors.New("rights are not an array of [path, methods]")

// Parse decodes [* [path, methods]] (RFC 9237 §3). Entries of one path are merged; an unknown method bit, an unusable
// path, more than MaxEntries entries, a head that is longer than needed and trailing bytes are refused.
func Parse(data []byte) (Rights, error) {
	major, n, rest, ok := wire.Head(data)
	switch {
	case !ok || major != wire.MajorArray:
		return nil, errShape
	case n > MaxEntries:
		return nil, tooMany(n)
	}
	entries := make([]Entry, 0, n)
	for range n {
		var e Entry
		var err error
		if e, rest, err = parseEntry(rest); err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	if len(rest) > 0 {
		return nil, errShape
	}
	return merge(entries), nil
}

// parseEntry reads one [path, methods] and gives what follows it.
func parseEntry(data []byte) (e Entry, rest []byte, err error) {
	major, n, rest, ok := wire.Head(data)
	if !ok || major != wire.MajorArray || n != 2 {
		return e, nil, errShape
	}
	major, n, rest, ok = wire.Head(rest)
	if !ok || major != wire.MajorText || n > uint64(len(rest)) || !utf8.Valid(rest[:n]) {
		return e, nil, errShape
	}
	e.Path, rest = string(rest[:n]), rest[n:]
	major, n, rest, ok = wire.Head(rest)
	if !ok || major != wire.MajorUint {
		return e, nil, errShape
	}
	e.Methods = Methods(n)
	return e, rest, e.check()
}

func (e Entry) check() error {
	if err := CheckPath(e.Path); err != nil {
		return err
	}
	if !e.Methods.Valid() {
		return fmt.Errorf("path %q: unknown method bits %#x", e.Path, uint64(e.Methods&^known))
	}
	return nil
}

func tooMany[N int | uint64](n N) error { return fmt.Errorf("%d rights, at most %d", n, MaxEntries) }

// Check says why the rights cannot be encoded, or nil.
func (r Rights) Check() error {
	merged := New(r...)
	if len(merged) > MaxEntries {
		return tooMany(len(merged))
	}
	for _, e := range merged {
		if err := e.check(); err != nil {
			return err
		}
	}
	return nil
}

// Encode gives the deterministic CBOR array, merged and in ascending order of path. What Check refuses is not encoded.
func (r Rights) Encode() ([]byte, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	merged := New(r...)
	if merged == nil {
		merged = Rights{}
	}
	return wire.Marshal(merged)
}

// ParseText reads the form for people and OAuth scopes: "/path:METHOD,METHOD" entries parted by spaces.
func ParseText(s string) (Rights, error) {
	if len(s) > MaxText {
		return nil, fmt.Errorf("rights of %d bytes, at most %d", len(s), MaxText)
	}
	var entries []Entry
	for word := range strings.SplitSeq(s, " ") {
		if word == "" {
			continue
		}
		e, err := ParseEntry(word)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	r := New(entries...)
	return r, r.Check()
}

// ParseEntry reads one "/path:METHOD,METHOD". The last colon parts them, because a path may hold colons.
func ParseEntry(word string) (Entry, error) {
	colon := strings.LastIndexByte(word, ':')
	if colon < 0 {
		return Entry{}, fmt.Errorf("right %q has no method: write %s:GET", word, word)
	}
	m, err := ParseMethods(word[colon+1:])
	if err != nil {
		return Entry{}, fmt.Errorf("right %q: %w", word, err)
	}
	e := Entry{Path: word[:colon], Methods: m}
	return e, e.check()
}

// String is the entry as ParseEntry reads it.
func (e Entry) String() string { return e.Path + ":" + e.Methods.String() }

// String is the rights as ParseText reads them; no rights are "".
func (r Rights) String() string {
	words := make([]string, 0, len(r))
	for _, e := range New(r...) {
		words = append(words, e.String())
	}
	return strings.Join(words, " ")
}
