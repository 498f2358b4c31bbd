package wire_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// message is a destination that names two members and keeps one encoded; what else a map holds it ignores.
type message struct {
	Number int64           `cbor:"1,keyasint"`
	Name   string          `cbor:"name"`
	Kept   wire.RawMessage `cbor:"3,keyasint"`
}

var refused = []struct{ name, item string }{
	{"nothing", ""},
	{"a trailing byte", "a1010100"},
	{"a second item", "a0a0"},
	{"a cut head", "a1011a0000"},
	{"a cut string", "a1014261"},
	{"a map that lacks a value", "a101"},
	{"a map that lacks a member", "a2010103"},
	{"a reserved head", "1c"},
	{"a break alone", "ff"},

	// A declared length is nothing but a number until its bytes are there.
	{"9-byte bomb: a byte string of 2^63", "5b8000000000000000"},
	{"9-byte bomb: a byte string of 2^64 - 1", "5bffffffffffffffff"},
	{"9-byte bomb: a text of 2^62", "7b4000000000000000"},
	{"9-byte bomb: an array of 2^63 - 1", "9b7fffffffffffffff"},
	{"9-byte bomb: an array of 2^32", "9b0000000100000000"},
	{"9-byte bomb: a map of 2^64 - 1", "bbffffffffffffffff"},
	{"9-byte bomb: a map of 2^31", "bb0000000080000000"},
	{"5-byte bomb: a byte string of 4 GiB", "5affffffff"},
	{"5-byte bomb: an array of 2^24", "9a01000000"},
	{"a bomb in a member that is ignored", "a1045bffffffffffffffff"},
	{"a bomb in a member that is kept", "a1039bffffffffffffffff"},
	{"257 elements", "990101" + strings.Repeat("00", 257)},
	{"257 elements, declared", "990101"},

	{"arrays nested 9 deep", strings.Repeat("81", 9) + "00"},
	{"maps nested 9 deep", strings.Repeat("a101", 9) + "00"},
	{"tags nested 9 deep", strings.Repeat("c6", 9) + "00"},
	{"arrays, maps and tags nested 9 deep", strings.Repeat("81a101c6", 3) + "00"},
	{"arrays nested 60,000 deep", strings.Repeat("81", 60000) + "00"},
	{"nesting in a member that is ignored", "a104" + strings.Repeat("81", 8) + "00"},
	{"nesting in a member that is kept", "a103" + strings.Repeat("81", 8) + "00"},

	{"a key twice", "a201010102"},
	{"a key twice, the second in a longer head", "a20101180102"},
	{"a negative key twice", "a220012002"},
	{"a text key twice", "a2616101616102"},
	{"a text key twice, the second with a longer length", "a261610178016102"},
	{"an unknown key twice", "a204010402"},
	{"a key twice in a member that is ignored", "a104a201010102"},
	{"a key twice in a member that is kept", "a103a201010102"},
	{"a key twice in a tag in an array", "81c6a201010102"},
	{"a key twice, the two far apart", "b3" + keys(18) + "0100"},
	{"a text key twice among many", "b4" + keys(18) + "616100" + "616100"},

	{"a true key", "a1f500"},
	{"a null key", "a1f600"},
	{"a byte string key", "a1410100"},
	{"a float key", "a1f93c0000"},
	{"a NaN key", "a1f97e0000"},
	{"two NaN keys", "a2f97e0000f97e0000"},
	{"an array key", "a1800000"},
	{"a map key", "a1a00000"},
	{"a tagged key", "a1c60100"},
	{"a key of an indefinite length", "a17f6161ff00"},

	{"NaN", "f97e00"},
	{"NaN in 4 bytes", "fa7fc00000"},
	{"NaN in 8 bytes, with a payload", "fb7ff8000000000001"},
	{"infinity", "f97c00"},
	{"minus infinity in 8 bytes", "fbfff0000000000000"},
	{"NaN in a member that is ignored", "a104f97e00"},
	{"a bignum", "c249010000000000000000"},
	{"a negative bignum", "c349010000000000000000"},
	{"undefined", "f7"},
	{"a simple value", "e0"},
	{"a simple value in two bytes", "f8ff"},
	{"false in two bytes", "f814"},
	{"a reserved simple value", "f818"},

	{"an indefinite array", "9fff"},
	{"an indefinite map", "bf0100ff"},
	{"an indefinite byte string", "5f4100ff"},
	{"an indefinite text", "7f6161ff"},
	{"an indefinite array in a member that is ignored", "a1049fff"},

	{"a text that is not UTF-8", "62c328"},
	{"a text with a surrogate", "63eda080"},
	{"a text with an overlong NUL", "62c080"},
	{"a text cut within a character", "61c3"},
	{"a text key that is not UTF-8", "a162c32800"},
	{"a text in a member that is ignored", "a10462c328"},
	{"a text in a member that is kept", "a10362c328"},
}

