package news

import (
	"fmt"
	"io"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// Result says what became of an action.
type Result uint8

// Results. Values are never reused. ResultUnknown is what a begun action without an end is: it may have happened.
const (
	ResultUnknown  Result = 0
	ResultDone     Result = 1
	ResultRefused  Result = 2
	ResultAccepted Result = 3 // a token was taken
)

// String names the result.
func (r Result) String() string {
	switch r {
	case ResultUnknown:
		return "unknown"
	case ResultDone:
		return "done"
	case ResultRefused:
		return "refused"
	case ResultAccepted:
		return "accepted"
	}
	return fmt.Sprintf("result %d", uint8(r))
}

// Entry is one line of a device's access log.
type Entry struct {
	N      uint64      // ascending, never reused
	Time   time.Time   // to the second; zero when the device did not know the time
	Boot   uint64      // boots seen when it was written; orders entries without time
	Grant  pop.GrantID // zero: none
	Action uint64      // index into the device's actions, or NoAction
	Result Result
}

// Receipt is what a device answers to news.
type Receipt struct {
	Sequence uint64  // of the news
	Applied  bool    // all of it; false leaves the device as it was
	Cursor   uint64  // number of the newest entry the device has: above the last of Entries if more are waiting
	Entries  []Entry // oldest first
}

// SealReceipt encrypts a receipt for the server under the device's "news-up" key, an AES-CCM-16-128-128 key.
func SealReceipt(r Receipt, key cose.SymmetricKey, rand io.Reader) ([]byte, error) {
	plaintext, err := r.encode()
	if err != nil {
		return nil, err
	}
	if _, err := parseReceipt(plaintext); err != nil {
		return nil, err
	}
	return seal(plaintext, key, rand)
}

// OpenReceipt decrypts a receipt under the device's "news-up" key. Errors: ErrProtection, ErrContent.
func OpenReceipt(data []byte, key cose.SymmetricKey) (Receipt, error) {
	plaintext, err := open(data, key)
	if err != nil {
		return Receipt{}, err
	}
	return parseReceipt(plaintext)
}

// EncodeEntries gives the CBOR array that the device's log answers with. It is not sealed: the channel is.
func EncodeEntries(entries []Entry) ([]byte, error) {
	data, err := wire.Marshal(entryArrays(entries))
	if err != nil {
		return nil, err
	}
	_, err = ParseEntries(data)
	return data, err
}

// ParseEntries reads such an array: at most MaxEntries, numbers ascending. Every error is ErrContent.
func ParseEntries(data []byte) ([]Entry, error) {
	var arrays []entryArray
	if err := wire.Unmarshal(data, &arrays); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrContent, err)
	}
	entries, err := entriesOf(arrays)
	if err != nil {
		return nil, err
	}
	again, err := wire.Marshal(entryArrays(entries))
	if err := exactly(data, again, err); err != nil {
		return nil, err
	}
	return entries, nil
}

type receiptArray struct {
	_        struct{} `cbor:",toarray"`
	Sequence uint64
	Applied  bool
	Cursor   uint64
	Entries  []entryArray
}

type entryArray struct {
	_      struct{} `cbor:",toarray"`
	N      uint64
	Time   *int64
	Boot   uint64
	Grant  []byte
	Action uint64
	Result Result
}

func entryArrays(entries []Entry) []entryArray {
	arrays := make([]entryArray, 0, len(entries))
	for _, e := range entries {
		a := entryArray{N: e.N, Boot: e.Boot, Grant: e.Grant[:], Action: e.Action, Result: e.Result}
		if !e.Time.IsZero() {
			seconds := e.Time.Unix()
			a.Time = &seconds
		}
		arrays = append(arrays, a)
	}
	return arrays
}

func entriesOf(arrays []entryArray) ([]Entry, error) {
	if len(arrays) > MaxEntries {
		return nil, fmt.Errorf("%w: %d entries, at most %d", ErrContent, len(arrays), MaxEntries)
	}
	var entries []Entry
	for i, a := range arrays {
		if a.N > maxNumber || a.Boot > maxNumber || a.Action > NoAction || len(a.Grant) != len(pop.GrantID{}) {
			return nil, fmt.Errorf("%w: entry with a field out of range", ErrContent)
		}
		if i > 0 && a.N <= arrays[i-1].N {
			return nil, fmt.Errorf("%w: entries are not in order", ErrContent)
		}
		e := Entry{N: a.N, Boot: a.Boot, Grant: pop.GrantID(a.Grant), Action: a.Action, Result: a.Result}
		if a.Time != nil {
			if !validTime(*a.Time) {
				return nil, fmt.Errorf("%w: time out of range", ErrContent)
			}
			e.Time = time.Unix(*a.Time, 0)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func (r Receipt) encode() ([]byte, error) {
	return wire.Marshal(receiptArray{Sequence: r.Sequence, Applied: r.Applied, Cursor: r.Cursor, Entries: entryArrays(r.Entries)})
}

func parseReceipt(data []byte) (Receipt, error) {
	var array receiptArray
	if err := wire.Unmarshal(data, &array); err != nil {
		return Receipt{}, fmt.Errorf("%w: %w", ErrContent, err)
	}
	if array.Sequence > maxNumber || array.Cursor > maxNumber {
		return Receipt{}, fmt.Errorf("%w: number out of range", ErrContent)
	}
	entries, err := entriesOf(array.Entries)
	if err != nil {
		return Receipt{}, err
	}
	r := Receipt{Sequence: array.Sequence, Applied: array.Applied, Cursor: array.Cursor, Entries: entries}
	again, err := r.encode()
	if err := exactly(data, again, err); err != nil {
		return Receipt{}, err
	}
	return r, nil
}
