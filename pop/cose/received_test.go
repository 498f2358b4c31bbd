package cose_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/internal/keywrap"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// loose is a protected header as nobody here would write it: the labels out of order, and each integer a byte longer than
// needed. Its algorithm goes into the last two bytes.
func loose(alg cose.Algorithm) []byte {
	out := []byte{0xa2, 0x18, 0x04, 0x41, 0x37, 0x18, 0x01, 0x18, byte(alg)}
	if alg < 0 {
		out[7], out[8] = 0x38, byte(-1-alg)
	}
	return out
}

func mustMarshal(tb testing.TB, v any) []byte {
	tb.Helper()
	data, err := wire.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

var openMap = wire.RawMessage{0xa1, 0x18, 0x63, 0xf5} // a parameter that nobody knows

// TestReceivedHeadersAreNotEncodedAgain holds all six structures to what their sender signed, byte for byte. The messages
// are made without this package.
func TestReceivedHeadersAreNotEncodedAgain(t *testing.T) {
	private := newMaterials(t).sign
	secret := bytes.Repeat([]byte{3}, 32)
	sign := func(parts ...any) []byte {
		digest := sha256.Sum256(mustMarshal(t, parts))
		r, s, err := ecdsa.Sign(rand.Reader, private, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}
	authenticate := func(parts ...any) []byte {
		mac := hmac.New(sha256.New, secret)
		mac.Write(mustMarshal(t, parts))
		return mac.Sum(nil)
	}
	iv := make([]byte, 12)
	seal := func(parts ...any) []byte { return newGCM(t, secret).Seal(nil, iv, content, mustMarshal(t, parts)) }
	withIV := wire.RawMessage(append([]byte{0xa1, 0x05, 0x4c}, iv...))
	es256, hs256, gcm, none := loose(cose.ES256), loose(cose.HMAC256), loose(cose.A256GCM), []byte{}
	direct := []any{[]any{none, map[int]int{1: int(cose.Direct)}, none}}
	verify, mac, decrypt := mustKey(t, &private.PublicKey, cose.KeyOptions{}), mustKey(t, secret, cose.KeyOptions{}), mustKey(t, secret, cose.KeyOptions{})
	for tag, row := range map[cose.Tag]struct {
		key       *cose.Key
		protected []byte
		message   []any
	}{
		cose.TagSign1: {verify, es256, []any{es256, openMap, content, sign("Signature1", es256, external, content)}},
		cose.TagSign: {verify, gcm, []any{gcm, openMap, content, []any{
			[]any{es256, openMap, sign("Signature", gcm, es256, external, content)},
		}}},
		cose.TagMac0:     {mac, hs256, []any{hs256, openMap, content, authenticate("MAC0", hs256, external, content)}},
		cose.TagMac:      {mac, hs256, []any{hs256, openMap, content, authenticate("MAC", hs256, external, content), direct}},
		cose.TagEncrypt0: {decrypt, gcm, []any{gcm, withIV, seal("Encrypt0", gcm, external)}},
		cose.TagEncrypt:  {decrypt, gcm, []any{gcm, withIV, seal("Encrypt", gcm, external), direct}},
	} {
		data := mustMarshal(t, row.message)
		got, err := openAs(tag, data, cose.With(row.key), cose.Options{External: external})
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%v: got %q, %v, want %q", tag, got, err, content)
		}
		if kept := protectedOf(t, tag, data); !bytes.Equal(kept, row.protected) {
			t.Errorf("%v: got protected header %x, want %x", tag, kept, row.protected)
		}
		// The same header in the deterministic encoding says the same and is another message.
		row.message[0] = canonical(t, row.protected)
		_, err = openAs(tag, mustMarshal(t, row.message), cose.With(row.key), cose.Options{External: external})
		if !errors.Is(err, cose.ErrVerification) {
			t.Errorf("%v with its header encoded again: got %v, want %v", tag, err, cose.ErrVerification)
		}
	}
}

func newGCM(tb testing.TB, secret []byte) cipher.AEAD {
	tb.Helper()
	block, err := aes.NewCipher(secret)
	if err != nil {
		tb.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		tb.Fatal(err)
	}
	return aead
}

func canonical(tb testing.TB, header []byte) []byte {
	tb.Helper()
	var m map[int]any
	if err := wire.Unmarshal(header, &m); err != nil {
		tb.Fatal(err)
	}
	return mustMarshal(tb, m)
}

func protectedOf(tb testing.TB, tag cose.Tag, data []byte) []byte {
	tb.Helper()
	var m interface{ Protected() []byte }
	var err error
	switch tag {
	case cose.TagSign1:
		m, err = cose.ParseSign1(data)
	case cose.TagSign:
		m, err = cose.ParseSign(data)
	case cose.TagMac0:
		m, err = cose.ParseMac0(data)
	case cose.TagMac:
		m, err = cose.ParseMac(data)
	case cose.TagEncrypt0:
		m, err = cose.ParseEncrypt0(data)
	default:
		m, err = cose.ParseEncrypt(data)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return m.Protected()
}

// TestEmptyHeadersAreTheEmptyString: an empty map inside the protected bucket is signed as if the bucket were empty
// (RFC 9052 §3, §4.4).
func TestEmptyHeadersAreTheEmptyString(t *testing.T) {
	private := newMaterials(t).sign
	es256 := canonical(t, loose(cose.ES256))
	digest := sha256.Sum256(mustMarshal(t, []any{"Signature", []byte{}, es256, []byte{}, content}))
	r, s, err := ecdsa.Sign(rand.Reader, private, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	for _, empty := range [][]byte{{}, {0xa0}} {
		data := mustMarshal(t, []any{empty, map[int]int{}, content, []any{[]any{es256, map[int]int{}, signature}}})
		find := cose.With(mustKey(t, &private.PublicKey, cose.KeyOptions{}))
		if got, err := openAs(cose.TagSign, data, find, cose.Options{}); err != nil || !bytes.Equal(got, content) {
			t.Errorf("protected header %x: got %q, %v", empty, got, err)
		}
	}
}

// TestForgedSignatures: what is trivially a signature under a broken verifier is none here.
func TestForgedSignatures(t *testing.T) {
	private := newMaterials(t).sign
	find := cose.With(mustKey(t, &private.PublicKey, cose.KeyOptions{}))
	es256 := canonical(t, loose(cose.ES256))
	order := private.Params().N.FillBytes(make([]byte, 32))
	zero, one := make([]byte, 32), append(make([]byte, 31), 1)
	for name, signature := range map[string][]byte{
		"empty": {}, "(0, 0)": append(zero[:32:32], zero...), "(1, 0)": append(one[:32:32], zero...), "(0, 1)": append(zero[:32:32], one...),
		"(n, n)": append(order[:32:32], order...), "(1, 1)": append(one[:32:32], one...), "short": make([]byte, 63), "long": make([]byte, 65),
		"that of P-384": make([]byte, 96), "all ones": bytes.Repeat([]byte{0xff}, 64),
	} {
		data := mustMarshal(t, []any{es256, map[int]int{}, content, signature})
		if _, err := openAs(cose.TagSign1, data, find, cose.Options{}); !errors.Is(err, cose.ErrVerification) {
			t.Errorf("%s: got %v, want %v", name, err, cose.ErrVerification)
		}
	}
}

// TestMessagesKeepTheirOwnBytes: the caller may use its buffer again once a message has been parsed.
func TestMessagesKeepTheirOwnBytes(t *testing.T) {
	key := mustKey(t, bytes.Repeat([]byte{3}, 32), cose.KeyOptions{Algorithm: cose.HMAC256})
	data, err := cose.Mac0(key, content, nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := cose.ParseMac0(data)
	if err != nil {
		t.Fatal(err)
	}
	clear(data)
	if got, err := m.Verify(cose.With(key), cose.Options{}); err != nil || !bytes.Equal(got, content) {
		t.Errorf("got %q, %v, want %q", got, err, content)
	}
	clear(m.Protected())
	if _, err := m.Verify(cose.With(key), cose.Options{}); err != nil {
		t.Errorf("a caller changed the message: %v", err)
	}
}

// TestCriticalParametersAreTheCallers: what the caller processes itself it names, and nothing else passes.
func TestCriticalParametersAreTheCallers(t *testing.T) {
	secret := bytes.Repeat([]byte{3}, 32)
	protected := mustMarshal(t, map[any]any{1: 5, 2: []any{500, "door"}, 500: true, "door": 1})
	mac := hmac.New(sha256.New, secret)
	mac.Write(mustMarshal(t, []any{"MAC0", protected, []byte{}, content}))
	data := mustMarshal(t, []any{protected, map[int]int{}, content, mac.Sum(nil)})
	for name, tt := range map[string]struct {
		known []any
		want  error
	}{
		"both": {[]any{int64(500), "door"}, nil}, "one of them": {[]any{int64(500)}, cose.ErrUnsupported}, "none": {nil, cose.ErrUnsupported},
		"others": {[]any{int64(501), "lock", "500"}, cose.ErrUnsupported},
	} {
		_, err := openAs(cose.TagMac0, data, cose.With(mustKey(t, secret, cose.KeyOptions{})), cose.Options{Critical: tt.known})
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
}

// TestShortTags: a tag is compared whole; a shorter one would be found by trying.
func TestShortTags(t *testing.T) {
	for alg, size := range map[cose.Algorithm]int{cose.HMAC256_64: 8, cose.HMAC256: 32} {
		key := mustKey(t, bytes.Repeat([]byte{3}, 32), cose.KeyOptions{Algorithm: alg})
		data, err := cose.Mac0(key, content, nil)
		if err != nil {
			t.Fatal(err)
		}
		var fields []any
		if err := wire.Unmarshal(data, &fields); err != nil {
			t.Fatal(err)
		}
		tag := fields[3].([]byte)
		if len(tag) != size {
			t.Errorf("%v: got a tag of %d bytes, want %d", alg, len(tag), size)
		}
		for _, other := range [][]byte{{}, tag[:1], tag[:size-1], append(tag[:size:size], 0)} {
			fields[3] = other
			if _, err := openAs(cose.TagMac0, mustMarshal(t, fields), cose.With(key), cose.Options{}); !errors.Is(err, cose.ErrVerification) {
				t.Errorf("%v with a tag of %d bytes: got %v, want %v", alg, len(other), err, cose.ErrVerification)
			}
		}
	}
}

// TestWrappedKeysHaveTheLengthOfTheirAlgorithm: the right wrapping key does not make a wrong key right.
func TestWrappedKeysHaveTheLengthOfTheirAlgorithm(t *testing.T) {
	kek := bytes.Repeat([]byte{4}, 16)
	for _, size := range []int{16, 24, 40, 64} {
		secret := make([]byte, size)
		wrapped, err := keywrap.Wrap(kek, secret)
		if err != nil {
			t.Fatal(err)
		}
		hs256 := canonical(t, loose(cose.HMAC256))
		mac := hmac.New(sha256.New, secret)
		mac.Write(mustMarshal(t, []any{"MAC", hs256, []byte{}, content}))
		recipient := []any{[]byte{}, map[int]int{1: int(cose.A128KW)}, wrapped}
		data := mustMarshal(t, []any{hs256, map[int]int{}, content, mac.Sum(nil), []any{recipient}})
		if _, err := openAs(cose.TagMac, data, cose.With(mustKey(t, kek, cose.KeyOptions{})), cose.Options{}); !errors.Is(err, cose.ErrKey) {
			t.Errorf("a wrapped key of %d bytes: got %v, want %v", size, err, cose.ErrKey)
		}
	}
	for _, size := range []int{24, 32} {
		wrapped, err := keywrap.Wrap(make([]byte, size), make([]byte, 16))
		if err != nil {
			t.Fatal(err)
		}
		recipient := []any{[]byte{}, map[int]int{1: int(cose.A128KW)}, wrapped}
		data := mustMarshal(t, []any{mustMarshal(t, map[int]int{1: 1}), map[int]any{5: make([]byte, 12)}, make([]byte, 36), []any{recipient}})
		key := mustKey(t, make([]byte, size), cose.KeyOptions{})
		if _, err := openAs(cose.TagEncrypt, data, cose.With(key), cose.Options{}); !errors.Is(err, cose.ErrKey) {
			t.Errorf("A128KW with a key of %d bytes: got %v, want %v", size, err, cose.ErrKey)
		}
	}
}

// What a header says stands in errors, and so in logs: never with line breaks, and never at length.
func TestErrorsCutLabels(t *testing.T) {
	name := "\n" + strings.Repeat("a", 500)
	for what, buckets := range map[string][2]map[any]any{
		"in both buckets": {{1: -7, name: 0}, {name: 0}},
		"not protected":   {{1: -7, 2: []string{name}}, {}},
		"not understood":  {{1: -7, 2: []string{name}, name: 0}, {}},
	} {
		data := mustMarshal(t, []any{mustMarshal(t, buckets[0]), buckets[1], content, make([]byte, 64)})
		_, err := cose.VerifySign1(data, func(cose.Algorithm, cose.KeyID) (*ecdsa.PublicKey, error) { return nil, nil }, nil)
		if err == nil || len(err.Error()) > 150 || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "aaa") {
			t.Errorf("%s: got %v, want the label quoted and cut", what, err)
		}
	}
}
