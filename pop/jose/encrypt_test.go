package jose_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/jose"
	cnfjwe "github.com/latchkey-ace/latchkey/pop/jose/jwe"
)

// concatKDF is RFC 7518 §4.6.2 for A128GCM in direct agreement, with empty party infos unless given.
func concatKDF(z []byte, enc, apu, apv string) []byte {
	h := sha256.New()
	h.Write([]byte{0, 0, 0, 1})
	h.Write(z)
	for _, s := range []string{enc, apu, apv} {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	h.Write([]byte{0, 0, 0, 128})
	return h.Sum(nil)[:16]
}

// TestConcatKDFVector keeps the test's own derivation honest: RFC 7518 appendix C.
func TestConcatKDFVector(t *testing.T) {
	z := []byte{158, 86, 217, 29, 129, 113, 53, 211, 114, 131, 66, 131, 191, 132, 38, 156, 251, 49, 110, 163, 218, 128, 106, 72, 246, 218, 167, 121, 140, 254, 144, 196}
	if got, want := b64(string(concatKDF(z, "A128GCM", "Alice", "Bob"))), "VqqN6vgjbSBcIijNcacQGg"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// openJWE is an independent reader of ECDH-ES with A128GCM, from the standard library alone.
func openJWE(t testing.TB, jwe string) []byte {
	t.Helper()
	parts := strings.Split(jwe, ".")
	var h struct {
		Alg, Enc string
		Epk      struct{ X, Y string }
	}
	if err := json.Unmarshal(unb64(t, parts[0]), &h); err != nil {
		t.Fatal(err)
	}
	epk, err := ecdh.P256().NewPublicKey(append(append([]byte{4}, unb64(t, h.Epk.X)...), unb64(t, h.Epk.Y)...))
	if err != nil {
		t.Fatal(err)
	}
	z, err := device.ECDH(epk)
	if err != nil {
		t.Fatal(err)
	}
	plaintext, err := gcm(t, concatKDF(z, h.Enc, "", "")).Open(nil, unb64(t, parts[2]), append(unb64(t, parts[3]), unb64(t, parts[4])...), []byte(parts[0]))
	if err != nil {
		t.Fatal(err)
	}
	return plaintext
}

func gcm(t testing.TB, key []byte) cipher.AEAD {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return aead
}

// seal is an independent writer: any plaintext to the device, with header members of the test's choice in place of %s,
// which stands for the epk.
func seal(t testing.TB, header, plaintext string) string {
	t.Helper()
	ephemeral := newDevice()
	z, err := ephemeral.ECDH(device.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	point := ephemeral.PublicKey().Bytes()
	epk := fmt.Sprintf(`{"kty":"EC","crv":"P-256","x":"%s","y":"%s"}`, b64(string(point[1:33])), b64(string(point[33:])))
	protected := b64(strings.Replace(header, "%s", epk, 1))
	iv := make([]byte, 12)
	sealed := gcm(t, concatKDF(z, "A128GCM", "", "")).Seal(nil, iv, []byte(plaintext), []byte(protected))
	cut := len(sealed) - 16
	return protected + ".." + b64(string(iv)) + "." + b64(string(sealed[:cut])) + "." + b64(string(sealed[cut:]))
}

const jweHeader = `{"alg":"ECDH-ES","enc":"A128GCM","epk":%s}`

func oct(k, kid string) string {
	return fmt.Sprintf(`{"kty":"oct","k":"%s","kid":"%s"}`, b64(k), b64(kid))
}

func TestKeyDecryptsAsItWasEncrypted(t *testing.T) {
	for _, size := range []int{16, 32} {
		for _, ids := range []int{1, 8} {
			k, kid := make([]byte, size), make([]byte, ids)
			rand.Read(k)
			rand.Read(kid)
			jwe, err := cnfjwe.EncryptKey(k, kid, device.PublicKey())
			if err != nil {
				t.Fatal(err)
			}
			gotK, gotID, err := cnfjwe.DecryptKey(jwe, device)
			if err != nil || !bytes.Equal(gotK, k) || !bytes.Equal(gotID, kid) {
				t.Errorf("got %x %x %v, want %x %x", gotK, gotID, err, k, kid)
			}
		}
	}
}

func TestKeyInteroperates(t *testing.T) {
	if got, want := string(openJWE(t, encrypted(t))), oct(string(secret), string(secretI)); got != want {
		t.Errorf("we wrote %s, want %s", got, want)
	}
	k, kid, err := cnfjwe.DecryptKey(seal(t, jweHeader, oct(string(secret), string(secretI))), device)
	if err != nil || !bytes.Equal(k, secret) || !bytes.Equal(kid, secretI) {
		t.Errorf("we read %x %x %v", k, kid, err)
	}
}

// TestShortCoordinates: one in 128 points has a coordinate with a leading zero byte, which must stay on the wire
// (RFC 7518 §6.2.1.2).
func TestShortCoordinates(t *testing.T) {
	for range 600 {
		jwe := encrypted(t)
		if _, _, err := cnfjwe.DecryptKey(jwe, device); err != nil {
			t.Fatalf("%v: %s", err, unb64(t, strings.Split(jwe, ".")[0]))
		}
	}
}

func TestEncryptKeyRefuses(t *testing.T) {
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		k, kid []byte
		to     *ecdh.PublicKey
	}{
		{"no secret", nil, secretI, device.PublicKey()},
		{"secret of 15 bytes", secret[:15], secretI, device.PublicKey()},
		{"secret of 24 bytes", make([]byte, 24), secretI, device.PublicKey()},
		{"no kid", secret, nil, device.PublicKey()},
		{"kid of 9 bytes", secret, make([]byte, 9), device.PublicKey()},
		{"no recipient", secret, secretI, nil},
		{"recipient on another curve", secret, secretI, x25519.PublicKey()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if jwe, err := cnfjwe.EncryptKey(tt.k, tt.kid, tt.to); err == nil {
				t.Errorf("got %s", jwe)
			}
		})
	}
	if _, _, err := cnfjwe.DecryptKey(encrypted(t), x25519); err == nil {
		t.Error("decrypted with an X25519 key")
	}
	if _, _, err := cnfjwe.DecryptKey(encrypted(t), nil); err == nil {
		t.Error("decrypted without a key")
	}
}

func TestDecryptKeyRefuses(t *testing.T) {
	good := oct(string(secret), string(secretI))
	jwe := seal(t, jweHeader, good)
	parts := strings.Split(jwe, ".")
	kx := b64(string(secret))
	point := device.PublicKey().Bytes()
	public := fmt.Sprintf(`{"kty":"EC","crv":"P-256","x":"%s","y":"%s"}`, b64(string(point[1:33])), b64(string(point[33:])))
	offCurve := fmt.Sprintf(`{"kty":"EC","crv":"P-256","x":"%s","y":"%s"}`, b64(string(point[1:33])), b64(string(new(big.Int).SetBytes(point[32:64]).FillBytes(make([]byte, 32)))))
	inside := func(plaintext string) string { return seal(t, jweHeader, plaintext) }
	head := func(h string) string { return seal(t, h, good) }
	bare := func(h string) string { return b64(h) + strings.TrimPrefix(jwe, parts[0]) }
	tests := []struct {
		name string
		jwe  string
		want error
	}{
		{"a public key inside", inside(public), jose.ErrForm},
		{"not JSON inside", inside("sixteen byte key"), jose.ErrForm},
		{"a JSON string inside", inside(`"oct"`), jose.ErrForm},
		{"nothing inside", inside(``), jose.ErrForm},
		{"k of 15 bytes", inside(oct("fifteen bytes!!", "i")), jose.ErrForm},
		{"k of 24 bytes", inside(oct(strings.Repeat("k", 24), "i")), jose.ErrForm},
		{"k of 33 bytes", inside(oct(strings.Repeat("k", 33), "i")), jose.ErrForm},
		{"no kid", inside(`{"kty":"oct","k":"` + kx + `"}`), jose.ErrForm},
		{"no k", inside(`{"kty":"oct","kid":"AQ"}`), jose.ErrForm},
		{"no kty", inside(`{"k":"` + kx + `","kid":"AQ"}`), jose.ErrForm},
		{"empty kid", inside(oct(string(secret), "")), jose.ErrForm},
		{"kid of 9 bytes", inside(oct(string(secret), "ninebytes")), jose.ErrForm},
		{"kid as plain text", inside(`{"kty":"oct","k":"` + kx + `","kid":"not base64!"}`), jose.ErrForm},
		{"another member", inside(`{"kty":"oct","k":"` + kx + `","kid":"AQ","alg":"HS256"}`), jose.ErrForm},
		{"k twice", inside(`{"kty":"oct","k":"` + kx + `","k":"` + kx + `","kid":"AQ"}`), jose.ErrForm},
		{"bytes after the key", inside(good + " 1"), jose.ErrForm},
		{"a key set inside", inside(`{"keys":[` + good + `]}`), jose.ErrForm},
		{"zip", head(`{"alg":"ECDH-ES","enc":"A128GCM","zip":"DEF","epk":%s}`), jose.ErrProtection},
		{"crit", head(`{"alg":"ECDH-ES","enc":"A128GCM","crit":["exp"],"epk":%s}`), jose.ErrProtection},
		{"apu", head(`{"alg":"ECDH-ES","enc":"A128GCM","apu":"QQ","epk":%s}`), jose.ErrProtection},
		{"alg twice", head(`{"alg":"dir","alg":"ECDH-ES","enc":"A128GCM","epk":%s}`), jose.ErrForm},
		{"alg dir", bare(`{"alg":"dir","enc":"A128GCM"}`), jose.ErrProtection},
		{"alg PBES2 with a huge count", bare(`{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":2147483647,"p2s":"AA"}`), jose.ErrProtection},
		{"alg ECDH-ES+A128KW", head(`{"alg":"ECDH-ES+A128KW","enc":"A128GCM","epk":%s}`), jose.ErrProtection},
		{"alg RSA1_5", head(`{"alg":"RSA1_5","enc":"A128GCM","epk":%s}`), jose.ErrProtection},
		{"enc A256GCM", head(`{"alg":"ECDH-ES","enc":"A256GCM","epk":%s}`), jose.ErrProtection},
		{"no epk", bare(`{"alg":"ECDH-ES","enc":"A128GCM"}`), jose.ErrForm},
		{"epk off the curve", bare(`{"alg":"ECDH-ES","enc":"A128GCM","epk":` + offCurve + `}`), jose.ErrForm},
		{"epk with a private part", bare(`{"alg":"ECDH-ES","enc":"A128GCM","epk":` + strings.TrimSuffix(public, "}") + `,"d":"AA"}}`), jose.ErrForm},
		{"epk on P-384", bare(`{"alg":"ECDH-ES","enc":"A128GCM","epk":` + strings.Replace(public, "P-256", "P-384", 1) + `}`), jose.ErrForm},
		{"epk of another sender", bare(`{"alg":"ECDH-ES","enc":"A128GCM","epk":` + public + `}`), jose.ErrProtection},
		{"an encrypted key", parts[0] + ".AAAA." + strings.Join(parts[2:], "."), jose.ErrForm},
		{"nonce of 8 bytes", parts[0] + "..AAAAAAAAAAA." + strings.Join(parts[3:], "."), jose.ErrForm},
		{"tag of 8 bytes", strings.Join(parts[:4], ".") + ".AAAAAAAAAAA", jose.ErrForm},
		{"zero tag", strings.Join(parts[:4], ".") + ".AAAAAAAAAAAAAAAAAAAAAA", jose.ErrProtection},
		{"JSON serialization", `{"ciphertext":"` + parts[3] + `"}`, jose.ErrForm},
		{"longer than its bound", inside(oct(string(secret), "i") + strings.Repeat(" ", jose.MaxJWE)), jose.ErrForm},
		{"a JWS", sign(t, claims(t)), jose.ErrForm},
		{"empty", "", jose.ErrForm},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k, kid, err := cnfjwe.DecryptKey(tt.jwe, device)
			if !errors.Is(err, tt.want) || k != nil || kid != nil {
				t.Errorf("got %x %x %v, want %v", k, kid, err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), kx) {
				t.Errorf("error shows the key: %v", err)
			}
		})
	}
	t.Run("another device's key", func(t *testing.T) {
		if _, _, err := cnfjwe.DecryptKey(jwe, newDevice()); !errors.Is(err, jose.ErrProtection) {
			t.Errorf("got %v, want %v", err, jose.ErrProtection)
		}
	})
}

func TestTruncatedOrChangedKeyStaysShut(t *testing.T) {
	good := encrypted(t)
	for end := range len(good) {
		if _, _, err := cnfjwe.DecryptKey(good[:end], device); err == nil {
			t.Fatalf("cut at %d of %d: it opened", end, len(good))
		}
	}
	for i := range len(good) {
		changed := []byte(good)
		changed[i] ^= 1 << (i % 7)
		if _, _, err := cnfjwe.DecryptKey(string(changed), device); err == nil {
			t.Fatalf("bit flipped in byte %d: it opened", i)
		}
	}
}
