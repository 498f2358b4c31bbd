package cwt

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/cose"
)

// example is one of RFC 8392 A.3 to A.7 (testdata/A_*.json).
type example struct {
	Input struct {
		Plaintext string `json:"plaintext_hex"`
		Sign0     struct {
			Key struct {
				X string `json:"x_hex"`
				Y string `json:"y_hex"`
			}
		}
		Encrypted, Mac0 struct {
			Recipients []struct {
				Key struct {
					K string `json:"k_hex"`
				}
			}
		}
	}
	Output struct{ CBOR string }
}

func readExample(tb testing.TB, name string) (e example) {
	tb.Helper()
	readJSON(tb, name, &e)
	return e
}

func readJSON(tb testing.TB, name string, to any) {
	tb.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err == nil {
		err = json.Unmarshal(data, to)
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// aceExample is one entry of testdata/ace-examples.json.
type aceExample map[string]any

func readACE(tb testing.TB, id string) aceExample {
	tb.Helper()
	var all map[string]aceExample
	readJSON(tb, "ace-examples.json", &all)
	return all[id]
}

func (a aceExample) bytes(tb testing.TB, field string) []byte {
	tb.Helper()
	text, ok := a[field].(string)
	if !ok {
		tb.Fatalf("no %s", field)
	}
	return unhex(tb, text)
}

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// rfc8392Claims are the claims of A.1.
var rfc8392Claims = &pop.Claims{
	Issuer: "coap://as.example.com", Subject: "erikw", Audience: "coap://light.example.com",
	Expires: time.Unix(1444064944, 0), NotBefore: time.Unix(1443944944, 0), IssuedAt: time.Unix(1443944944, 0), ID: []byte{0x0b, 0x71},
}

func (e example) verifyKeys(tb testing.TB) Keys {
	tb.Helper()
	key := e.Input.Sign0.Key
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, unhex(tb, key.X), unhex(tb, key.Y)))
	if err != nil {
		tb.Fatal(err)
	}
	return Keys{Verify: func(cose.Algorithm, cose.KeyID) (*ecdsa.PublicKey, error) { return public, nil }}
}

func (e example) decryptKeys(tb testing.TB) Keys {
	tb.Helper()
	k := unhex(tb, e.Input.Encrypted.Recipients[0].Key.K)
	return Keys{Decrypt: cose.Only(cose.SymmetricKey{K: k, Algorithm: cose.AESCCM16_64_128})}
}

// token is the example with the CWT tag that RFC 9770 demands and RFC 8392 leaves out.
func (e example) token(tb testing.TB) []byte { return cose.Wrap(cose.TagCWT, unhex(tb, e.Output.CBOR)) }

func TestRFC8392Signed(t *testing.T) { // A.3
	e := readExample(t, "A_3.json")
	got, err := Open(e.token(t), e.verifyKeys(t))
	if err != nil || !reflect.DeepEqual(got, rfc8392Claims) {
		t.Errorf("got %+v, %v, want %+v", got, err, rfc8392Claims)
	}
	if _, err := Open(unhex(t, e.Output.CBOR), e.verifyKeys(t)); !errors.Is(err, ErrForm) {
		t.Errorf("without the CWT tag: got %v, want %v", err, ErrForm)
	}
	relaxed := e.verifyKeys(t)
	relaxed.Relaxed = true
	if got, err := Open(unhex(t, e.Output.CBOR), relaxed); err != nil || !reflect.DeepEqual(got, rfc8392Claims) {
		t.Errorf("as printed: got %+v, %v, want %+v", got, err, rfc8392Claims)
	}
	encoded, err := encodeClaims(rfc8392Claims)
	if err != nil || !bytes.Equal(encoded, unhex(t, e.Input.Plaintext)) {
		t.Errorf("got %x, %v, want %s", encoded, err, e.Input.Plaintext)
	}
}

// TestRFC8392MACed is A.4 and A.7. The key has the algorithm of the examples, HMAC 256/64.
func TestRFC8392MACed(t *testing.T) {
	for name, want := range map[string]*pop.Claims{
		"A_4.json": rfc8392Claims,
		"A_7.json": {IssuedAt: time.Unix(1443944944, 0)}, // the example says 1443944944.5
	} {
		e := readExample(t, name)
		keys := Keys{Find: cose.With(e.macKey(t, cose.HMAC256_64))}
		if got, err := Open(e.token(t), keys); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, want)
		}
		if _, err := Open(unhex(t, e.Output.CBOR), keys); !errors.Is(err, ErrForm) {
			t.Errorf("%s without the CWT tag: got %v, want %v", name, err, ErrForm)
		}
		keys.Relaxed = true
		if got, err := Open(unhex(t, e.Output.CBOR), keys); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s as printed: got %+v, %v, want %+v", name, got, err, want)
		}
		for which, keys := range map[string]Keys{
			"no key": {}, "a key for another algorithm": {Find: cose.With(e.macKey(t, cose.HMAC256))}, "a signature required": {Find: keys.Find, RequireSignature: true},
		} {
			if _, err := Open(e.token(t), keys); !errors.Is(err, ErrProtection) {
				t.Errorf("%s, %s: got %v, want %v", name, which, err, ErrProtection)
			}
		}
	}
	// We write A.4 as it is printed, but for the CWT tag.
	e := readExample(t, "A_4.json")
	if got, err := Seal(rfc8392Claims, Mac0{Key: e.macKey(t, cose.HMAC256_64)}, nil); err != nil || !bytes.Equal(got, e.token(t)) {
		t.Errorf("got %x, %v, want %x", got, err, e.token(t))
	}
}

