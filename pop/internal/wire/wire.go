// Package wire is the one strict CBOR codec of the house (RFC 8949).
//
// Decoding refuses duplicate map keys, indefinite lengths, invalid UTF-8, nesting deeper than MaxDepth and bytes after
// the item; encoding is the core deterministic form (RFC 8949 §4.2.1). It does not know any protocol: the maps and
// their keys belong to the packages that name them. Start from Marshal and Unmarshal.
package wire

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// Bounds of every decoded item. No message of this house nests deeper or is longer; an attacker's may not either.
const (
	MaxDepth    = 8     // levels of arrays, maps and tags
	MaxElements = 256   // entries of one array or map
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
)

func decOptions(tags cbor.TagsMode) cbor.DecOptions {
	return cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            tags,
		MaxNestedLevels:   MaxDepth,
		MaxArrayElements:  MaxElements,
		MaxMapPairs:       MaxElements,
		UTF8:              cbor.UTF8RejectInvalid,
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
func Unmarshal(data []byte, v any) error {
	if len(data) > MaxSize {
		return fmt.Errorf("cbor: %d bytes, at most %d", len(data), MaxSize)
	}
	return decoder.Unmarshal(data, v)
}

// UnmarshalDeterministic is Unmarshal for items that must be in core deterministic encoding: the decoded value is
// encoded again and compared, because a second spelling of a signed or hashed item is a second identity.
func UnmarshalDeterministic(data []byte, v any) error {
	if err := Unmarshal(data, v); err != nil {
		return err
	}
	var free any
	if err := Unmarshal(data, &free); err != nil {
		return err
	}
	again, err := Marshal(free)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, data) {
		return ErrNotDeterministic
	}
	return nil
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
