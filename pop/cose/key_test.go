package cose_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/cose"
)

// The public key of "11" in the COSE working group's examples.
const (
	exampleX = "bac5b11cad8f99f9c72b05cf4b9e26d244dc189f745228255a219a86d6a09eff"
	exampleY = "20138bf82dc1b6d562be0fa54ab7804a3a64b6d72ccfed6b6fb6ed28bbfc117e"
)

func TestKeysComeBackAsTheyWere(t *testing.T) {
	tests := []struct{ name, data string }{
		{"a public key", "a5010202423131200121" + "5820" + exampleX + "22" + "5820" + exampleY},
		{"a public key with compressed y", "a40102200121" + "5820" + exampleX + "22f4"},
		{"a symmetric key", "a301040241012050" + strings.Repeat("5e", 16)},
		{"a symmetric key with algorithm and operations", "a4010403181e04820304205820" + strings.Repeat("5e", 32)},
		{"a symmetric key without id", "a201042050" + strings.Repeat("5e", 16)},
		{"a symmetric key with an empty id", "a301040240" + "2050" + strings.Repeat("5e", 16)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data := unhex(t, tt.data)
			key, err := cose.ParseKey(data)
			if err != nil {
				t.Fatal(err)
			}
			got, err := key.Encode()
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("got %x, %v, want %x", got, err, data)
			}
		})
	}
}

func TestCompressedKeysAreTheSameKeys(t *testing.T) {
	for range 16 { // both signs of y come up
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		key, err := cose.PublicKey(&private.PublicKey, cose.KeyID{1})
		if err != nil {
			t.Fatal(err)
		}
		long, _ := key.Encode()
		short, err := key.Compressed().Encode()
		if err != nil || len(long)-len(short) != 33 {
			t.Errorf("got %d and %d bytes, %v", len(long), len(short), err)
		}
		back, err := cose.ParseKey(short)
		if err != nil || !back.Equal(key) || !back.Public().Equal(&private.PublicKey) {
			t.Errorf("got %v, %v, want %v", back, err, key)
		}
	}
}

func TestKeyFields(t *testing.T) {
	key, err := cose.ParseKey(unhex(t, "a5010402410103181e048203042050"+strings.Repeat("5e", 16)))
	if err != nil {
		t.Fatal(err)
	}
	if key.Type() != cose.KeyTypeSymmetric || key.Algorithm() != cose.AESCCM16_128_128 || !bytes.Equal(key.ID(), []byte{1}) ||
		len(key.Operations()) != 2 || key.Operations()[1] != cose.OperationDecrypt || !bytes.Equal(key.Secret(), bytes.Repeat([]byte{0x5e}, 16)) {
		t.Errorf("got %v %v %x %v", key.Type(), key.Algorithm(), key.ID(), key.Operations())
	}
	key.Secret()[0] = 0
	if key.Secret()[0] != 0x5e {
		t.Error("a caller changed the key")
	}
}

func TestKeysThatDiffer(t *testing.T) {
	a := cose.NewSymmetric(bytes.Repeat([]byte{1}, 16), cose.KeyID{1})
	public, err := cose.ParseKey(unhex(t, "a40102200121"+"5820"+exampleX+"22f4"))
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]*cose.Key{
		"another secret": cose.NewSymmetric(bytes.Repeat([]byte{2}, 16), cose.KeyID{1}),
		"another length": cose.NewSymmetric(bytes.Repeat([]byte{1}, 32), cose.KeyID{1}),
		"another id":     cose.NewSymmetric(bytes.Repeat([]byte{1}, 16), cose.KeyID{2}),
		"another type":   public,
		"no key":         {},
	} {
		if a.Equal(b) || b.Equal(a) {
			t.Errorf("%s: equal", name)
		}
	}
	if !a.Equal(cose.NewSymmetric(bytes.Repeat([]byte{1}, 16), cose.KeyID{1})) {
		t.Error("the same key is not equal")
	}
}

