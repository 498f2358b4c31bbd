package ccm

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/fxamacker/cbor/v2"
	pion "github.com/pion/dtls/v3/pkg/crypto/ccm"
	"pgregory.net/rapid"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustNew(t testing.TB, key []byte, tagSize int) cipher.AEAD {
	t.Helper()
	a, err := New(key, tagSize)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

type vector struct {
	Name, Key, Nonce, Additional, Plaintext, Ciphertext string
	TagSize                                             int
}

func vectors(t testing.TB) []vector {
	t.Helper()
	data, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vs []vector
	if err := json.Unmarshal(data, &vs); err != nil {
		t.Fatal(err)
	}
	return vs
}

func TestPublishedVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			a := mustNew(t, unhex(t, v.Key), v.TagSize)
			nonce, aad := unhex(t, v.Nonce), unhex(t, v.Additional)
			sealed := a.Seal(nil, nonce, unhex(t, v.Plaintext), aad)
			if got := hex.EncodeToString(sealed); got != v.Ciphertext {
				t.Fatalf("Seal: got %s, want %s", got, v.Ciphertext)
			}
			opened, err := a.Open(nil, nonce, sealed, aad)
			if err != nil || hex.EncodeToString(opened) != v.Plaintext {
				t.Fatalf("Open: got %x, %v, want %s", opened, err, v.Plaintext)
			}
		})
	}
}

// coseExample is one file of cose-wg/Examples with direct encryption; those for other nonce lengths are of no use here.
type coseExample struct {
	Input struct {
		Plaintext string
		Fail      bool
		Enveloped *coseInput
		Encrypted *coseInput
		RNG       []string `json:"rng_stream"`
	}
	Intermediates struct {
		AAD string `json:"AAD_hex"`
		CEK string `json:"CEK_hex"`
	}
	Output struct{ CBOR string }
}

type coseInput struct {
	Protected  struct{ Alg string }
	Recipients []struct{ Key struct{ K string } }
}

func TestCOSEExamples(t *testing.T) {
	tags := map[string]int{
		"AES-CCM-16-128/64": 8, "AES-CCM-16-256/64": 8, "AES-CCM-16-128/128": 16, "AES-CCM-16-256/128": 16,
	}
	files, err := filepath.Glob("testdata/cose-wg/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	ran := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var e coseExample
		if err := json.Unmarshal(data, &e); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		in := e.Input.Enveloped
		if in == nil {
			in = e.Input.Encrypted
		}
		tagSize, ok := tags[in.Protected.Alg]
		if !ok {
			continue
		}
		ran++
		t.Run(filepath.Base(file), func(t *testing.T) { checkCOSE(t, e, in, tagSize) })
	}
	if ran < 4 {
		t.Fatalf("ran %d examples, want at least 4", ran)
	}
}

func checkCOSE(t *testing.T, e coseExample, in *coseInput, tagSize int) {
	key, err := base64.RawURLEncoding.DecodeString(in.Recipients[0].Key.K)
	if err != nil {
		t.Fatal(err)
	}
	var tagged cbor.Tag
	if err := cbor.Unmarshal(unhex(t, e.Output.CBOR), &tagged); err != nil {
		t.Fatal(err)
	}
	object := tagged.Content.([]any)
	nonce := object[1].(map[any]any)[uint64(5)].([]byte)
	opened, err := mustNew(t, key, tagSize).Open(nil, nonce, object[2].([]byte), unhex(t, e.Intermediates.AAD))
	if err != nil || string(opened) != e.Input.Plaintext {
		t.Fatalf("got %q, %v, want %q", opened, err, e.Input.Plaintext)
	}
}

func TestAgreesWithPion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keySize := rapid.SampledFrom([]int{16, 32}).Draw(t, "keySize")
		key := rapid.SliceOfN(rapid.Byte(), keySize, keySize).Draw(t, "key")
		tagSize := rapid.SampledFrom([]int{8, 16}).Draw(t, "tagSize")
		nonce := rapid.SliceOfN(rapid.Byte(), NonceSize, NonceSize).Draw(t, "nonce")
		plaintext := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "plaintext")
		additional := rapid.SliceOfN(rapid.Byte(), 0, 80).Draw(t, "additional")
		ours, err := New(key, tagSize)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, ours, oracle(t, key, tagSize), nonce, plaintext, additional)
	})
}

type fataler interface{ Fatalf(string, ...any) }

func oracle(t fataler, key []byte, tagSize int) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatalf("oracle: %v", err)
	}
	theirs, err := pion.NewCCM(block, tagSize, NonceSize)
	if err != nil {
		t.Fatalf("oracle: %v", err)
	}
	return theirs
}

