package cwt

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/cose"
)

func TestInputMaterial(t *testing.T) {
	ms := "0250" + strings.Repeat("ab", 16)
	secret := bytes.Repeat([]byte{0xab}, 16)
	tests := []struct {
		name, data string
		want       *pop.InputMaterial // nil: refused
	}{
		{"id and ms", "a2004101" + ms, &pop.InputMaterial{ID: []byte{1}, MasterSecret: secret}},
		{"everything", "a70041010101" + ms + "0329040a" + "0541ee0641cc", &pop.InputMaterial{
			ID: []byte{1}, MasterSecret: secret, Version: 1, HKDF: -10, Algorithm: cose.AESCCM16_64_128, Salt: []byte{0xee}, ContextID: []byte{0xcc},
		}},
		{"an empty context id, which is not none", "a3004101" + ms + "0640", &pop.InputMaterial{ID: []byte{1}, MasterSecret: secret, ContextID: []byte{}}},
		{"no id", "a1" + ms, nil},
		{"no ms", "a1004101", nil},
		{"an empty id", "a20040" + ms, nil},
		{"an id of 17 bytes", "a20051" + strings.Repeat("01", 17) + ms, nil},
		{"an ms of 15 bytes", "a2004101024f" + strings.Repeat("ab", 15), nil},
		{"an ms of 65 bytes", "a2004101025841" + strings.Repeat("ab", 65), nil},
		{"an unknown label", "a3004101" + ms + "0700", nil},
		{"a text label", "a3004101" + ms + "616100", nil},
		{"an algorithm by name", "a3004101" + ms + "046161", nil},
		{"a negative version", "a300410101" + "20" + ms, nil},
		{"ms twice", "a3004101" + ms + ms, nil},
		{"an array", "80", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data := unhex(t, tt.data)
			got, err := ParseInputMaterial(data)
			if tt.want == nil {
				if err == nil {
					t.Error("accepted, want a refusal")
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Fatalf("got %v, %v", got, err)
			}
			if again, err := EncodeInputMaterial(got); err != nil || !bytes.Equal(again, data) {
				t.Errorf("got %x, %v, want %x", again, err, data)
			}
		})
	}
	var unknown *UnknownParameterError
	if _, err := ParseConfirmation(unhex(t, "a104a3004101"+ms+"0700")); !errors.As(err, &unknown) || unknown.Label != int64(7) {
		t.Errorf("got %v, want label 7 named", err)
	}
	if _, err := ParseInputMaterial(unhex(t, "a3004101"+ms+"78640a"+strings.Repeat("61", 99)+"00")); err == nil || len(err.Error()) > 150 || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want the name quoted and cut", err)
	}
	for _, bad := range []pop.InputMaterial{{}, {ID: []byte{1}}, {ID: []byte{1}, MasterSecret: secret, Salt: make([]byte, 65)}} {
		if data, err := EncodeInputMaterial(&bad); err == nil {
			t.Errorf("got %x", data)
		}
	}
}

