package cwt

import (
	"bytes"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/cose"
)

func TestTokensComeBackAsTheyWere(t *testing.T) {
	h := newHouse(t)
	public, err := cose.PublicKey(&h.signer.PublicKey, cose.KeyID{2})
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range h.protections() {
		for _, cnf := range []pop.Confirmation{
			{}, h.encrypted(t), {KeyID: cose.KeyID{5}}, {Key: public.Compressed()}, {OSCORE: inputMaterial()}, {Key: possessionKey()},
		} {
			if !p.confidential() && showsSecret(&cnf) {
				continue
			}
			for _, want := range []*pop.Claims{minimal(cnf), full(cnf), everything(cnf)} {
				got, err := Open(mustSeal(t, want, p), h.keys())
				if err != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("%s: got %+v, %v, want %+v", name, got, err, want)
				}
			}
		}
	}
}

func TestTokensHaveOneForm(t *testing.T) {
	h := newHouse(t)
	for name, want := range map[string]string{"Encrypt0": "d83dd083", "Sign1": "d83dd284", "Nested": "d83dd083", "Mac0": "d83dd184"} {
		token := mustSeal(t, full(h.encrypted(t)), h.protections()[name])
		if !bytes.HasPrefix(token, unhex(t, want)) {
			t.Errorf("%s begins with %x, want %s", name, token[:4], want)
		}
	}
}

