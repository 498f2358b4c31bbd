package ace

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// FuzzPlain: what is read without reflection is what wire reads, and nothing else.
func FuzzPlain(f *testing.F) {
	for _, seed := range []string{
		"00", "17", "1818", "1817", "1bffffffffffffffff", "3903e7", "3bffffffffffffffff", "40", "43010203", "5803010203", "430102", "4301020304",
		"60", "63616263", "61ff", "62c3b6", "a0", "a10118ff", "a1044261", "a1044161", "a20101026161", "a202010101", "a201010101", "a101a201022041aa",
		"a101a1010a", "a11bffffffffffffffff00", "a1613101", "a10180", "a101f6", "bf0101ff", "a22000010a", "a2010a2000", "a101a101a1010a",
	} {
		data, err := hex.DecodeString(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n, content, ok := plainOf(data)
		if ok {
			var whole any
			if err := wire.Unmarshal(data, &whole); err != nil {
				t.Fatalf("%x: wire says %v", data, err)
			}
			switch v := whole.(type) {
			case int64:
				if v >= 0 && uint64(v) != n || v < 0 && -1-int64(n) != v {
					t.Errorf("%x: got %d, want %d", data, n, v)
				}
			case []byte:
				if !bytes.Equal(v, content) {
					t.Errorf("%x: got %x", data, content)
				}
			case string:
				if v != string(content) {
					t.Errorf("%x: got %q", data, content)
				}
			default:
				t.Errorf("%x is %T", data, whole)
			}
		}
		e, ok := scanEntries(data, true)
		if !ok {
			return
		}
		var m map[int64]wire.RawMessage
		if err := wire.Unmarshal(data, &m); err != nil || len(m) != len(e) {
			t.Fatalf("%x: wire has %d entries, %v", data, len(m), err)
		}
		for _, at := range e {
			if !bytes.Equal(m[at.label], at.value) {
				t.Errorf("%x: %d is %x, want %x", data, at.label, at.value, m[at.label])
			}
		}
	})
}