// macKey is the key of an example with a MAC, as a COSE_Key.
func (e example) macKey(tb testing.TB, alg cose.Algorithm) *cose.Key {
	tb.Helper()
	k := unhex(tb, e.Input.Mac0.Recipients[0].Key.K)
	key, err := cose.ParseKey(slices.Concat([]byte{0xa3, 0x01, 0x04, 0x03, byte(alg), 0x20, 0x58, 0x20}, k))
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// TestRFC8392Encrypted: A.5 and A.6 have no CWT tag and carry the IV in the unprotected header, which RFC 9770 forbids.
func TestRFC8392Encrypted(t *testing.T) { // A.5, and A.6 with what A.3 signs inside
	verify := readExample(t, "A_3.json").verifyKeys(t).Verify
	for _, name := range []string{"A_5.json", "A_6.json"} {
		e := readExample(t, name)
		keys := e.decryptKeys(t)
		keys.Verify = verify
		if _, err := Open(e.token(t), keys); !errors.Is(err, ErrForm) {
			t.Errorf("%s: got %v, want %v", name, err, ErrForm)
		}
		keys.Relaxed = true
		for which, token := range map[string][]byte{"as printed": unhex(t, e.Output.CBOR), "with the CWT tag": e.token(t)} {
			if got, err := Open(token, keys); err != nil || !reflect.DeepEqual(got, rfc8392Claims) {
				t.Errorf("%s %s: got %+v, %v, want %+v", name, which, got, err, rfc8392Claims)
			}
		}
		keys.RequireSignature = true
		if _, err := Open(e.token(t), keys); (err == nil) != (name == "A_6.json") {
			t.Errorf("%s, signature required: got %v", name, err)
		}
		keys.Verify = nil
		if _, err := Open(e.token(t), keys); !errors.Is(err, ErrProtection) {
			t.Errorf("%s, nobody to trust: got %v, want %v", name, err, ErrProtection)
		}
	}
}

// TestRFC9203Claims: the example has a text scope, which our rights cannot express; with AIF in its place it is read.
func TestRFC9203Claims(t *testing.T) {
	text := "781874656d70657261747572655f67206669726d776172655f70"
	encoded, _ := readACE(t, "rfc9203-claims-set")["cbor"].(string)
	if _, err := parseClaims(unhex(t, encoded)); !errors.Is(err, ErrClaims) || !errors.Is(err, errWrongType) {
		t.Errorf("text scope: got %v, want %v", err, ErrClaims)
	}
	got, err := parseClaims(unhex(t, strings.Replace(encoded, text, "4180", 1)))
	if err != nil {
		t.Fatal(err)
	}
	want := &pop.InputMaterial{ID: []byte{1}, MasterSecret: unhex(t, "f9af838368e353e78888e1426bd94e6f")}
	if !reflect.DeepEqual(got.Confirmation, pop.Confirmation{OSCORE: want}) {
		t.Errorf("got %x %x", got.Confirmation.OSCORE.ID, got.Confirmation.OSCORE.MasterSecret)
	}
	if got.Audience != "tempSensorInLivingRoom" || got.Expires.Unix() != 1360289224 || got.IssuedAt.Unix() != 1360189224 {
		t.Errorf("got %+v", got)
	}
}

// TestRFC8747EncryptedKey: the key of the example decrypts, but it has an algorithm, no id and another order of labels,
// so it is no possession key for OSCORE.
func TestRFC8747EncryptedKey(t *testing.T) {
	e := readACE(t, "rfc8747-encrypted-cose-key")
	iv := e.bytes(t, "iv")
	encrypted := slices.Concat([]byte{0x83, 0x43}, e.bytes(t, "protected"), []byte{0xa1, 0x05, 0x4d}, iv, []byte{0x58, 0x30}, e.bytes(t, "ciphertext"))
	shared := cose.Only(cose.SymmetricKey{K: e.bytes(t, "key"), Algorithm: cose.AESCCM16_64_128})
	plaintext, err := cose.OpenEncrypt0(encrypted, shared, nil)
	if err != nil || !bytes.Equal(plaintext, e.bytes(t, "plaintext_verified_here")) {
		t.Fatalf("got %x, %v", plaintext, err)
	}
	key, err := cose.ParseKey(plaintext)
	if err != nil || key.Type() != cose.KeyTypeSymmetric || key.Algorithm() != 5 || len(key.Secret()) != 32 {
		t.Errorf("got %v, %v", key, err)
	}
	if _, err := DecryptKey(encrypted, KeyOpener{Shared: shared}); !errors.Is(err, ErrClaims) {
		t.Errorf("got %v, want %v", err, ErrClaims)
	}
	c, err := ParseConfirmation(slices.Concat([]byte{0xa1, 0x02}, encrypted))
	if err != nil || !bytes.Equal(c.Encrypted, encrypted) {
		t.Errorf("got %x, %v", c.Encrypted, err)
	}
}

func TestRFC9770Hashes(t *testing.T) {
	e := readACE(t, "rfc9770-token-hash-cwt")
	got := Hash(e.bytes(t, "access_token"))
	if !bytes.Equal(got[:], e.bytes(t, "token_hash")) || bytes.Equal(got[:], e.bytes(t, "wrong_hash_over_raw_bytes")) {
		t.Errorf("got %x, want %v", got, e["token_hash"])
	}
	e = readACE(t, "rfc9770-token-hash-jwt")
	asJSON, asCBOR := HashJWT(e["jwt"].(string))
	if !bytes.Equal(asJSON[:], e.bytes(t, "hash_if_response_was_json")) || !bytes.Equal(asCBOR[:], e.bytes(t, "hash_if_response_was_cbor")) {
		t.Errorf("got %x and %x", asJSON, asCBOR)
	}
}
