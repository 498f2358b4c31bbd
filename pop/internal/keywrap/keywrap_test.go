package keywrap_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/internal/keywrap"
	"pgregory.net/rapid"
)

// octets is a byte string in hexadecimal.
type octets []byte

func (o *octets) UnmarshalText(text []byte) (err error) {
	*o, err = hex.DecodeString(string(text))
	return err
}

// vector is one of RFC 3394 §4.
type vector struct {
	Section           string
	KEK, Key, Wrapped octets
}

func vectors(tb testing.TB) []vector {
	tb.Helper()
	data, err := os.ReadFile("testdata/rfc3394.json")
	if err != nil {
		tb.Fatal(err)
	}
	var list []vector
	if err := json.Unmarshal(data, &list); err != nil || len(list) == 0 {
		tb.Fatalf("%d vectors, %v", len(list), err)
	}
	return list
}

func TestPublishedVectors(t *testing.T) {
	for _, v := range vectors(t) {
		if got, err := keywrap.Wrap(v.KEK, v.Key); err != nil || !bytes.Equal(got, v.Wrapped) {
			t.Errorf("§%s: got %x, %v, want %x", v.Section, got, err, v.Wrapped)
		}
		if got, err := keywrap.Unwrap(v.KEK, v.Wrapped); err != nil || !bytes.Equal(got, v.Key) {
			t.Errorf("§%s: got %x, %v, want %x", v.Section, got, err, v.Key)
		}
	}
}

func TestEveryChangedBitIsRefused(t *testing.T) {
	for _, v := range vectors(t) {
		for which, input := range [][]byte{v.Wrapped, v.KEK} {
			for bit := range 8 * len(input) {
				input[bit/8] ^= 1 << (bit % 8)
				if key, err := keywrap.Unwrap(v.KEK, v.Wrapped); key != nil || !errors.Is(err, keywrap.ErrIntegrity) {
					t.Errorf("§%s, input %d, bit %d: got %x, %v, want %v", v.Section, which, bit, key, err, keywrap.ErrIntegrity)
				}
				input[bit/8] ^= 1 << (bit % 8)
			}
		}
		for n := range v.Wrapped {
			if key, err := keywrap.Unwrap(v.KEK, v.Wrapped[:n]); key != nil || !errors.Is(err, keywrap.ErrIntegrity) {
				t.Errorf("§%s, cut to %d bytes: got %x, %v", v.Section, n, key, err)
			}
		}
	}
}

func TestSizes(t *testing.T) {
	kek := make([]byte, 16)
	for size := range 600 {
		wrapped, err := keywrap.Wrap(kek, make([]byte, size))
		if want := size%8 == 0 && size >= 16 && size <= 512; want != (err == nil) || want && len(wrapped) != size+8 {
			t.Errorf("a key of %d bytes: got %d bytes, %v", size, len(wrapped), err)
		}
	}
	for _, size := range []int{0, 15, 17, 33} {
		if _, err := keywrap.Wrap(make([]byte, size), kek); err == nil {
			t.Errorf("wrapped under a key of %d bytes", size)
		}
		if _, err := keywrap.Unwrap(make([]byte, size), make([]byte, 24)); err == nil || errors.Is(err, keywrap.ErrIntegrity) {
			t.Errorf("unwrapped under a key of %d bytes: %v", size, err)
		}
	}
}

func TestUnwrapUndoesWrap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]int{16, 24, 32}).Draw(t, "size")
		kek := rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, "kek")
		size = 8 * rapid.IntRange(2, 64).Draw(t, "halves")
		key := rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, "key")
		wrapped, err := keywrap.Wrap(kek, key)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := keywrap.Unwrap(kek, wrapped); err != nil || !bytes.Equal(got, key) {
			t.Fatalf("got %x, %v, want %x", got, err, key)
		}
	})
}

// FuzzUnwrap: what unwraps is what its key wraps to.
func FuzzUnwrap(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add([]byte(v.KEK), []byte(v.Wrapped))
	}
	f.Fuzz(func(t *testing.T, kek, wrapped []byte) {
		key, err := keywrap.Unwrap(kek, wrapped)
		if err != nil {
			return
		}
		if again, err := keywrap.Wrap(kek, key); err != nil || !bytes.Equal(again, wrapped) {
			t.Errorf("got %x, %v, want %x", again, err, wrapped)
		}
	})
}