// keys is n members 0: 0, 1: 0, …
func keys(n byte) (members string) {
	for i := range n {
		members += hex.EncodeToString([]byte{i, 0})
	}
	return members
}

func TestRefusedWhateverTheDestination(t *testing.T) {
	for _, tt := range refused {
		t.Run(tt.name, func(t *testing.T) {
			data := unhex(t, tt.item)
			for _, to := range []any{new(any), new(message), new(wire.RawMessage), new(map[any]any), new([]any), new(wire.RawTag), new(int64), new([]byte)} {
				if err := wire.Unmarshal(data, to); err == nil {
					t.Errorf("into %T: got %+v, want an error", to, reflect.ValueOf(to).Elem())
				}
				if err := wire.UnmarshalDeterministic(data, to); err == nil {
					t.Errorf("deterministic, into %T: got %+v, want an error", to, reflect.ValueOf(to).Elem())
				}
			}
		})
	}
}

func TestOneByteTooMany(t *testing.T) {
	longest := append([]byte{0x59, 0xff, 0xfd}, make([]byte, wire.MaxSize-3)...)
	if err := wire.Unmarshal(longest, new([]byte)); err != nil {
		t.Errorf("%d bytes: %v", len(longest), err)
	}
	longest = append([]byte{0x59, 0xff, 0xfe}, make([]byte, wire.MaxSize-2)...)
	if err := wire.Unmarshal(longest, new([]byte)); err == nil {
		t.Errorf("%d bytes were read", len(longest))
	}
}

func TestAccepted(t *testing.T) {
	tests := []struct {
		name, item string
		want       any
	}{
		{"null", "f6", nil},
		{"true", "f5", true},
		{"an int in more bytes than needed", "1b0000000000000001", int64(1)},
		{"the largest int", "1b7fffffffffffffff", int64(math.MaxInt64)},
		{"the least int", "3b7fffffffffffffff", int64(math.MinInt64)},
		{"a length in more bytes than needed", "580161", []byte("a")},
		{"the empty string", "60", ""},
		{"UTF-8", "62c3bc", "ü"},
		{"a float", "f93e00", 1.5},
		{"a float in more bytes than needed", "fb3ff8000000000000", 1.5},
		{"8 levels", strings.Repeat("81", 8) + "00", nested(8)},
		{"unordered keys", "a202010102", map[any]any{int64(2): int64(1), int64(1): int64(2)}},
		{"1, minus 2 and text 1", "a3010021006131f6", map[any]any{int64(1): int64(0), int64(-2): int64(0), "1": nil}},
		{"256 elements", "990100" + strings.Repeat("00", 256), slice(256)},
		{"a tag", "c601", wire.Tag{Number: 6, Content: int64(1)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got any
			if err := wire.Unmarshal(unhex(t, tt.item), &got); err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %#v, %v, want %#v", got, err, tt.want)
			}
		})
	}
}

func nested(levels int) any {
	if levels == 0 {
		return int64(0)
	}
	return []any{nested(levels - 1)}
}

func slice(n int) (out []any) {
	for range n {
		out = append(out, int64(0))
	}
	return out
}

