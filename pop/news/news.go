// Package news is what server and device tell each other outside of tokens (D22): revoked tokens, the epoch and the time
// one way, receipts with a piece of the access log the other way, each sealed under a key of its own direction.
//
// The same bytes are pushed over the device's channel or carried by a phone that cannot read them. It does not judge:
// whether a sequence is new, or a time believable, is the receiver's to decide. Item kinds 3 (keys) and 4 (token) are not
// built and refused like unknown ones. Start from Seal and OpenReceipt on the server, Open and SealReceipt on the device.
package news

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

var (
	// ErrProtection means that the bytes do not open under the key: another device's, another direction's, or damaged.
	ErrProtection = errors.New("news does not open")
	// ErrContent means that what opened is not news, or breaks a bound.
	ErrContent = errors.New("news cannot be read")
)

// UnknownItemError names an item kind that this version cannot apply. News with such an item is refused whole, so that a
// receipt never says more was applied than was.
type UnknownItemError struct {
	Kind Kind
}

func (e *UnknownItemError) Error() string {
	return fmt.Sprintf("unknown news item kind %d", uint64(e.Kind))
}

// Kind is the first element of an item.
type Kind uint64

// Kinds of items (D22). Values are never reused.
const (
	KindHashes Kind = 0 // hashes of revoked tokens
	KindEpoch  Kind = 1 // tokens below this epoch are void
	KindTime   Kind = 2 // it is at least this time
)

// String names the kind.
func (k Kind) String() string {
	switch k {
	case KindHashes:
		return "revoked tokens"
	case KindEpoch:
		return "epoch"
	case KindTime:
		return "time"
	}
	return "unknown"
}

// Item is one piece of news: Kind says which of the other fields counts.
type Item struct {
	Kind   Kind
	Hashes [][]byte // RFC 9770 token hashes of cwt.HashSize bytes
	Epoch  uint64
	Time   time.Time // to the second
}

// HashesItem lists up to MaxHashes revoked tokens.
func HashesItem(hashes ...[]byte) Item { return Item{Kind: KindHashes, Hashes: hashes} }

// EpochItem says that tokens below epoch are void.
func EpochItem(epoch uint64) Item { return Item{Kind: KindEpoch, Epoch: epoch} }

// TimeItem says that it is at least t.
func TimeItem(t time.Time) Item { return Item{Kind: KindTime, Time: t} }

// News is what the server tells one device. Sequence only ever rises; a device forgets what is not above the last.
type News struct {
	Sequence uint64
	IssuedAt time.Time // to the second
	Items    []Item    // at most one epoch and one time
}

// Seal encrypts news for the device under its "news-down" key, an AES-CCM-16-128-128 key. More than MaxSize bytes are an
// error: tell the rest under the next sequence.
func Seal(n News, key cose.SymmetricKey, rand io.Reader) ([]byte, error) {
	plaintext, err := n.encode()
	if err != nil {
		return nil, err
	}
	// What is sealed is read first, so that the device never has to refuse what we send.
	if _, err := parseNews(plaintext); err != nil {
		return nil, err
	}
	return seal(plaintext, key, rand)
}

// Open decrypts news under the device's "news-down" key. Errors: ErrProtection, ErrContent, *UnknownItemError.
func Open(data []byte, key cose.SymmetricKey) (News, error) {
	plaintext, err := open(data, key)
	if err != nil {
		return News{}, err
	}
	return parseNews(plaintext)
}

type newsArray struct {
	_        struct{} `cbor:",toarray"`
	Sequence uint64
	IssuedAt int64
	Items    []itemArray
}

type itemArray struct {
	_     struct{} `cbor:",toarray"`
	Kind  Kind
	Value wire.RawMessage
}

func (n News) encode() ([]byte, error) {
	array := newsArray{Sequence: n.Sequence, IssuedAt: n.IssuedAt.Unix(), Items: make([]itemArray, 0, len(n.Items))}
	for _, item := range n.Items {
		value, err := item.value()
		if err != nil {
			return nil, err
		}
		encoded, err := wire.Marshal(value)
		if err != nil {
			return nil, err
		}
		array.Items = append(array.Items, itemArray{Kind: item.Kind, Value: encoded})
	}
	return wire.Marshal(array)
}

