package playintegrity

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strconv"
	"testing"
	"time"
)

const (
	packageName = "com.example.door"
	headerJWE   = `{"alg":"A256KW","enc":"A256GCM"}`
	headerJWS   = `{"alg":"ES256"}`
)

var (
	now   = time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC)
	bound = encode64(hash("challenge.thumbprint"))
	cert  = hash("the certificate of the app")
)

func hash(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

func encode64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// google makes verdicts as Google Play does, with fresh keys.
type google struct {
	signing *ecdsa.PrivateKey
	wrap    []byte
}

func newGoogle(t testing.TB) *google {
	t.Helper()
	signing, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &google{signing, random(32)}
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never returns an error
	return b
}

func (g *google) verifier() *Verifier {
	return &Verifier{Decryption: g.wrap, Verification: &g.signing.PublicKey, Apps: []App{{Package: packageName, Digests: [][]byte{cert}}}}
}

// claims is the payload of a genuine app on a good phone, as of a standard request.
func claims() map[string]map[string]any {
	return map[string]map[string]any{
		"requestDetails": {"requestPackageName": packageName, "requestHash": bound, "timestampMillis": strconv.FormatInt(now.UnixMilli(), 10)},
		"appIntegrity": {
			"appRecognitionVerdict": "PLAY_RECOGNIZED", "packageName": packageName, "certificateSha256Digest": []string{encode64(cert)}, "versionCode": "42",
		},
		"deviceIntegrity": {"deviceRecognitionVerdict": []string{"MEETS_BASIC_INTEGRITY", "MEETS_DEVICE_INTEGRITY", "MEETS_STRONG_INTEGRITY"}},
		"accountDetails":  {"appLicensingVerdict": "LICENSED"},
	}
}

// verdict is a token of a payload.
func (g *google) verdict(t testing.TB, payload any) string {
	t.Helper()
	text, err := json.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	return g.token(t, text)
}

func (g *google) token(t testing.TB, payload []byte) string {
	t.Helper()
	return g.encrypt(t, headerJWE, g.sign(t, headerJWS, payload))
}

// sign makes a compact JWS (RFC 7515 §7.1, RFC 7518 §3.4).
func (g *google) sign(t testing.TB, header string, payload []byte) string {
	t.Helper()
	input := encode64([]byte(header)) + "." + encode64(payload)
	r, s, err := ecdsa.Sign(rand.Reader, g.signing, hash(input))
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + encode64(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

// encrypt makes a compact JWE (RFC 7516 §7.1, RFC 7518 §4.4 and §5.3).
func (g *google) encrypt(t testing.TB, header, content string) string {
	t.Helper()
	key, iv := random(32), random(12)
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	head := encode64([]byte(header))
	sealed := gcm.Seal(nil, iv, []byte(content), []byte(head))
	text, tag := sealed[:len(content)], sealed[len(content):]
	return head + "." + encode64(wrap(t, g.wrap, key)) + "." + encode64(iv) + "." + encode64(text) + "." + encode64(tag)
}

// wrap is AES key wrap (RFC 3394 §2.2.1), written anew so that the generator shares nothing with what it tests.
func wrap(t testing.TB, kek, key []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(kek)
	if err != nil {
		t.Fatal(err)
	}
	a, r := slices.Repeat([]byte{0xa6}, 8), slices.Clone(key)
	for step := range 6 * len(key) / 8 {
		at := r[step%(len(key)/8)*8:][:8]
		b := append(slices.Clone(a), at...)
		block.Encrypt(b, b)
		binary.BigEndian.PutUint64(a, binary.BigEndian.Uint64(b)^uint64(step+1))
		copy(at, b[8:])
	}
	return append(a, r...)
}