func TestNamesAreCaseSensitive(t *testing.T) {
	var m message
	if err := wire.Unmarshal(unhex(t, "a1644e616d656161"), &m); err != nil || m.Name != "" {
		t.Errorf("member Name: got %+v, %v, want it ignored", m, err)
	}
	if err := wire.Unmarshal(unhex(t, "a161310a"), &m); err != nil || m.Number != 0 {
		t.Errorf(`member "1": got %+v, %v, want it ignored`, m, err)
	}
}

func TestEveryTruncationIsRefused(t *testing.T) {
	whole := unhex(t, "a6 01 1a00010000 20 4161 6161 82c60af93c00 03 a1041bffffffffffffffff 05 f6 190100 7801 61")
	if err := wire.Unmarshal(whole, new(message)); err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if err := wire.Unmarshal(whole[:n], new(message)); err == nil {
			t.Errorf("%d of %d bytes were read", n, len(whole))
		}
	}
}

func TestDeterministic(t *testing.T) {
	for _, item := range []string{
		"00", "17", "1818", "190100", "1a00010000", "1b0000000100000000", "20", "3818", "40", "5818" + strings.Repeat("00", 24), "6161",
		"80", "a0", "a2 0100 6100 00", "a3 01 00 20 00 6161 00", "a2 1818 00 20 00", "a2 6162 00 626161 00", "c100", "d83d00", "f4", "f6",
		"f90000", "f98000", "f90001", "f93c00", "f97bff", "fa47800000", "fa33000000", "fb3ff199999999999a", "fb3690000000000000",
	} {
		if err := wire.UnmarshalDeterministic(unhex(t, item), new(wire.RawMessage)); err != nil {
			t.Errorf("%s: %v", item, err)
		}
	}
	for _, item := range []string{
		"1800", "1817", "190018", "1900ff", "1a0000ffff", "1b00000000ffffffff", "3800", "5800", "580161", "780161", "9800", "b800", "d80600",
		"d9003d00", "a2 02 00 01 00", "a2 20 00 01 00", "a2 626161 00 6162 00", "a2 20 00 1818 00", "a1 1801 00",
		"82 00 1801", "fa3f800000", "fb3ff0000000000000", "fa33800000", "fb47efffffe0000000", "fb36a0000000000000",
	} {
		data := unhex(t, item)
		if err := wire.UnmarshalDeterministic(data, new(wire.RawMessage)); !errors.Is(err, wire.ErrNotDeterministic) {
			t.Errorf("%s: got %v, want %v", item, err, wire.ErrNotDeterministic)
		}
		if err := wire.Unmarshal(data, new(wire.RawMessage)); err != nil {
			t.Errorf("%s: %v, want it read where any spelling will do", item, err)
		}
	}
}

func TestDiagnoseNeverFails(t *testing.T) {
	for item, want := range map[string]string{"a10102": "{1: 2}", "": "h''", "a1": "h'a1'", "f97e00": "NaN", "9f01ff": "[_ 1]"} {
		if got := wire.Diagnose(unhex(t, item)); got != want {
			t.Errorf("%s: got %s, want %s", item, got, want)
		}
	}
}

// TestUnmarshalList: arrays as long as is said, maps no longer than ever, and strict like Unmarshal.
func TestUnmarshalList(t *testing.T) {
	array := func(n int) []byte {
		return append([]byte{0x99, byte(n >> 8), byte(n)}, bytes.Repeat([]byte{0x01}, n)...)
	}
	pairs := []byte{0xb9, 0x01, 0x01} // 257 members
	for n := range 257 {
		pairs = append(pairs, 0x19, byte(n>>8), byte(n), 0x00)
	}
	for _, tt := range []struct {
		name string
		data []byte
		ok   bool
	}{
		{"as many as said", array(300), true},
		{"one more", array(301), false},
		{"a long map", pairs, false},
		{"cut", array(300)[:200], false},
		{"with a byte after it", append(array(300), 0), false},
		{"of indefinite length", []byte{0x9f, 0x01, 0xff}, false},
	} {
		var v any
		if err := wire.UnmarshalList(tt.data, &v, 300); (err == nil) != tt.ok {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
	var v any
	if err := wire.Unmarshal(array(300), &v); err == nil {
		t.Error("Unmarshal takes a long list")
	}
}
