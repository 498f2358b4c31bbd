package cose_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/cose"
)

var (
	content  = []byte("This is the content.")
	external = []byte("external")
)

func newSymmetric(alg cose.Algorithm) cose.SymmetricKey {
	size := 16
	if alg == cose.A256GCM {
		size = 32
	}
	return cose.SymmetricKey{K: bytes.Repeat([]byte{0x5e}, size), ID: cose.KeyID{7}, Algorithm: alg}
}

func newSigner(tb testing.TB) (cose.Signer, *ecdsa.PublicKey) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return cose.Signer{Key: key, ID: cose.KeyID{9}}, &key.PublicKey
}

func newRecipient(tb testing.TB) (*ecdh.PrivateKey, cose.Recipient) {
	tb.Helper()
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key, cose.Recipient{Key: key.PublicKey(), ID: cose.KeyID{3}}
}

func findPublic(public *ecdsa.PublicKey) cose.FindPublic {
	return func(cose.Algorithm, cose.KeyID) (*ecdsa.PublicKey, error) { return public, nil }
}

func findPrivate(key *ecdh.PrivateKey) cose.FindPrivate {
	return func(cose.Algorithm, cose.KeyID) (*ecdh.PrivateKey, error) { return key, nil }
}

func TestWrongKeysAreRefused(t *testing.T) {
	key := newSymmetric(cose.AESCCM16_128_128)
	data, err := cose.SealEncrypt0(key, content, nil, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other := key
	other.K = bytes.Repeat([]byte{1}, 16)
	short := key
	short.Algorithm = cose.AESCCM16_64_128
	renamed := key
	renamed.ID = cose.KeyID{8}
	cut := key
	cut.K = key.K[:15]
	lost := errors.New("no such key")
	tests := []struct {
		name string
		find cose.FindSymmetric
		want error
	}{
		{"another key", cose.Only(other), cose.ErrVerification},
		{"a key for another algorithm", cose.Only(short), cose.ErrKey},
		{"a key under another id", cose.Only(renamed), cose.ErrKey},
		{"a key of another length", cose.Only(cut), cose.ErrKey},
		{"a key for no algorithm", cose.Only(cose.SymmetricKey{K: key.K, ID: key.ID}), cose.ErrKey},
		{"no key", func(cose.Algorithm, cose.KeyID) (cose.SymmetricKey, error) { return cose.SymmetricKey{}, lost }, lost},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := cose.OpenEncrypt0(data, tt.find, nil); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	if _, err := cose.SealEncrypt0(cut, content, nil, rand.Reader); !errors.Is(err, cose.ErrKey) {
		t.Errorf("seal with a short key: got %v, want %v", err, cose.ErrKey)
	}
	if _, err := cose.SealEncrypt0(key, content, nil, strings.NewReader("short")); err == nil {
		t.Error("sealed without enough randomness")
	}
}

func TestWrongPublicKeysAreRefused(t *testing.T) {
	signer, _ := newSigner(t)
	_, stranger := newSigner(t)
	data, err := cose.Sign1(signer, content, nil, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cose.VerifySign1(data, findPublic(stranger), nil); !errors.Is(err, cose.ErrVerification) {
		t.Errorf("another key: got %v, want %v", err, cose.ErrVerification)
	}
	if _, err := cose.VerifySign1(data, findPublic(nil), nil); !errors.Is(err, cose.ErrKey) {
		t.Errorf("no key: got %v, want %v", err, cose.ErrKey)
	}
	_, recipient := newRecipient(t)
	private, _ := newRecipient(t)
	data, err = cose.SealEncrypt(recipient, content, nil, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cose.OpenEncrypt(data, findPrivate(private), nil); !errors.Is(err, cose.ErrVerification) {
		t.Errorf("another private key: got %v, want %v", err, cose.ErrVerification)
	}
	if _, err := cose.OpenEncrypt(data, findPrivate(nil), nil); !errors.Is(err, cose.ErrKey) {
		t.Errorf("no private key: got %v, want %v", err, cose.ErrKey)
	}
	wrongCurve, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cose.Sign1(cose.Signer{Key: wrongCurve}, content, nil, rand.Reader); !errors.Is(err, cose.ErrKey) {
		t.Errorf("sign with P-521: got %v, want %v", err, cose.ErrKey)
	}
}

// TestWithKnowsOneKey: a message for another key id is refused, and so not tried; one that names no key is.
func TestWithKnowsOneKey(t *testing.T) {
	secret := bytes.Repeat([]byte{1}, 16)
	for name, tt := range map[string]struct {
		sealed, known cose.KeyID
		want          error
	}{
		"the same id": {cose.KeyID{1}, cose.KeyID{1}, nil}, "no id in the message": {nil, cose.KeyID{1}, nil},
		"no id of the key": {cose.KeyID{1}, nil, nil}, "another id": {cose.KeyID{1}, cose.KeyID{2}, cose.ErrKey},
		"an empty id": {cose.KeyID{1}, cose.KeyID{}, cose.ErrKey},
	} {
		data, err := cose.Encrypt0(mustKey(t, secret, cose.KeyOptions{ID: tt.sealed, Algorithm: cose.A128GCM}), content, nil, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		find := cose.With(mustKey(t, secret, cose.KeyOptions{ID: tt.known}))
		if _, err := openAs(cose.TagEncrypt0, data, find, cose.Options{}); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
}

// TestKeyIDReachesTheCaller: find is asked with exactly what the message says, and nil means that it says nothing.
func TestKeyIDReachesTheCaller(t *testing.T) {
	for _, id := range []cose.KeyID{nil, {1}, []byte("our-secret")} {
		key := newSymmetric(cose.AESCCM16_128_128)
		key.ID = id
		data, err := cose.SealEncrypt0(key, content, nil, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		find := func(alg cose.Algorithm, kid cose.KeyID) (cose.SymmetricKey, error) {
			if alg != key.Algorithm || !bytes.Equal(kid, id) || (kid == nil) != (id == nil) {
				t.Errorf("got %v %x, want %v %x", alg, kid, key.Algorithm, id)
			}
			return key, nil
		}
		if _, err := cose.OpenEncrypt0(data, find, nil); err != nil {
			t.Error(err)
		}
	}
}

func TestMalformedHeaders(t *testing.T) {
	key := newSymmetric(cose.AESCCM16_128_128)
	iv := "05" + "4d" + strings.Repeat("00", 13)
	bstr := func(hexed string) string {
		if n := len(hexed) / 2; n < 24 {
			return fmt.Sprintf("%02x", 0x40+n) + hexed
		}
		return fmt.Sprintf("58%02x", len(hexed)/2) + hexed
	}
	tests := []struct {
		name                   string
		protected, unprotected string
		want                   error
	}{
		{"nothing but the tag is wrong", bstr("a201181e" + iv), "a0", cose.ErrVerification},
		{"a longer head than needed", "5813" + "a201181e" + iv, "a0", cose.ErrMalformed},
		{"the same label in both buckets", bstr("a201181e" + iv), "a1" + iv, cose.ErrMalformed},
		{"crit in the unprotected header", bstr("a201181e" + iv), "a1028101", cose.ErrMalformed},
		{"crit with an unknown label", bstr("a401181e" + "02811901f4" + iv + "1901f400"), "a0", cose.ErrUnsupported},
		{"crit with a text label", bstr("a401181e" + "02816161" + iv + "616100"), "a0", cose.ErrUnsupported},
		{"crit with a label that is not there", bstr("a301181e" + "028104" + iv), "a0", cose.ErrMalformed},
		{"crit with a label that is not protected", bstr("a201181e" + "028105"), "a1" + iv, cose.ErrMalformed},
		{"crit empty", bstr("a301181e" + "0280" + iv), "a0", cose.ErrMalformed},
		{"IV and partial IV", bstr("a301181e" + iv + "0641ff"), "a0", cose.ErrMalformed},
		{"IV and partial IV in different buckets", bstr("a201181e" + iv), "a10641ff", cose.ErrMalformed},
		{"partial IV for a key without Base IV", bstr("a201181e" + "0641ff"), "a0", cose.ErrKey},
		{"algorithm in the unprotected header", bstr("a1" + iv), "a101181e", cose.ErrMalformed},
		{"algorithm 0", bstr("a20100" + iv), "a0", cose.ErrMalformed},
		{"no algorithm", bstr("a1" + iv), "a0", cose.ErrMalformed},
		{"algorithm as text", bstr("a20167556e6b6e6f776e" + iv), "a0", cose.ErrUnsupported},
		{"algorithm of a signature", bstr("a20126" + iv), "a0", cose.ErrUnsupported},
		{"IV of twelve bytes", bstr("a201181e" + "054c" + strings.Repeat("00", 12)), "a0", cose.ErrMalformed},
		{"no IV", bstr("a101181e"), "a0", cose.ErrMalformed},
		{"key id that is text", bstr("a301181e046161" + iv), "a0", cose.ErrMalformed},
		{"a label that is a byte string", bstr("a301181e4000" + iv), "a0", cose.ErrMalformed},
		{"protected header that is no map", bstr("80"), "a0", cose.ErrMalformed},
		{"protected header with bytes after it", bstr("a201181e" + iv + "00"), "a0", cose.ErrMalformed},
		{"unprotected header that is no map", bstr("a201181e" + iv), "80", cose.ErrMalformed},
		{"protected header that is null", "f6", "a0", cose.ErrMalformed},
		{"protected header that is an array", "8118a1", "a0", cose.ErrMalformed},
		{"the same label twice", bstr("a301181e" + iv + "01181e"), "a0", cose.ErrMalformed},
		{"the same label twice, once longer than needed", bstr("a301181e" + iv + "1801181e"), "a0", cose.ErrMalformed},
		{"the same label in both buckets, once longer than needed", bstr("a201181e" + iv), "a118" + iv, cose.ErrMalformed},
		{"a tagged map", bstr("d83da201181e" + iv), "a0", cose.ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data := unhex(t, "83"+tt.protected+tt.unprotected+"50"+strings.Repeat("00", 16))
			_, err := cose.OpenEncrypt0(data, cose.Only(key), nil)
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestTags(t *testing.T) {
	for _, tag := range []cose.Tag{0, 16, 18, 23, 24, 61, 96, 255, 256, 65535, 65536, 1<<32 - 1, 1 << 32, 1<<64 - 1} {
		data := cose.Wrap(tag, []byte{0x80})
		got, item, err := cose.Unwrap(data)
		if err != nil || got != tag || !bytes.Equal(item, []byte{0x80}) {
			t.Errorf("%d: got %d, %x, %v from %x", tag, got, item, err, data)
		}
	}
	if got := cose.Wrap(cose.TagCWT, cose.Wrap(cose.TagEncrypt0, []byte{0x83})); !bytes.Equal(got, []byte{0xd8, 0x3d, 0xd0, 0x83}) {
		t.Errorf("got %x, want d83dd083", got)
	}
	for _, long := range []string{"d810", "d900103", "d90010", "da00000010", "db0000000000000010", "d9003d", "da0000ffff", "db00000000ffffffff", "dc", "df", "d8", "83", ""} {
		data := []byte{}
		if len(long)%2 == 0 {
			data = unhex(t, long)
		}
		if _, _, err := cose.Unwrap(append(data, make([]byte, len(data)/9)...)); err == nil {
			t.Errorf("%s: accepted", long)
		}
	}
}

func TestOnlyOneSpellingIsCanonical(t *testing.T) {
	for name, e := range readExamples(t, "encrypted-tests/enc-pass-*.json") {
		_, item := e.item(t)
		m, err := cose.ParseEncrypt0(item)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := m.CheckCanonical(); !errors.Is(err, cose.ErrNotCanonical) {
			t.Errorf("%s: got %v, want %v", name, err, cose.ErrNotCanonical)
		}
	}
	signer, public := newSigner(t)
	for range 32 {
		data, err := cose.Sign1(signer, content, nil, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		checkSign1(t, data, nil)
		respelled := negateS(t, data)
		if _, err := cose.VerifySign1(respelled, findPublic(public), nil); err != nil {
			t.Fatalf("the other signature of the pair: %v", err)
		}
		checkSign1(t, respelled, cose.ErrNotCanonical)
	}
}

func checkSign1(t *testing.T, data []byte, want error) {
	t.Helper()
	m, err := cose.ParseSign1(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.CheckCanonical(); !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

// negateS turns the signature (r, s), the last 64 bytes, into (r, n − s).
func negateS(t *testing.T, data []byte) []byte {
	t.Helper()
	out := bytes.Clone(data)
	n := elliptic.P256().Params().N.FillBytes(make([]byte, 32))
	s := out[len(out)-32:]
	borrow := 0
	for i := 31; i >= 0; i-- {
		d := int(n[i]) - int(s[i]) - borrow
		borrow = 0
		if d < 0 {
			d, borrow = d+256, 1
		}
		s[i] = byte(d)
	}
	return out
}

func TestSecretsDoNotPrint(t *testing.T) {
	secret := []byte("0123456789abcdef")
	key := cose.SymmetricKey{K: secret, ID: cose.KeyID{1}, Algorithm: cose.A128GCM}
	for _, v := range []any{key, &key, cose.NewSymmetric(secret, nil), struct{ K cose.SymmetricKey }{key}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%q"} {
			shown := fmt.Sprintf(verb, v)
			if !strings.Contains(shown, "[redacted]") {
				t.Errorf("%s of %T shows %s", verb, v, shown)
			}
		}
		if shown, err := json.Marshal(v); err != nil || !strings.Contains(string(shown), "[redacted]") {
			t.Errorf("JSON of %T shows %s (%v)", v, shown, err)
		}
	}
}