func (i Item) value() (any, error) {
	switch i.Kind {
	case KindHashes:
		return i.Hashes, nil
	case KindEpoch:
		return i.Epoch, nil
	case KindTime:
		return i.Time.Unix(), nil
	}
	return nil, &UnknownItemError{i.Kind}
}

func parseNews(data []byte) (News, error) {
	var array newsArray
	if err := wire.Unmarshal(data, &array); err != nil {
		return News{}, fmt.Errorf("%w: %w", ErrContent, err)
	}
	if len(array.Items) > MaxItems {
		return News{}, fmt.Errorf("%w: %d items, at most %d", ErrContent, len(array.Items), MaxItems)
	}
	n := News{Sequence: array.Sequence, IssuedAt: time.Unix(array.IssuedAt, 0)}
	seen := map[Kind]bool{}
	for _, encoded := range array.Items {
		item, err := parseItem(encoded)
		if err != nil {
			return News{}, err
		}
		if seen[item.Kind] && item.Kind != KindHashes {
			return News{}, fmt.Errorf("%w: two items of %v", ErrContent, item.Kind)
		}
		seen[item.Kind] = true
		n.Items = append(n.Items, item)
	}
	if n.Sequence > maxNumber || !validTime(array.IssuedAt) {
		return News{}, fmt.Errorf("%w: sequence or time out of range", ErrContent)
	}
	again, err := n.encode()
	if err := exactly(data, again, err); err != nil {
		return News{}, err
	}
	return n, nil
}

func parseItem(encoded itemArray) (Item, error) {
	item := Item{Kind: encoded.Kind}
	var seconds int64
	var err error
	switch item.Kind {
	case KindHashes:
		if err = wire.Unmarshal(encoded.Value, &item.Hashes); err == nil {
			err = checkHashes(item.Hashes)
		}
	case KindEpoch:
		if err = wire.Unmarshal(encoded.Value, &item.Epoch); err == nil && item.Epoch > maxNumber {
			err = errors.New("epoch out of range")
		}
	case KindTime:
		if err = wire.Unmarshal(encoded.Value, &seconds); err == nil && !validTime(seconds) {
			err = errors.New("time out of range")
		}
		item.Time = time.Unix(seconds, 0)
	default:
		return Item{}, &UnknownItemError{item.Kind}
	}
	if err != nil {
		return Item{}, fmt.Errorf("%w: %w", ErrContent, err)
	}
	return item, nil
}

func checkHashes(hashes [][]byte) error {
	if len(hashes) == 0 || len(hashes) > MaxHashes {
		return fmt.Errorf("%d hashes, want 1 to %d", len(hashes), MaxHashes)
	}
	for _, hash := range hashes {
		if len(hash) != cwt.HashSize {
			return fmt.Errorf("hash of %d bytes, want %d", len(hash), cwt.HashSize)
		}
	}
	return nil
}

func validTime(seconds int64) bool { return seconds >= 0 && seconds <= maxSeconds }

// exactly demands that data is the one encoding of what was read from it: no tags, no other types, shortest heads.
func exactly(data, again []byte, err error) error {
	if err != nil {
		return fmt.Errorf("%w: %w", ErrContent, err)
	}
	if !bytes.Equal(again, data) {
		return fmt.Errorf("%w: a field has the wrong type or is not in its shortest encoding", ErrContent)
	}
	return nil
}

// algorithm is the only one for news (D2).
const algorithm = cose.AESCCM16_128_128

func seal(plaintext []byte, key cose.SymmetricKey, rand io.Reader) ([]byte, error) {
	if key.Algorithm != algorithm {
		return nil, fmt.Errorf("%w: key is for %v, want %v", cose.ErrKey, key.Algorithm, algorithm)
	}
	data, err := cose.SealEncrypt0(key, plaintext, nil, rand)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if len(data) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrContent, len(data), MaxSize)
	}
	return data, nil
}

func open(data []byte, key cose.SymmetricKey) ([]byte, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrContent, len(data), MaxSize)
	}
	m, err := cose.ParseEncrypt0(data)
	if err == nil {
		err = m.CheckCanonical()
	}
	if err == nil && m.Algorithm() != algorithm {
		err = fmt.Errorf("%w: %v", cose.ErrUnsupported, m.Algorithm())
	}
	var plaintext []byte
	if err == nil {
		plaintext, err = m.Open(cose.Only(key), nil)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProtection, err)
	}
	return plaintext, nil
}