// TestSecretsNeverStandInClear is T-9200-1.
func TestSecretsNeverStandInClear(t *testing.T) {
	h := newHouse(t)
	for name, cnf := range map[string]pop.Confirmation{"osc": {OSCORE: inputMaterial()}, "COSE_Key": {Key: possessionKey()}} {
		claims, err := encodeClaims(minimal(cnf))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range []Protection{h.sign1(), Mac0{h.mac}} {
			if token, err := Seal(minimal(cnf), p, rand.Reader); !errors.Is(err, ErrSecretInClear) {
				t.Errorf("%s: got %x, %v, want %v", name, token, err, ErrSecretInClear)
			}
			data, err := p.seal(claims, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Open(cose.Wrap(cose.TagCWT, data), h.keys()); !errors.Is(err, ErrClaims) || !errors.Is(err, ErrSecretInClear) {
				t.Errorf("%s: opened with %v, want %v", name, err, ErrSecretInClear)
			}
		}
	}
	clear, err := possessionKey().Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Seal(minimal(pop.Confirmation{Encrypted: clear}), h.sign1(), rand.Reader); err == nil {
		t.Error("a key in clear passed for an encrypted one")
	}
}

func TestDamagedTokensAreRefused(t *testing.T) {
	h := newHouse(t)
	for name, p := range h.protections() {
		t.Run(name, func(t *testing.T) {
			token := mustSeal(t, full(h.encrypted(t)), p)
			for n := range token {
				if _, err := Open(token[:n], h.keys()); !errors.Is(err, ErrForm) {
					t.Errorf("cut to %d bytes: got %v, want %v", n, err, ErrForm)
				}
			}
			for bit := range 8 * len(token) {
				damaged := bytes.Clone(token)
				damaged[bit/8] ^= 1 << (bit % 8)
				if _, err := Open(damaged, h.keys()); !errors.Is(err, ErrForm) && !errors.Is(err, ErrProtection) {
					t.Errorf("bit %d flipped: got %v", bit, err)
				}
			}
			if _, err := Open(append(bytes.Clone(token), 0), h.keys()); !errors.Is(err, ErrForm) {
				t.Errorf("a byte more: got %v, want %v", err, ErrForm)
			}
		})
	}
}

func TestWrongKeysOpenNothing(t *testing.T) {
	h, other := newHouse(t), newHouse(t)
	other.token.K = bytes.Repeat([]byte{9}, 16)
	var err error
	if other.mac, err = cose.NewKey(bytes.Repeat([]byte{9}, 32), cose.KeyOptions{Algorithm: cose.HMAC256}); err != nil {
		t.Fatal(err)
	}
	renamed := h.keys()
	renamed.Decrypt = cose.Only(cose.SymmetricKey{K: h.token.K, ID: cose.KeyID{2}, Algorithm: h.token.Algorithm})
	for name, p := range h.protections() {
		token := mustSeal(t, minimal(h.encrypted(t)), p)
		for which, keys := range map[string]Keys{"another house": other.keys(), "no keys": {}} {
			if _, err := Open(token, keys); !errors.Is(err, ErrProtection) {
				t.Errorf("%s, %s: got %v, want %v", name, which, err, ErrProtection)
			}
		}
		if _, err := Open(token, renamed); name != "Sign1" && name != "Mac0" && !errors.Is(err, ErrProtection) {
			t.Errorf("%s, renamed key: got %v, want %v", name, err, ErrProtection)
		}
	}
	unknown := Sign1{Signer: h.signer, ID: cose.KeyID{7}}
	if _, err := Open(mustSeal(t, minimal(h.encrypted(t)), unknown), h.keys()); !errors.Is(err, ErrProtection) || !errors.Is(err, errUnknownKey) {
		t.Errorf("unknown signer: got %v, want %v", err, errUnknownKey)
	}
}

func TestDevicesMayDemandASignature(t *testing.T) {
	h := newHouse(t)
	keys := h.keys()
	keys.RequireSignature = true
	for name, p := range h.protections() {
		_, err := Open(mustSeal(t, minimal(h.encrypted(t)), p), keys)
		if signed := name == "Sign1" || name == "Nested"; signed && err != nil || !signed && !errors.Is(err, ErrProtection) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestOtherFormsAreRefused(t *testing.T) {
	h := newHouse(t)
	encrypt0 := mustSeal(t, minimal(pop.Confirmation{OSCORE: inputMaterial()}), Encrypt0{h.token})
	sign1 := mustSeal(t, minimal(h.encrypted(t)), h.sign1())
	enc, sig := encrypt0[3:], sign1[3:] // the untagged structures
	join := func(head string, tail []byte) []byte { return append(unhex(t, head), tail...) }
	nested := func(inner []byte) []byte {
		data, err := Encrypt0{h.token}.seal(inner, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return join("d83d", data)
	}
	tests := []struct {
		name  string
		token []byte
	}{
		{"empty", nil},
		{"no tags", enc},
		{"no CWT tag", join("d0", enc)},
		{"no COSE tag", join("d83d", enc)},
		{"the CWT tag twice", join("d83dd83dd0", enc)},
		{"self-described CBOR outside", join("d9d9f7d83dd0", enc)},
		{"a long CWT tag", join("d9003dd0", enc)},
		{"a long COSE tag", join("d83dd810", enc)},
		{"Encrypt0 tagged as Sign1", join("d83dd2", enc)},
		{"Sign1 tagged as Encrypt0", join("d83dd0", sig)},
		{"tagged as Mac0", join("d83dd1", enc)},
		{"tagged as Encrypt", join("d83dd860", sig)},
		{"tagged as Sign", join("d83dd862", sig)},
		{"a long array head", join("d83dd09803", enc[1:])},
		{"an array of indefinite length", append(join("d83dd09f", enc[1:]), 0xff)},
		{"a long string head", join("d83dd0835900", bytes.Replace(enc[1:], []byte{0x56}, []byte{0x16}, 1))},
		{"something in the unprotected header", bytes.Replace(encrypt0, []byte{0xa0}, []byte{0xa1, 0x03, 0x00}, 1)},
		{"Sign1 with something in the unprotected header", bytes.Replace(sign1, []byte{0xa0}, []byte{0xa1, 0x03, 0x00}, 1)},
		{"Sign1 with the other s", otherS(sign1)},
		{"untagged Sign1 inside", nested(sig)},
		{"a whole CWT inside", nested(sign1)},
		{"Encrypt0 inside", nested(encrypt0[2:])},
		{"Sign1 with the other s inside", nested(otherS(sign1)[2:])},
		{"too long", append(encrypt0, make([]byte, MaxToken)...)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := ErrForm
			if tt.name == "untagged Sign1 inside" {
				want = ErrClaims // an array, taken for claims
			}
			if _, err := Open(tt.token, h.keys()); !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
		})
	}
	if _, err := Open(nested(sign1[2:]), h.keys()); err != nil {
		t.Errorf("a tagged Sign1 inside: %v", err)
	}
}

// otherS turns the signature (r, s), the last 64 bytes, into the equally valid (r, n − s).
func otherS(token []byte) []byte {
	out := bytes.Clone(token)
	tail := out[len(out)-32:]
	s := new(big.Int).SetBytes(tail)
	s.Sub(elliptic.P256().Params().N, s).FillBytes(tail)
	return out
}

// TestSizes prints what our shapes cost; the goals are D's table of sizes with a few bytes of room for key ids.
func TestSizes(t *testing.T) {
	h := newHouse(t)
	toPublic, err := EncryptKeyTo(possessionKey(), h.private.PublicKey(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name                  string
		p                     Protection
		cnf                   pop.Confirmation
		goalMinimal, goalFull int
	}{
		{"Encrypt0 with osc", Encrypt0{h.token}, pop.Confirmation{OSCORE: inputMaterial()}, 130, 185},
		{"Sign1 with Encrypt0 key", h.sign1(), h.encrypted(t), 215, 270},
		{"Sign1 with ECDH-ES key", h.sign1(), pop.Confirmation{Encrypted: toPublic}, 265, 320},
	}
	for _, tt := range tests {
		gotMinimal := len(mustSeal(t, minimal(tt.cnf), tt.p))
		gotFull := len(mustSeal(t, full(tt.cnf), tt.p))
		t.Logf("%-24s minimal %d B (goal %d), full %d B (goal %d)", tt.name, gotMinimal, tt.goalMinimal, gotFull, tt.goalFull)
		if gotMinimal > tt.goalMinimal || gotFull > tt.goalFull {
			t.Errorf("%s: got %d and %d bytes, want at most %d and %d", tt.name, gotMinimal, gotFull, tt.goalMinimal, tt.goalFull)
		}
	}
}

func TestTheLargestTokenFits(t *testing.T) {
	h := newHouse(t)
	c := everything(h.encrypted(t))
	var err error
	if c.Confirmation.Encrypted, err = EncryptKeyTo(possessionKey(), h.private.PublicKey(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	c.Scope = manyRights()
	c.Issuer, c.Subject, c.Audience = strings.Repeat("i", 64), strings.Repeat("s", 64), strings.Repeat("a", 64)
	token := mustSeal(t, c, Nested{Sign1: h.sign1(), Encrypt0: Encrypt0{h.token}})
	if got, err := Open(token, h.keys()); err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("%d bytes: got %+v, %v", len(token), got, err)
	}
	c.Issuer, c.Subject, c.Audience = strings.Repeat("i", 255), strings.Repeat("s", 255), strings.Repeat("a", 255)
	if token, err := Seal(c, h.sign1(), rand.Reader); err == nil {
		t.Errorf("a token of %d bytes was made", len(token))
	}
}