func TestConfirmations(t *testing.T) {
	key := "a20104" + "2050" + strings.Repeat("5e", 16)
	tests := []struct {
		name, data string
		ok         bool
	}{
		{"a symmetric key", "a101" + key, true},
		{"a key id", "a1034105", true},
		{"a known and an unknown method", "a203410518c800", true},
		{"a thumbprint", "a1055820" + strings.Repeat("5e", 32), true},
		{"a thumbprint of SHA-384", "a1055830" + strings.Repeat("5e", 48), false},
		{"nothing", "a0", false},
		{"an unknown method", "a118c800", false},
		{"an empty key id", "a10340", false},
		{"a key id as text", "a1036161", false},
		{"a key and a key id", "a201" + key + "034105", false},
		{"a key in clear as an encrypted one", "a102" + key, false},
		{"a tagged Encrypt0", "a102d083" + "43a1010a" + "a0" + "40", false},
		{"an Encrypt0 without ciphertext", "a10283" + "43a1010a" + "a0" + "f6", false},
		{"a Sign1 as an encrypted key", "a10284" + "43a10126" + "a0" + "40" + "40", false},
		{"a broken key", "a101a10104", false},
		{"a byte after", "a103410500", false},
		{"more than 65536 bytes", "a2034105" + "18c85a00010000" + strings.Repeat("00", 65536), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseConfirmation(unhex(t, tt.data))
			if (err == nil) != tt.ok || tt.ok && methods(&got) != 1 || !tt.ok && methods(&got) != 0 {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	if data, err := EncodeConfirmation(pop.Confirmation{}); err == nil {
		t.Errorf("no method: got %x", data)
	}
}

func TestPossessionKeysReachTheDeviceOnly(t *testing.T) {
	h, other := newHouse(t), newHouse(t)
	other.cnf.K = bytes.Repeat([]byte{9}, 16)
	shared, err := EncryptKey(possessionKey(), h.cnf, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := EncryptKeyTo(possessionKey(), h.private.PublicKey(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, encrypted := range map[string][]byte{"shared key": shared, "public key": public} {
		got, err := DecryptKey(encrypted, h.opener())
		if err != nil || !got.Equal(possessionKey()) {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
		for which, opener := range map[string]KeyOpener{"another device": other.opener(), "a device without keys": {}} {
			if _, err := DecryptKey(encrypted, opener); !errors.Is(err, ErrProtection) {
				t.Errorf("%s, %s: got %v, want %v", name, which, err, ErrProtection)
			}
		}
		for n := range encrypted {
			if _, err := DecryptKey(encrypted[:n], h.opener()); !errors.Is(err, ErrForm) {
				t.Errorf("%s cut to %d bytes: got %v, want %v", name, n, err, ErrForm)
			}
		}
		for bit := range 8 * len(encrypted) {
			damaged := bytes.Clone(encrypted)
			damaged[bit/8] ^= 1 << (bit % 8)
			if _, err := DecryptKey(damaged, h.opener()); err == nil {
				t.Errorf("%s, bit %d flipped: accepted", name, bit)
			}
		}
	}
}

// TestPossessionKeyPlaintext holds D7 to the letter: any other label, spelling or length is refused.
func TestPossessionKeyPlaintext(t *testing.T) {
	h := newHouse(t)
	k := "2050" + strings.Repeat("5e", 16)
	tests := []struct {
		name, plaintext string
		ok              bool
	}{
		{"16 bytes", "a301040241" + "05" + k, true},
		{"32 bytes under an id of 8", "a301040248" + strings.Repeat("05", 8) + "205820" + strings.Repeat("5e", 32), true},
		{"24 bytes", "a30104024105" + "205818" + strings.Repeat("5e", 24), false},
		{"no id", "a20104" + k, false},
		{"an empty id", "a301040240" + k, false},
		{"an id of 9 bytes", "a301040249" + strings.Repeat("05", 9) + k, false},
		{"an algorithm", "a401040241050305" + k, false},
		{"operations", "a4010402410504810a" + k, false},
		{"an unknown label", "a401040241051863" + "00" + k, false},
		{"a text label", "a40104024105" + k + "616100", false},
		{"another order", "a3024105" + "0104" + k, false},
		{"a long kty", "a3011804024105" + k, false},
		{"a public key", "a40102200121" + "5820bac5b11cad8f99f9c72b05cf4b9e26d244dc189f745228255a219a86d6a09eff" + "22f4", false},
		{"nothing", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			encrypted, err := cose.SealEncrypt0(h.cnf, unhex(t, tt.plaintext), nil, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			key, err := DecryptKey(encrypted, h.opener())
			if tt.ok && err != nil || !tt.ok && !errors.Is(err, ErrClaims) {
				t.Errorf("got %v, %v", key, err)
			}
		})
	}
	for _, bad := range []*cose.Key{cose.NewSymmetric(make([]byte, 24), cose.KeyID{1}), cose.NewSymmetric(make([]byte, 16), nil), {}} {
		if data, err := EncryptKey(bad, h.cnf, rand.Reader); err == nil {
			t.Errorf("got %x", data)
		}
	}
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := EncryptKeyTo(possessionKey(), x25519.PublicKey(), rand.Reader); err == nil {
		t.Errorf("to X25519: got %x", data)
	}
}
