// Package wire is the one strict CBOR codec of the house (RFC 8949).
//
// Decoding refuses duplicate map keys, keys that are neither integers nor text, indefinite lengths, invalid UTF-8, NaN,
// infinities, bignums, undefined and unassigned simple values, nesting deeper than MaxDepth and bytes after the item:
// everywhere in the item, before any of it is decoded, also where the destination ignores or keeps it encoded. What
// decoding allocates is bounded by the length of the input. Encoding is the core deterministic form (RFC 8949 §4.2.1).
//
// It does not know any protocol: the maps and their keys belong to the packages that name them. It reads no sequences
// and no streams. Start from Marshal and Unmarshal.
package wire

import (
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// Bounds of every decoded item. No message of this house nests deeper or is longer; an attacker's may not either.
const (
	MaxDepth    = 8     // levels of arrays, maps and tags
	MaxElements = 256   // entries of one array or map; UnmarshalList names its own for arrays
	MaxSize     = 65536 // bytes of one item
)

// ErrNotDeterministic says that an item was decoded but is not in the core deterministic encoding.
var ErrNotDeterministic = errors.New("not in deterministic encoding")

// RawMessage holds one encoded item, unchanged.
type RawMessage = cbor.RawMessage

// Tag is a tagged item; RawTag keeps its content encoded.
type (
	Tag    = cbor.Tag
	RawTag = cbor.RawTag
)

var (
	encoder = must(cbor.CoreDetEncOptions().EncMode())
	decoder = must(decOptions(cbor.TagsAllowed).DecMode())
	lister  = must(listOptions().DecMode())
)

func listOptions() cbor.DecOptions {
	o := decOptions(cbor.TagsAllowed)
	o.MaxArrayElements = MaxSize
	return o
}

func decOptions(tags cbor.TagsMode) cbor.DecOptions {
	return cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            tags,
		MaxNestedLevels:   MaxDepth,
		MaxArrayElements:  MaxElements,
		MaxMapPairs:       MaxElements,
		UTF8:              cbor.UTF8RejectInvalid,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		NaN:               cbor.NaNDecodeForbidden,
		Inf:               cbor.InfDecodeForbidden,
		BignumTag:         cbor.BignumTagForbidden,
		IntDec:            cbor.IntDecConvertSignedOrFail,
		ExtraReturnErrors: cbor.ExtraDecErrorNone,
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Marshal encodes v in core deterministic form.
func Marshal(v any) ([]byte, error) { return encoder.Marshal(v) }

// Unmarshal decodes exactly one item from data into v. On error v may be partly written and must be discarded.
func Unmarshal(data []byte, v any) error { return unmarshal(data, v, false) }

// UnmarshalDeterministic is Unmarshal for items that must be in core deterministic encoding, because a second spelling
// of a signed or hashed item is a second identity. What byte strings hold is not looked at.
func UnmarshalDeterministic(data []byte, v any) error { return unmarshal(data, v, true) }

// UnmarshalList is Unmarshal for messages that are lists by nature: their arrays may have more entries, elements at most.
func UnmarshalList(data []byte, v any, elements uint16) error {
	if len(data) > MaxSize {
		return fmt.Errorf("cbor: %d bytes, at most %d", len(data), MaxSize)
	}
	w := walker{data: data, elements: uint64(elements)}
	if err := w.only(); err != nil {
		return err
	}
	return lister.Unmarshal(data, v)
}

func unmarshal(data []byte, v any, deterministic bool) error {
	if len(data) > MaxSize {
		return fmt.Errorf("cbor: %d bytes, at most %d", len(data), MaxSize)
	}
	if err := check(data, deterministic); err != nil {
		return err
	}
	if whole, ok := v.(cbor.Unmarshaler); ok { // as the decoder would, which would check and walk the item once more
		return whole.UnmarshalCBOR(data)
	}
	return decoder.Unmarshal(data, v)
}

// Diagnose renders one item in CBOR diagnostic notation (RFC 8949 §8), for people. It never fails: what is not CBOR is
// shown as h'…'.
func Diagnose(data []byte) string {
	s, err := cbor.Diagnose(data)
	if err != nil {
		return fmt.Sprintf("h'%x'", data)
	}
	return s
}