func compare(t fataler, ours, theirs cipher.AEAD, nonce, plaintext, additional []byte) {
	prefix := []byte("prefix")
	want := theirs.Seal(slices.Clone(prefix), nonce, plaintext, additional)
	if got := ours.Seal(slices.Clone(prefix), nonce, plaintext, additional); !bytes.Equal(got, want) {
		t.Fatalf("Seal: got %x, want %x", got, want)
	}
	inPlace := make([]byte, len(plaintext), len(plaintext)+ours.Overhead())
	copy(inPlace, plaintext)
	inPlace = ours.Seal(inPlace[:0], nonce, inPlace, additional)
	if !bytes.Equal(inPlace, want[len(prefix):]) {
		t.Fatalf("Seal in place: got %x, want %x", inPlace, want[len(prefix):])
	}
	opened, err := ours.Open(inPlace[:0], nonce, inPlace, additional)
	if err != nil || !bytes.Equal(opened, plaintext) {
		t.Fatalf("Open in place: got %x, %v, want %x", opened, err, plaintext)
	}
}

func TestLongAdditionalDataAgreesWithPion(t *testing.T) {
	key, nonce := make([]byte, 16), make([]byte, NonceSize)
	for _, size := range []int{shortAAD - 1, shortAAD, shortAAD + 1, 1 << 16, 1<<16 + 5} {
		for _, tagSize := range []int{8, 16} {
			additional := bytes.Repeat([]byte{0xa5}, size)
			compare(t, mustNew(t, key, tagSize), oracle(t, key, tagSize), nonce, []byte("message"), additional)
		}
	}
}

func TestLongestMessage(t *testing.T) {
	a := mustNew(t, make([]byte, 16), 16)
	nonce := make([]byte, NonceSize)
	compare(t, a, oracle(t, make([]byte, 16), 16), nonce, make([]byte, MaxPlaintext), nil)
	defer func() {
		if recover() == nil {
			t.Error("sealing a message one byte too long did not panic")
		}
		if _, err := a.Open(nil, nonce, make([]byte, MaxPlaintext+17), nil); err == nil {
			t.Error("opened a message one byte too long")
		}
	}()
	a.Seal(nil, nonce, make([]byte, MaxPlaintext+1), nil)
}

func TestOpenRefusesEveryChangedBit(t *testing.T) {
	v := vectors(t)[0]
	a := mustNew(t, unhex(t, v.Key), v.TagSize)
	inputs := [3][]byte{unhex(t, v.Nonce), unhex(t, v.Ciphertext), unhex(t, v.Additional)}
	for which, input := range inputs {
		for bit := range len(input) * 8 {
			input[bit/8] ^= 1 << (bit % 8)
			dst := make([]byte, 0, 64)
			if _, err := a.Open(dst, inputs[0], inputs[1], inputs[2]); err == nil {
				t.Errorf("input %d, bit %d flipped: opened", which, bit)
			}
			if !bytes.Equal(dst[:cap(dst)], make([]byte, cap(dst))) {
				t.Fatalf("input %d, bit %d flipped: plaintext left behind", which, bit)
			}
			input[bit/8] ^= 1 << (bit % 8)
		}
	}
	for n := range inputs[1] {
		if _, err := a.Open(nil, inputs[0], inputs[1][:n], inputs[2]); err == nil {
			t.Errorf("truncated to %d bytes: opened", n)
		}
	}
	if _, err := a.Open(nil, inputs[0][:12], inputs[1], inputs[2]); err == nil {
		t.Error("12-byte nonce: opened")
	}
	if _, err := a.Open(nil, inputs[0], inputs[1], inputs[2]); err != nil {
		t.Errorf("unchanged: %v", err)
	}
}

func TestNewRefusesOtherSizes(t *testing.T) {
	for _, size := range []int{0, 15, 17, 24, 33} {
		if _, err := New(make([]byte, size), 8); err == nil {
			t.Errorf("key of %d bytes accepted", size)
		}
	}
	for _, tagSize := range []int{0, 4, 7, 9, 12, 17} {
		if _, err := New(make([]byte, 16), tagSize); err == nil {
			t.Errorf("tag of %d bytes accepted", tagSize)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	a := mustNew(t, make([]byte, 16), 8)
	nonce, aad, plain := make([]byte, NonceSize), make([]byte, 20), make([]byte, 100)
	buffer := make([]byte, 0, 128)
	sealed := a.Seal(nil, nonce, plain, aad)
	if n := testing.AllocsPerRun(1000, func() { a.Seal(buffer, nonce, plain, aad) }); n >= 1 {
		t.Errorf("Seal allocates %v times", n)
	}
	if n := testing.AllocsPerRun(1000, func() { _, _ = a.Open(buffer, nonce, sealed, aad) }); n >= 1 {
		t.Errorf("Open allocates %v times", n)
	}
}

func BenchmarkCCM(b *testing.B) {
	key, nonce, aad := make([]byte, 16), make([]byte, NonceSize), make([]byte, 20)
	for _, size := range []int{16, 64, 256, 1024} {
		plain := make([]byte, size)
		for name, a := range map[string]cipher.AEAD{"ours": mustNew(b, key, 8), "pion": oracle(b, key, 8)} {
			sealed := a.Seal(nil, nonce, plain, aad)
			buffer := make([]byte, 0, len(sealed))
			b.Run(fmt.Sprintf("seal/%d/%s", size, name), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					a.Seal(buffer, nonce, plain, aad)
				}
			})
			b.Run(fmt.Sprintf("open/%d/%s", size, name), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := a.Open(buffer, nonce, sealed, aad); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
