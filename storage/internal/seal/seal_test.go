package seal_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"

	"github.com/latchkey-ace/latchkey/storage/internal/seal"
)

func sealer(t *testing.T, first byte) *seal.Sealer {
	t.Helper()
	s, err := seal.New([32]byte{first, 1, 2}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSealedSecretComesBackAndIsNotVisible(t *testing.T) {
	s := sealer(t, 1)
	for _, secret := range [][]byte{nil, {}, {7}, bytes.Repeat([]byte{0xAB}, 32), bytes.Repeat([]byte{1}, 5000)} {
		sealed, err := s.Seal("devices", []byte("front"), secret)
		if err != nil {
			t.Fatal(err)
		}
		if len(secret) > 8 && bytes.Contains(sealed, secret[:8]) {
			t.Errorf("secret of %d bytes is visible in its sealed form", len(secret))
		}
		got, err := s.Open("devices", []byte("front"), sealed)
		if err != nil || !bytes.Equal(got, secret) || (got == nil) != (len(secret) == 0) {
			t.Errorf("got %x, %v, want %x", got, err, secret)
		}
	}
}

func TestSealsDiffer(t *testing.T) {
	s := sealer(t, 1)
	first, _ := s.Seal("devices", []byte("front"), []byte("secret"))
	second, _ := s.Seal("devices", []byte("front"), []byte("secret"))
	if bytes.Equal(first, second) {
		t.Error("two seals of one secret are equal: the nonce repeats")
	}
}

func TestSealedValueOpensOnlyInItsPlace(t *testing.T) {
	s := sealer(t, 1)
	sealed, err := s.Seal("devices", []byte("front"), []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	refused := func(name string, by *seal.Sealer, table, row string, value []byte) {
		t.Helper()
		if got, err := by.Open(table, []byte(row), value); !errors.Is(err, seal.ErrOpen) || got != nil {
			t.Errorf("%s: got %x, %v, want %v", name, got, err, seal.ErrOpen)
		}
	}
	refused("another key", sealer(t, 2), "devices", "front", sealed)
	refused("another row", s, "devices", "back", sealed)
	refused("another table", s, "clients", "front", sealed)
	refused("a table that runs into the row", s, "device", "sfront", sealed)
	refused("nothing", s, "devices", "front", nil)
	for i := range sealed {
		refused("truncated", s, "devices", "front", sealed[:i])
		flipped := bytes.Clone(sealed)
		flipped[i] ^= 1
		refused("one bit flipped", s, "devices", "front", flipped)
	}
}

func TestRememberDependsOnKeyAndStore(t *testing.T) {
	s := sealer(t, 1)
	if !bytes.Equal(s.Remember([]byte("k")), sealer(t, 1).Remember([]byte("k"))) {
		t.Error("one key is remembered in two ways")
	}
	if bytes.Equal(s.Remember([]byte("k")), s.Remember([]byte("l"))) {
		t.Error("two keys are remembered alike")
	}
	if bytes.Equal(s.Remember([]byte("k")), sealer(t, 2).Remember([]byte("k"))) {
		t.Error("two stores remember a key alike")
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("no randomness") }

func TestNoRandomnessNoSeal(t *testing.T) {
	s, err := seal.New([32]byte{1}, broken{})
	if err != nil {
		t.Fatal(err)
	}
	if sealed, err := s.Seal("devices", nil, []byte("secret")); err == nil {
		t.Errorf("sealed to %x without randomness", sealed)
	}
}

// TestRowsHaveKeysOfTheirOwn: what is sealed for a row opens there alone, and by no other way.
func TestRowsHaveKeysOfTheirOwn(t *testing.T) {
	s, other := sealer(t, 1), sealer(t, 2)
	sealed, err := s.SealRow("tokens", []byte("one"), []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.OpenRow("tokens", []byte("one"), sealed); err != nil || string(got) != "secret" {
		t.Errorf("got %q, %v", got, err)
	}
	plain, err := s.Seal("tokens", []byte("one"), []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func() ([]byte, error){
		"another row":         func() ([]byte, error) { return s.OpenRow("tokens", []byte("two"), sealed) },
		"another table":       func() ([]byte, error) { return s.OpenRow("families", []byte("one"), sealed) },
		"another key":         func() ([]byte, error) { return other.OpenRow("tokens", []byte("one"), sealed) },
		"the key of all rows": func() ([]byte, error) { return s.Open("tokens", []byte("one"), sealed) },
		"not of a row":        func() ([]byte, error) { return s.OpenRow("tokens", []byte("one"), plain) },
		"cut":                 func() ([]byte, error) { return s.OpenRow("tokens", []byte("one"), sealed[:len(sealed)-1]) },
		"nothing":             func() ([]byte, error) { return s.OpenRow("tokens", []byte("one"), nil) },
	} {
		if got, err := open(); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("%s: got %x, %v", name, got, err)
		}
	}
}
