package cwt

import (
	"bytes"
	"runtime"
	"strings"
	"testing"
)

// What reading may cost for each byte of input: the worst are unknown claims of two bytes, each an entry of a Go map.
const (
	bytesPerByte = 200
	fixedCost    = 4096
)

// allocated measures the heap bytes of one call, the least of several because other goroutines allocate too.
func allocated(f func()) uint64 {
	least := ^uint64(0)
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return least
}

// bombs are claims sets that say they are more than they are, or have much in little. None nests deeper than it may.
var bombs = []struct{ name, data string }{
	{"9 bytes: a map of 2^64 - 1", "bbffffffffffffffff"},
	{"9 bytes: a map of 2^31", "bb0000000080000000"},
	{"a map of 256", "b90100"},
	{"an audience of 2^63 bytes", "a1037b8000000000000000"},
	{"a cti of 4 GiB", "a1075affffffff"},
	{"a cnf of 2^32 methods", "a108bb0000000100000000"},
	{"a cnf of 256 methods", "a108b90100"},
	{"a scope of 2^63 rights", "a109499b7fffffffffffffff"},
	{"a scope of 17 rights", "a1094191"},
	{"a path of 2^64 - 1 bytes", "a1094b81827bffffffffffffffff"},
	{"16 indexes that are not there", "a13a00011170a300010148000000000000000002" + "90"},
	{"an unknown claim of 2^63 elements", "a1182a9b7fffffffffffffff"},
	{"an unknown claim of 256 arrays", "a1182a990100" + strings.Repeat("80", 256)},
	{"256 unknown claims", "b90100" + unknownClaims(256)},
	{"32 unknown claims", "b820" + unknownClaims(32)},
	{"32 unknown claims in another order", "b820" + unknownClaims(31) + "182900"},
	{"256 unknown methods", "a108b90100" + unknownClaims(256)},
	{"an input material of 256 parameters", "a108a104b90100" + unknownClaims(256)},
	{"a key of 256 parameters", "a108a101b90100" + unknownClaims(256)},
	{"an encrypted key with 2^31 recipients", "a108a1028443a1010aa041009b0000000080000000"},
	{"arrays nested 60,000 deep", "a1182a" + strings.Repeat("81", 60000)},
	{"maps nested 30,000 deep", "a1182a" + strings.Repeat("a101", 30000)},
	{"tags nested 60,000 deep", "a1182a" + strings.Repeat("c6", 60000)},
	{"a claim beyond 65,536 bytes", "a1182a5a00010000" + strings.Repeat("00", 1<<16)},
}

// TestAllocationIsBoundedByTheInput: the claims of an authentic token, and the envelope of any, cost no more than their
// length pays for.
func TestAllocationIsBoundedByTheInput(t *testing.T) {
	h := newHouse(t)
	for _, tt := range bombs {
		t.Run(tt.name, func(t *testing.T) {
			data := unhex(t, tt.data)
			got := allocated(func() { _, _ = parseClaims(data) })
			paid := len(data)
			if strings.Contains(tt.name, "deep") || strings.Contains(tt.name, "beyond") {
				paid = 0 // refused by its first bytes, or by its length
			}
			if limit := uint64(fixedCost + bytesPerByte*paid); got > limit {
				t.Errorf("%d bytes on the heap for %d of input, at most %d", got, len(data), limit)
			}
			t.Logf("%d bytes on the heap for %d of input", got, len(data))
		})
	}
	for name, token := range map[string][]byte{
		"Sign1 of 2^31 entries":      unhex(t, "d83dd29b0000000080000000"),
		"a payload of 2^63 bytes":    unhex(t, "d83dd28443a10126a05b8000000000000000"),
		"a header of 2^32 labels":    unhex(t, "d83dd28449bb0000000100000000a04040"),
		"a crit of 2^32 labels":      unhex(t, "d83dd2844ca201260"+"29b0000000100000000"+"a04040"),
		"tags without end":           bytes.Repeat([]byte{0xc6}, MaxToken),
		"a megabyte":                 make([]byte, 1<<20),
		"arrays without end, tagged": append(unhex(t, "d83dd284"), bytes.Repeat([]byte{0x81}, MaxToken-4)...),
	} {
		if got := allocated(func() { _, _ = Open(token, h.keys()) }); got > fixedCost {
			t.Errorf("%s: %d bytes on the heap for %d of input, at most %d", name, got, len(token), fixedCost)
		}
	}
}
