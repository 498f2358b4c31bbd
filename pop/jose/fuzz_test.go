package jose_test

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/hex"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/grade"
	"github.com/latchkey-ace/latchkey/pop/jose"
	cnfjwe "github.com/latchkey-ace/latchkey/pop/jose/jwe"
)

// vector is a token made once with the keys of RFC 6979 A.2.5 (issuer) and RFC 7518 appendix C (device, "Bob"), so that a
// change of library cannot change the wire form unseen.
type vector struct {
	Issuer string `json:"issuer_private"` // hex
	Device string `json:"device_private"` // hex
	Kid    string `json:"kid"`
	Token  string `json:"token"`
	K      string `json:"k"`      // hex
	KeyID  string `json:"key_id"` // hex
}

func readVector(t testing.TB) (v vector, issuer *ecdsa.PrivateKey, device *ecdh.PrivateKey) {
	t.Helper()
	data, err := os.ReadFile("testdata/jwt.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	if issuer, err = ecdsa.ParseRawPrivateKey(elliptic.P256(), unhex(t, v.Issuer)); err != nil {
		t.Fatal(err)
	}
	if device, err = ecdh.P256().NewPrivateKey(unhex(t, v.Device)); err != nil {
		t.Fatal(err)
	}
	return v, issuer, device
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVectorOpens(t *testing.T) {
	v, key, recipient := readVector(t)
	c, err := jose.Open(v.Token, func(kid string) (*ecdsa.PublicKey, error) {
		if kid != v.Kid {
			t.Errorf("kid: got %s, want %s", kid, v.Kid)
		}
		return &key.PublicKey, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := claims(t)
	want.Confirmation, want.Grant.Grade = c.Confirmation, grade.Grade{} // the vector is older than grades
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v, want %+v", c, want)
	}
	k, kid, err := cnfjwe.DecryptKey(c.Confirmation.JWE, recipient)
	if err != nil || hex.EncodeToString(k) != v.K || hex.EncodeToString(kid) != v.KeyID {
		t.Errorf("got %x %x %v, want %s %s", k, kid, err, v.K, v.KeyID)
	}
}

// FuzzOpen: no bytes panic, and none but those that were signed open.
func FuzzOpen(f *testing.F) {
	v, key, _ := readVector(f)
	f.Add(v.Token)
	f.Add(v.Token[:len(v.Token)-1])
	f.Add(forge(f, header, `{}`))
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		_, err := jose.Open(token, func(string) (*ecdsa.PublicKey, error) { return &key.PublicKey, nil })
		if err == nil && token != v.Token {
			t.Errorf("opened %q", token)
		}
	})
}

// FuzzClaims puts any payload behind a good signature: what opens can be signed again and opens as the same.
func FuzzClaims(f *testing.F) {
	v, _, _ := readVector(f)
	f.Add(unb64(f, strings.Split(v.Token, ".")[1]))
	f.Add([]byte(`{"iss":"i","sub":"s","aud":"a","client_id":"c","exp":2,"iat":1,"jti":"AQ","cnf":{"kid":"AQ"},"latchkey_grant":{"epoch":0,"grant":"AAAAAAAAAAA"}}`))
	f.Add([]byte(`{"cnf":{"jwk":{"kty":"EC","crv":"P-256","x":"","y":""}}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		c, err := jose.Open(forge(t, header, string(payload)), find)
		if err != nil {
			return
		}
		again, err := jose.Open(sign(t, c), find)
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("got %+v %v, want %+v", again, err, c)
		}
	})
}

// FuzzDecryptKey: no bytes panic, and none but those that were encrypted open.
func FuzzDecryptKey(f *testing.F) {
	v, _, recipient := readVector(f)
	jwe := cnfOf(f, v.Token)
	f.Add(jwe)
	f.Add(jwe[1:])
	f.Add("....")
	f.Fuzz(func(t *testing.T, encrypted string) {
		if _, _, err := cnfjwe.DecryptKey(encrypted, recipient); err == nil && encrypted != jwe {
			t.Errorf("opened %q", encrypted)
		}
	})
}

// FuzzSecret puts any plaintext into a good JWE: what comes out is within its bounds.
func FuzzSecret(f *testing.F) {
	f.Add(oct(string(secret), string(secretI)))
	f.Add(`{"kty":"oct","k":"","kid":""}`)
	f.Fuzz(func(t *testing.T, plaintext string) {
		k, kid, err := cnfjwe.DecryptKey(seal(t, jweHeader, plaintext), device)
		if err == nil && (len(k) != 16 && len(k) != 32 || len(kid) == 0 || len(kid) > 8) {
			t.Errorf("%q: got %x %x", plaintext, k, kid)
		}
	})
}

func cnfOf(t testing.TB, token string) string {
	t.Helper()
	var payload struct {
		Cnf struct {
			JWE string `json:"jwe"`
		} `json:"cnf"`
	}
	if err := json.Unmarshal(unb64(t, strings.Split(token, ".")[1]), &payload); err != nil {
		t.Fatal(err)
	}
	return payload.Cnf.JWE
}
