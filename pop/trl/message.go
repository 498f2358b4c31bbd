package trl

import (
	"errors"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// wireAnswer is {? 0: [* hash], ? 1: [* [[* removed], [* added]]], ? 2: cursor / null, ? 3: more}, full_set to more of RFC
// 9770 §14.3.
type wireAnswer struct {
	Full   *[]Hash         `cbor:"0,keyasint,omitempty"`
	Diffs  *[][2][]Hash    `cbor:"1,keyasint,omitempty"`
	Cursor wire.RawMessage `cbor:"2,keyasint,omitempty"`
	More   *bool           `cbor:"3,keyasint,omitempty"`
}

var null = wire.RawMessage{0xf6}

// Encode gives the payload, in Content-Format 262.
func (a Answer) Encode() ([]byte, error) {
	var w wireAnswer
	cursor := null
	if a.Cursor != nil {
		raw, err := wire.Marshal(*a.Cursor)
		if err != nil {
			return nil, err
		}
		cursor = raw
	}
	w.Cursor = cursor
	if a.Diffs == nil {
		w.Full = &a.Full
		return wire.Marshal(w)
	}
	entries := make([][2][]Hash, len(a.Diffs))
	for i, u := range a.Diffs {
		entries[i] = [2][]Hash{all(u.Removed), all(u.Added)}
	}
	w.Diffs, w.More = &entries, &a.More
	return wire.Marshal(w)
}

// all makes nil the empty array that it means.
func all(hashes []Hash) []Hash {
	if hashes == nil {
		return []Hash{}
	}
	return hashes
}

// ErrMalformed is for an answer or error that RFC 9770 does not know.
var ErrMalformed = errors.New("trl: malformed message")

// ParseAnswer reads the payload of a 2.05. Hashes of another length than ours are kept: they match no token.
func ParseAnswer(data []byte) (Answer, error) {
	var w wireAnswer
	if len(data) > MaxAnswer {
		return Answer{}, fmt.Errorf("%w: %d bytes, at most %d", ErrMalformed, len(data), MaxAnswer)
	}
	if err := wire.UnmarshalList(data, &w, maxHashes); err != nil {
		return Answer{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if (w.Full == nil) == (w.Diffs == nil) {
		return Answer{}, fmt.Errorf("%w: one of full_set and diff_set is needed", ErrMalformed)
	}
	cursor, _, err := cursorOf(w.Cursor)
	if err != nil {
		return Answer{}, err
	}
	if w.Full != nil {
		return Answer{Full: all(*w.Full), Cursor: cursor}, nil
	}
	a := Answer{Diffs: make([]Update, len(*w.Diffs)), Cursor: cursor, More: w.More != nil && *w.More}
	for i, entry := range *w.Diffs {
		a.Diffs[i] = Update{Removed: all(entry[0]), Added: all(entry[1])}
	}
	return a, nil
}

func cursorOf(raw wire.RawMessage) (cursor *uint64, present bool, err error) {
	if len(raw) == 0 {
		return nil, false, nil
	}
	if err := wire.Unmarshal(raw, &cursor); err != nil {
		return nil, false, fmt.Errorf("%w: cursor: %w", ErrMalformed, err)
	}
	if cursor != nil && *cursor > MaxIndex {
		return nil, false, fmt.Errorf("%w: cursor above %d", ErrMalformed, uint64(MaxIndex))
	}
	return cursor, true, nil
}

// ErrorID is an entry of the ACE Token Revocation List Error Identifiers (RFC 9770 §14.4).
type ErrorID uint64

// Error identifiers.
const (
	InvalidValue     ErrorID = 0
	InvalidSet       ErrorID = 1
	CursorOutOfBound ErrorID = 2
)

// String names the identifier.
func (id ErrorID) String() string {
	switch id {
	case InvalidValue:
		return "invalid parameter value"
	case InvalidSet:
		return "invalid set of parameters"
	case CursorOutOfBound:
		return "out of bound cursor value"
	}
	return fmt.Sprintf("error %d", uint64(id))
}

// Error refuses a query (RFC 9770 §8.1): the payload of a 4.00 in Content-Format 257.
type Error struct {
	ID ErrorID
	// Cursor tells the last index of the collection; nil when it is empty. It is sent only with HasCursor.
	Cursor    *uint64
	HasCursor bool
}

// Error implements error.
func (e *Error) Error() string { return "trl: " + e.ID.String() }

// wireError is {1: {0: id, ? 1: cursor / null}}: ace-trl-error among the problem details of RFC 9290.
type wireError struct {
	TRL *struct {
		ID     *ErrorID        `cbor:"0,keyasint,omitempty"`
		Cursor wire.RawMessage `cbor:"1,keyasint,omitempty"`
	} `cbor:"1,keyasint,omitempty"`
}

// Encode gives the payload.
func (e *Error) Encode() ([]byte, error) {
	detail := map[int]any{0: uint64(e.ID)}
	if e.HasCursor {
		detail[1] = e.Cursor
	}
	return wire.Marshal(map[int]any{1: detail})
}

// ParseError reads the payload of a 4.00; other problem details in it are left alone.
func ParseError(data []byte) (*Error, error) {
	var w wireError
	if err := wire.Unmarshal(data, &w); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if w.TRL == nil || w.TRL.ID == nil {
		return nil, fmt.Errorf("%w: no error identifier", ErrMalformed)
	}
	cursor, present, err := cursorOf(w.TRL.Cursor)
	if err != nil {
		return nil, err
	}
	return &Error{ID: *w.TRL.ID, Cursor: cursor, HasCursor: present}, nil
}
