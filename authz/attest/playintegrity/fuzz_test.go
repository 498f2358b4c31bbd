package playintegrity

import (
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
)

// TestWrapVector keeps the generator honest: RFC 3394 §4.6.
func TestWrapVector(t *testing.T) {
	decode := func(text string) []byte {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	kek := decode("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
	key := decode("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f")
	const want = "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21"
	if got := hex.EncodeToString(wrap(t, kek, key)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// FuzzVerify: whoever has not Google's keys makes nothing that is accepted.
func FuzzVerify(f *testing.F) {
	g := newGoogle(f)
	v := g.verifier()
	text, err := json.Marshal(claims())
	if err != nil {
		f.Fatal(err)
	}
	signed := g.sign(f, headerJWS, text)
	whole := g.token(f, text)
	f.Add(whole)
	f.Add(signed)
	f.Add("....")
	f.Fuzz(func(t *testing.T, token string) {
		if got, err := v.Verify(token, bound, now); (err == nil) != (token == whole) || (err == nil) != (got != nil) {
			t.Fatalf("got %+v, %v", got, err)
		}
		if got, err := v.Verify(g.encrypt(t, headerJWE, token), bound, now); (err == nil) != (token == signed) || (err == nil) != (got != nil) {
			t.Fatalf("encrypted: got %+v, %v", got, err)
		}
	})
}

// FuzzPayload: what Google signs is read and judged without falling over, and accepted only for the one app and request.
func FuzzPayload(f *testing.F) {
	g := newGoogle(f)
	v := g.verifier()
	for _, change := range []func(map[string]map[string]any){
		func(map[string]map[string]any) {},
		func(c map[string]map[string]any) { c["testingDetails"] = map[string]any{"isTestingResponse": true} },
		func(c map[string]map[string]any) { c["deviceIntegrity"] = map[string]any{} },
		func(c map[string]map[string]any) {
			c["appIntegrity"] = map[string]any{"appRecognitionVerdict": "UNEVALUATED"}
		},
	} {
		c := claims()
		change(c)
		text, err := json.Marshal(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		got, err := v.Verify(g.token(t, payload), bound, now)
		if (err == nil) != (got != nil) {
			t.Fatalf("got %+v, %v", got, err)
		}
		if err == nil && (got.App != packageName || got.Testing || !json.Valid(payload) || !strings.Contains(string(payload), "PLAY_RECOGNIZED") && !strings.Contains(string(payload), `\u`)) {
			t.Fatalf("%s is accepted as %+v", payload, got)
		}
	})
}