func TestBadKeysAreRefused(t *testing.T) {
	x, y := "5820"+exampleX, "5820"+exampleY
	k16 := "2050" + strings.Repeat("5e", 16)
	tests := []struct {
		name, data string
		want       error
	}{
		{"empty", "", cose.ErrMalformed},
		{"no map", "80", cose.ErrMalformed},
		{"no type", "a1" + k16, cose.ErrMalformed},
		{"type as text", "a201634f4b50" + k16, cose.ErrMalformed},
		{"Ed448", "a3010120072158" + "20" + exampleX, cose.ErrUnsupported},
		{"EC2 with the curve of OKP", "a40102200621" + x + "22" + y, cose.ErrUnsupported},
		{"OKP with the curve of EC2", "a3010120012158" + "20" + exampleX, cose.ErrUnsupported},
		{"P-521", "a40102200321" + x + "22" + y, cose.ErrUnsupported},
		{"RSA", "a20103204101", cose.ErrUnsupported},
		{"a point of P-256 on P-384", "a40102200221" + x + "22" + y, cose.ErrMalformed},
		{"Ed25519 of 31 bytes", "a301012006215" + "81f" + exampleX[2:], cose.ErrMalformed},
		{"Ed25519 without x", "a201012006", cose.ErrMalformed},
		{"Ed25519 with a private part", "a401012006" + "21" + x + "23" + x, cose.ErrMalformed},
		{"no curve", "a3010221" + x + "22" + y, cose.ErrMalformed},
		{"algorithm 0", "a301040300" + k16, cose.ErrMalformed},
		{"Base IV of 17 bytes", "a30104" + "0551" + strings.Repeat("00", 17) + k16, cose.ErrMalformed},
		{"Base IV as text", "a30104" + "056161" + k16, cose.ErrMalformed},
		{"a point off the curve", "a40102200121" + x + "22" + x, cose.ErrMalformed},
		{"x of no point", "a40102200121" + "5820" + strings.Repeat("ff", 32) + "22f5", cose.ErrMalformed},
		{"x that is short", "a40102200121" + "581f" + exampleX[2:] + "22" + y, cose.ErrMalformed},
		{"no y", "a30102200121" + x, cose.ErrMalformed},
		{"y as integer", "a40102200121" + x + "2201", cose.ErrMalformed},
		{"a private part", "a50102200121" + x + "22" + y + "23" + x, cose.ErrMalformed},
		{"no k", "a10104", cose.ErrMalformed},
		{"k as text", "a20104206161", cose.ErrMalformed},
		{"k of 15 bytes", "a20104204f" + strings.Repeat("5e", 15), cose.ErrKey},
		{"k of 65 bytes", "a20104205841" + strings.Repeat("5e", 65), cose.ErrKey},
		{"id as text", "a30104026161" + k16, cose.ErrMalformed},
		{"id of 65 bytes", "a30104025841" + strings.Repeat("5e", 65) + k16, cose.ErrMalformed},
		{"algorithm as text", "a30104036161" + k16, cose.ErrUnsupported},
		{"operations twice", "a3010404820303" + k16, cose.ErrMalformed},
		{"no operations", "a301040480" + k16, cose.ErrMalformed},
		{"kty twice", "a3010401042050" + strings.Repeat("5e", 16), cose.ErrMalformed},
		{"a byte after", "a20104" + k16 + "00", cose.ErrMalformed},
		{"indefinite length", "bf0104" + k16 + "ff", cose.ErrMalformed},
		{"tagged k", "a2010420d8185" + "0" + strings.Repeat("5e", 16), cose.ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := cose.ParseKey(unhex(t, tt.data)); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestNoKeyIsNotEncoded(t *testing.T) {
	for _, key := range []*cose.Key{{}, cose.NewSymmetric(nil, nil), cose.NewSymmetric(make([]byte, 16), make([]byte, 65))} {
		if data, err := key.Encode(); !errors.Is(err, cose.ErrKey) {
			t.Errorf("got %x, %v, want %v", data, err, cose.ErrKey)
		}
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cose.PublicKey(&p521.PublicKey, nil); !errors.Is(err, cose.ErrUnsupported) {
		t.Errorf("P-521: got %v, want %v", err, cose.ErrUnsupported)
	}
}
