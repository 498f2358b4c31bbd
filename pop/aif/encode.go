package aif

import (
	"errors"
	"fmt"
	"strings"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

var errShape = errors.New("rights are not an array of [path, methods]")

// Parse decodes [* [path, methods]] (RFC 9237 §3). Entries of one path are merged; an unknown method bit, an unusable
// path, more than MaxEntries entries and trailing bytes are refused.
func Parse(data []byte) (Rights, error) {
	var item any
	if err := wire.Unmarshal(data, &item); err != nil {
		return nil, fmt.Errorf("rights: %w", err)
	}
	list, ok := item.([]any)
	if !ok {
		return nil, errShape
	}
	if len(list) > MaxEntries {
		return nil, tooMany(len(list))
	}
	entries := make([]Entry, 0, len(list))
	for _, item := range list {
		e, err := parseEntry(item)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return New(entries...), nil
}

func parseEntry(item any) (Entry, error) {
	pair, ok := item.([]any)
	if !ok || len(pair) != 2 {
		return Entry{}, errShape
	}
	path, isText := pair[0].(string)
	bits, isInt := pair[1].(int64) // bits from 39 on, 63 among them, have no meaning
	if !isText || !isInt || bits < 0 {
		return Entry{}, errShape
	}
	e := Entry{Path: path, Methods: Methods(bits)}
	return e, e.check()
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

func tooMany(n int) error { return fmt.Errorf("%d rights, at most %d", n, MaxEntries) }

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
