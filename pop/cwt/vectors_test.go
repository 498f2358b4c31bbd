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
		Encrypted struct {
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
	encoded, err := encodeClaims(rfc8392Claims)
	if err != nil || !bytes.Equal(encoded, unhex(t, e.Input.Plaintext)) {
		t.Errorf("got %x, %v, want %s", encoded, err, e.Input.Plaintext)
	}
}

func TestRFC8392MACedIsNoTokenHere(t *testing.T) { // A.4 and A.7
	for _, name := range []string{"A_4.json", "A_7.json"} {
		e := readExample(t, name)
		if _, err := Open(e.token(t), Keys{}); !errors.Is(err, ErrForm) {
			t.Errorf("%s: got %v, want %v", name, err, ErrForm)
		}
	}
	got, err := parseClaims(unhex(t, readExample(t, "A_7.json").Input.Plaintext))
	want := &pop.Claims{IssuedAt: time.Unix(1443944944, 0)} // the example says 1443944944.5
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("A.7 claims: got %+v, %v, want %+v", got, err, want)
	}
}

// TestRFC8392Encrypted: A.5 and A.6 carry the IV in the unprotected header, which RFC 9770 forbids.
func TestRFC8392Encrypted(t *testing.T) {
	signed := readExample(t, "A_3.json")
	for name, want := range map[string][]byte{
		"A_5.json": unhex(t, signed.Input.Plaintext),
		"A_6.json": unhex(t, signed.Output.CBOR),
	} {
		e := readExample(t, name)
		if _, err := Open(e.token(t), e.decryptKeys(t)); !errors.Is(err, ErrForm) {
			t.Errorf("%s: got %v, want %v", name, err, ErrForm)
		}
		got, err := cose.OpenEncrypt0(unhex(t, e.Output.CBOR)[1:], e.decryptKeys(t).Decrypt, nil)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got %x, %v, want %x", name, got, err, want)
		}
	}
	if got, err := parseClaims(unhex(t, readExample(t, "A_5.json").Input.Plaintext)); err != nil || !reflect.DeepEqual(got, rfc8392Claims) {
		t.Errorf("A.5 claims: got %+v, %v, want %+v", got, err, rfc8392Claims)
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
