package wire_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
	"pgregory.net/rapid"
)

// oracle decodes with the library's own strictness alone; undefined and other simple values it takes.
var oracle = func() cbor.DecMode {
	mode, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, MaxNestedLevels: wire.MaxDepth,
		MaxArrayElements: wire.MaxElements, MaxMapPairs: wire.MaxElements, NaN: cbor.NaNDecodeForbidden, Inf: cbor.InfDecodeForbidden,
		BignumTag: cbor.BignumTagForbidden, TimeTagToAny: cbor.TimeTagToRFC3339, IntDec: cbor.IntDecConvertSignedOrBigInt,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return mode
}()

var deterministic = func() cbor.EncMode {
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err)
	}
	return mode
}()

func FuzzUnmarshal(f *testing.F) {
	for _, tt := range refused {
		if data := unhex(f, tt.item); len(data) < 1024 {
			f.Add(data)
		}
	}
	for _, seed := range []string{"a2 02 01 01 02", "83 01 82 02 03 82 04 05", "a5 01 02 20 6161 6161 f5 03 f6 04 fb3ff199999999999a",
		"d83d d2 84 43a10126 a0 4161 4162", "c074323031332d30332d32315432303a30343a30305a", "c11a514b67b0", "d818 42 8101"} {
		f.Add(unhex(f, seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var raw wire.RawMessage
		err := wire.Unmarshal(data, &raw)
		again := wire.UnmarshalDeterministic(data, new(wire.RawMessage))
		if err != nil {
			if again == nil {
				t.Fatalf("%x: refused in any spelling (%v), but taken as deterministic", data, err)
			}
			return
		}
		if again != nil && !errors.Is(again, wire.ErrNotDeterministic) {
			t.Fatalf("%x: %v, want it refused for its spelling or not at all", data, again)
		}
		var free any
		if err := oracle.Unmarshal(data, &free); err != nil {
			if !onlyTheirs(data) {
				t.Fatalf("%x: we took what the library refuses: %v", data, err)
			}
			return
		}
		if !dates(data) { // they are read as text, and big integers may become bignums
			compareEncodings(t, data, free, again == nil)
		}
		_ = wire.Unmarshal(data, new(any))
		_ = wire.Unmarshal(data, new(message))
	})
}

// onlyTheirs holds for what the library checks beyond RFC 8949's well-formedness and we leave to the destination: what
// tags 0 and 1 hold.
func onlyTheirs(data []byte) bool { return bytes.ContainsAny(data, "\xc0\xc1") || dates(data) }

// dates holds if a tag in any spelling, or an integer of 8 bytes, may be there: the library gives them other Go types.
func dates(data []byte) bool {
	return bytes.ContainsAny(data, "\xc0\xc1\xd8\xd9\xda\xdb\x1b\x3b")
}

func compareEncodings(t *testing.T, data []byte, free any, ours bool) {
	encoded, err := deterministic.Marshal(free)
	if err != nil {
		t.Fatalf("%x: %v", data, err)
	}
	if theirs := bytes.Equal(encoded, data); theirs != ours {
		t.Fatalf("%x: deterministic %v, but the library writes %x", data, ours, encoded)
	}
	if err := wire.UnmarshalDeterministic(encoded, new(wire.RawMessage)); err != nil {
		t.Fatalf("%x, encoded as %x: %v", data, encoded, err)
	}
}

func TestWhatIsMarshalledIsDeterministic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data, err := wire.Marshal(value(t, 6))
		if err != nil {
			t.Fatal(err)
		}
		if err := wire.UnmarshalDeterministic(data, new(any)); err != nil {
			t.Fatalf("%x: %v", data, err)
		}
	})
}

func value(t *rapid.T, levels int) any {
	kinds := 6
	if levels == 0 {
		kinds = 4
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return rapid.Int64().Draw(t, "int")
	case 1:
		return rapid.SliceOfN(rapid.Byte(), 0, 30).Draw(t, "bytes")
	case 2:
		return rapid.String().Draw(t, "text")
	case 3:
		return rapid.SampledFrom([]any{
			nil, true, false, 0.5, 1.0e10, float32(1.1), rapid.Float64Range(-1e9, 1e9).Draw(t, "float"), float64(rapid.Float32Range(-1e30, 1e30).Draw(t, "single")),
		}).Draw(t, "simple")
	case 4:
		var list []any
		for range rapid.IntRange(0, 4).Draw(t, "length") {
			list = append(list, value(t, levels-1))
		}
		return list
	}
	m := map[any]any{}
	for range rapid.IntRange(0, 20).Draw(t, "members") {
		if rapid.Bool().Draw(t, "named") {
			m[rapid.String().Draw(t, "name")] = rapid.Int64().Draw(t, "member")
		} else {
			m[rapid.Int64Range(-300, 300).Draw(t, "label")] = nil
		}
	}
	return m
}
