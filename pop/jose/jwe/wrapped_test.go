package jwe_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/jose"
	"github.com/latchkey-ace/latchkey/pop/jose/jwe"
	"github.com/lestrrat-go/jwx/v2/jwa"
	jwx "github.com/lestrrat-go/jwx/v2/jwe"
)

// rfc7516 is the example of RFC 7516 appendix A.3: A128KW with A128CBC-HS256, which is not taken here.
const rfc7516 = "eyJhbGciOiJBMTI4S1ciLCJlbmMiOiJBMTI4Q0JDLUhTMjU2In0." +
	"6KB707dM9YTIgHtLvtgWQ8mKwboJW3of9locizkDTHzBC2IlrT1oOQ." +
	"AxY8DCtDaGlsbGljb3RoZQ." +
	"KDlTtXchhZTGufMYmOYGS4HffxPSUrfmqCHXaI9wOGY." +
	"U0m_YmjN04DJvceFICbCVQ"

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never returns an error
	return b
}

// encrypted is by jwx, with further header parameters.
func encrypted(t testing.TB, key, content []byte, header map[string]any, o ...jwx.EncryptOption) string {
	t.Helper()
	protected := jwx.NewHeaders()
	for name, value := range header {
		if err := protected.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	all := append([]jwx.EncryptOption{jwx.WithKey(jwa.A256KW, key), jwx.WithContentEncryption(jwa.A256GCM), jwx.WithProtectedHeaders(protected)}, o...)
	out, err := jwx.Encrypt(content, all...)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestUnwrap(t *testing.T) {
	key := random(32)
	for name, header := range map[string]map[string]any{
		"bare": nil, "a kid": {"kid": "k1"}, "of JWT": {"cty": "JWT"}, "typ": {"typ": "JWT"},
	} {
		for _, content := range [][]byte{{0}, []byte("content"), random(8000)} {
			if got, err := jwe.Unwrap(encrypted(t, key, content, header), key); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%s, %d bytes: got %d bytes, %v", name, len(content), len(got), err)
			}
		}
	}
}

func TestUnwrapRefuses(t *testing.T) {
	key, content := random(32), []byte("content that nobody sees")
	good := encrypted(t, key, content, nil)
	part := func(n int, with string) string {
		parts := strings.Split(good, ".")
		parts[n] = with
		return strings.Join(parts, ".")
	}
	head := func(text string) string { return part(0, base64.RawURLEncoding.EncodeToString([]byte(text))) }
	with := func(alg jwa.KeyEncryptionAlgorithm, enc jwa.ContentEncryptionAlgorithm, key []byte) string {
		out, err := jwx.Encrypt(content, jwx.WithKey(alg, key), jwx.WithContentEncryption(enc))
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	for name, tt := range map[string]struct {
		token string
		want  error
	}{
		"the example of the RFC":    {rfc7516, jose.ErrProtection},
		"A128KW":                    {with(jwa.A128KW, jwa.A256GCM, key[:16]), jose.ErrProtection},
		"A256GCMKW":                 {with(jwa.A256GCMKW, jwa.A256GCM, key), jose.ErrProtection},
		"dir":                       {with(jwa.DIRECT, jwa.A256GCM, key), jose.ErrProtection},
		"PBES2":                     {with(jwa.PBES2_HS256_A128KW, jwa.A256GCM, key), jose.ErrProtection},
		"A128GCM":                   {with(jwa.A256KW, jwa.A128GCM, key), jose.ErrProtection},
		"A256CBC-HS512":             {with(jwa.A256KW, jwa.A256CBC_HS512, key), jose.ErrProtection},
		"compressed":                {encrypted(t, key, content, nil, jwx.WithCompress(jwa.Deflate)), jose.ErrProtection},
		"critical":                  {encrypted(t, key, content, map[string]any{"crit": []string{"exp"}, "exp": 1}), jose.ErrProtection},
		"of something else":         {encrypted(t, key, content, map[string]any{"cty": "JWK"}), jose.ErrProtection},
		"of another type":           {encrypted(t, key, content, map[string]any{"typ": "at+jwt"}), jose.ErrProtection},
		"with a key address":        {encrypted(t, key, content, map[string]any{"jku": "https://elsewhere.example/"}), jose.ErrProtection},
		"another key":               {encrypted(t, random(32), content, nil), jose.ErrProtection},
		"no alg":                    {head(`{"enc":"A256GCM"}`), jose.ErrProtection},
		"no enc":                    {head(`{"alg":"A256KW"}`), jose.ErrProtection},
		"two algs":                  {head(`{"alg":"A256KW","alg":"A256KW","enc":"A256GCM"}`), jose.ErrForm},
		"alg in capitals too":       {head(`{"alg":"A256KW","ALG":"dir","enc":"A256GCM"}`), jose.ErrProtection},
		"an alg that is a list":     {head(`{"alg":["A256KW"],"enc":"A256GCM"}`), jose.ErrProtection},
		"a header with spaces":      {head(`{"alg":"A256KW", "enc":"A256GCM"}`), jose.ErrProtection},
		"a kid that does not print": {head(`{"alg":"A256KW","enc":"A256GCM","kid":"a\u0000"}`), jose.ErrForm},
		"a header that is a list":   {head(`[]`), jose.ErrForm},
		"no header":                 {part(0, ""), jose.ErrForm},
		"no wrapped key":            {part(1, ""), jose.ErrForm},
		"a short wrapped key":       {part(1, base64.RawURLEncoding.EncodeToString(make([]byte, 24))), jose.ErrForm},
		"a long nonce":              {part(2, base64.RawURLEncoding.EncodeToString(make([]byte, 16))), jose.ErrForm},
		"no content":                {part(3, ""), jose.ErrForm},
		"a short tag":               {part(4, base64.RawURLEncoding.EncodeToString(make([]byte, 12))), jose.ErrForm},
		"padding":                   {good + "=", jose.ErrForm},
		"a line break":              {good + "\n", jose.ErrForm},
		"four parts":                {good[:strings.LastIndexByte(good, '.')], jose.ErrForm},
		"six parts":                 {good + ".", jose.ErrForm},
		"too long":                  {encrypted(t, key, random(jose.MaxWrapped), nil), jose.ErrForm},
		"dots":                      {strings.Repeat(".", 1<<20), jose.ErrForm},
		"nothing":                   {"", jose.ErrForm},
		"JSON":                      {`{"ciphertext":""}`, jose.ErrForm},
	} {
		got, err := jwe.Unwrap(tt.token, key)
		if got != nil || !errors.Is(err, tt.want) || strings.Contains(err.Error(), "nobody sees") {
			t.Errorf("%s: got %q, %v, want %v", name, got, err, tt.want)
		}
	}
	for _, size := range []int{0, 16, 31, 33, 64} {
		if got, err := jwe.Unwrap(good, random(size)); got != nil || !errors.Is(err, jose.ErrProtection) {
			t.Errorf("a key of %d bytes: got %q, %v", size, got, err)
		}
	}
}

// TestUnwrapWhole: a token that was cut or in which one bit was changed opens nowhere.
func TestUnwrapWhole(t *testing.T) {
	key := random(32)
	good := encrypted(t, key, []byte("content"), nil)
	for n := range len(good) {
		if got, err := jwe.Unwrap(good[:n], key); got != nil || !errors.Is(err, jose.ErrForm) && !errors.Is(err, jose.ErrProtection) {
			t.Fatalf("%d bytes: got %q, %v", n, got, err)
		}
		for bit := range 8 {
			flipped := []byte(good)
			flipped[n] ^= 1 << bit
			if got, err := jwe.Unwrap(string(flipped), key); got != nil || !errors.Is(err, jose.ErrForm) && !errors.Is(err, jose.ErrProtection) {
				t.Fatalf("byte %d, bit %d: got %q, %v", n, bit, got, err)
			}
		}
	}
}

// FuzzUnwrap: nothing opens but what was encrypted, and errors are of one kind.
func FuzzUnwrap(f *testing.F) {
	key := bytes.Repeat([]byte{7}, 32)
	good := encrypted(f, key, []byte("content"), nil)
	f.Add(good)
	f.Add(rfc7516)
	f.Add("....")
	f.Fuzz(func(t *testing.T, token string) {
		got, err := jwe.Unwrap(token, key)
		switch {
		case err == nil && string(got) == "content": // each process of the fuzzer encrypts it anew
		case err == nil:
			t.Fatalf("opened %q", got)
		case errors.Is(err, jose.ErrForm) == errors.Is(err, jose.ErrProtection):
			t.Fatalf("got %v", err)
		}
	})
}
