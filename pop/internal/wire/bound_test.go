package wire_test

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// What a decoded item may cost: the worst of them, maps of one member into any, are a Go map of eight slots each.
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

func TestABombCostsNothing(t *testing.T) {
	for _, tt := range refused {
		data := unhex(t, tt.item)
		for _, to := range []func() any{
			func() any { return new(any) },
			func() any { return new(message) },
			func() any { return new([]int64) },
			func() any { return new(map[int64]string) },
		} {
			got := allocated(func() { _ = wire.Unmarshal(data, to()) })
			if limit := uint64(2048); got > limit { // the destination, the error, and a key table where there are many keys
				t.Errorf("%s: %d bytes on the heap for %d of input into %T, at most %d", tt.name, got, len(data), to(), limit)
			}
		}
	}
}

func TestAllocationIsBoundedByTheInput(t *testing.T) {
	wide := func(head, element string) []byte {
		return append(unhex(t, head), bytes.Repeat(unhex(t, element), wire.MaxElements)...)
	}
	tests := []struct {
		name string
		data []byte
	}{
		{"empty arrays", wide("990100", "80")},
		{"empty maps", wide("990100", "a0")},
		{"maps of one", wide("990100", "a10000")},
		{"maps of one text", wide("990100", "a16000")},
		{"empty strings", wide("990100", "40")},
		{"nulls", wide("990100", "f6")},
		{"tags", wide("990100", "c600")},
		{"dates", wide("990100", "c100")},
		{"arrays in arrays", wide("990100", "8181818180")},
		{"maps in maps", wide("990100", "a100a100a100a100a10000")},
		{"256 keys", []byte("\xb9\x01\x00" + manyKeys())},
		{"a long string", append([]byte{0x59, 0xff, 0xf0}, make([]byte, 0xfff0)...)},
		{"256 arrays of 250", wide("990100", "98fa"+strings.Repeat("80", 250))},
		{"256 arrays of 80 maps", wide("990100", "9850"+strings.Repeat("a10000", 80))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var v any
			if err := wire.Unmarshal(tt.data, &v); err != nil {
				t.Fatal(err)
			}
			got := allocated(func() { var v any; _ = wire.Unmarshal(tt.data, &v) })
			if limit := uint64(fixedCost + bytesPerByte*len(tt.data)); got > limit {
				t.Errorf("%d bytes on the heap for %d of input, at most %d", got, len(tt.data), limit)
			}
			t.Logf("%d bytes on the heap for %d of input: %d for each", got, len(tt.data), got/uint64(len(tt.data)))
		})
	}
}

// manyKeys is 256 members with distinct text keys of three bytes.
func manyKeys() string {
	var out strings.Builder
	for i := range 256 {
		out.WriteString("\x63k" + string(rune('A'+i/16)) + string(rune('A'+i%16)) + "\x00")
	}
	return out.String()
}

func TestCheckingAllocatesNothing(t *testing.T) {
	data := unhex(t, "a7 01 6161 02 43616263 03 a3 01 02 03 04 6166 f6 04 1a5612aeb0 05 80 08 a104a20041010243616263 6161 c11a5612aeb0")
	var raw wire.RawMessage
	decode := testing.AllocsPerRun(100, func() { raw = raw[:0]; _ = wire.Unmarshal(data, &raw) })
	strict := testing.AllocsPerRun(100, func() { raw = raw[:0]; _ = wire.UnmarshalDeterministic(data, &raw) })
	if decode > 1 || strict > 1 { // the decoder's own, of the RawMessage
		t.Errorf("got %v and %v allocations, want at most 1", decode, strict)
	}
}

// BenchmarkUnmarshal measures our checks by the library's decoding alone, which is the floor.
func BenchmarkUnmarshal(b *testing.B) {
	data := unhex(b, "a7 01 6161 02 43616263 03 a3 01 02 03 04 6166 f6 04 1a5612aeb0 05 80 08 a104a20041010243616263 6161 c11a5612aeb0")
	for _, bench := range []struct {
		name   string
		decode func([]byte, any) error
	}{{"floor", oracle.Unmarshal}, {"any spelling", wire.Unmarshal}, {"deterministic", wire.UnmarshalDeterministic}} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			var raw wire.RawMessage
			for b.Loop() {
				raw = raw[:0]
				if err := bench.decode(data, &raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
