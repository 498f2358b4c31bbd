package cwt

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/grade"
	"pgregory.net/rapid"
)

// wrapper puts one more layer around what is inside, with its COSE tag.
type wrapper func(inner []byte) []byte

func (h *house) wrappers(tb testing.TB) (sign, encrypt, tag wrapper) {
	tb.Helper()
	return h.wrap(tb, h.sign1()), h.wrap(tb, Encrypt0{h.token}), func(inner []byte) []byte { return cose.Wrap(cose.TagCWT, inner) }
}

func (h *house) wrap(tb testing.TB, p Protection) wrapper {
	return func(inner []byte) []byte {
		data, err := p.seal(inner, rand.Reader)
		if err != nil {
			tb.Fatal(err)
		}
		return data
	}
}

func TestLayers(t *testing.T) {
	h := newHouse(t)
	sign, encrypt, cwt := h.wrappers(t)
	mac := h.wrap(t, Mac0{h.mac})
	want := minimal(h.encrypted(t))
	claims, err := encodeClaims(want)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name            string
		token           []byte
		strict, relaxed error
	}{
		{"signed", cwt(sign(claims)), nil, nil},
		{"signed, without the CWT tag", sign(claims), ErrForm, nil},
		{"encrypted, without the CWT tag", encrypt(claims), ErrForm, nil},
		{"signed with the other s", otherS(cwt(sign(claims))), ErrForm, nil},
		{"signed, then encrypted", cwt(encrypt(sign(claims))), nil, nil},
		{"a whole CWT signed, then encrypted", cwt(encrypt(cwt(sign(claims)))), ErrForm, nil},
		{"encrypted, then signed", cwt(sign(encrypt(claims))), ErrClaims, nil},
		{"encrypted twice", cwt(encrypt(encrypt(claims))), ErrForm, nil},
		{"signed twice, then encrypted", cwt(encrypt(sign(sign(claims)))), ErrClaims, nil},
		{"four layers", cwt(sign(encrypt(sign(encrypt(claims))))), ErrClaims, ErrForm},
		{"the CWT tag twice", cwt(cwt(sign(claims))), ErrForm, ErrForm},
		{"claims under the CWT tag alone", cwt(claims), ErrForm, ErrForm},
		{"claims alone", claims, ErrForm, ErrForm},
		{"signed, with the wrong tag inside", cwt(encrypt(cose.Wrap(cose.TagEncrypt0, sign(claims)[1:]))), ErrForm, ErrForm},
		{"with a MAC", cwt(mac(claims)), nil, nil},
		{"with a MAC, then encrypted", cwt(encrypt(mac(claims))), ErrForm, nil},
		{"a signature tagged as a MAC", cwt(cose.Wrap(cose.TagMac0, sign(claims)[1:])), ErrProtection, ErrProtection},
		{"a MAC tagged as a signature", cwt(cose.Wrap(cose.TagSign1, mac(claims)[1:])), ErrProtection, ErrProtection},
		{"COSE_Encrypt", cwt(cose.Wrap(cose.TagEncrypt, sign(claims)[1:])), ErrForm, ErrForm},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			keys := h.keys()
			for _, mode := range []struct {
				relaxed bool
				want    error
			}{{false, tt.strict}, {true, tt.relaxed}} {
				keys.Relaxed = mode.relaxed
				got, err := Open(tt.token, keys)
				if !errors.Is(err, mode.want) || mode.want == nil && !reflect.DeepEqual(got, want) {
					t.Errorf("relaxed %v: got %+v, %v, want %v", mode.relaxed, got, err, mode.want)
				}
			}
		})
	}
}

// TestRelaxedIsNotCareless: what protects a token is judged as ever.
func TestRelaxedIsNotCareless(t *testing.T) {
	h, other := newHouse(t), newHouse(t)
	sign, _, cwt := h.wrappers(t)
	keys := h.keys()
	keys.Relaxed = true
	token := mustSeal(t, minimal(h.encrypted(t)), Nested{Sign1: h.sign1(), Encrypt0: Encrypt0{h.token}})
	for bit := range 8 * len(token) {
		damaged := bytes.Clone(token)
		damaged[bit/8] ^= 1 << (bit % 8)
		if _, err := Open(damaged, keys); err == nil {
			t.Errorf("bit %d flipped: taken", bit)
		}
	}
	strangers := other.keys()
	strangers.Relaxed = true
	if _, err := Open(token, strangers); !errors.Is(err, ErrProtection) {
		t.Errorf("another signer: got %v, want %v", err, ErrProtection)
	}
	clear, err := encodeClaims(minimal(pop.Confirmation{Key: possessionKey()}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cwt(sign(clear)), keys); !errors.Is(err, ErrSecretInClear) {
		t.Errorf("a key in clear: got %v, want %v", err, ErrSecretInClear)
	}
	keys.RequireSignature = true
	if _, err := Open(mustSeal(t, minimal(h.encrypted(t)), Encrypt0{h.token}), keys); !errors.Is(err, ErrProtection) {
		t.Errorf("nobody signed: got %v, want %v", err, ErrProtection)
	}
}

// TestTypedKeys: Find takes whatever pop/cose takes, each key for its own algorithm.
func TestTypedKeys(t *testing.T) {
	h := newHouse(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	typed := func(material any, alg cose.Algorithm) *cose.Key {
		key, err := cose.NewKey(material, cose.KeyOptions{ID: cose.KeyID{1}, Algorithm: alg})
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	want := full(h.encrypted(t))
	keys := map[string]*cose.Key{}
	tokens := map[string][]byte{}
	for name, pair := range map[string]struct {
		p   Protection
		key *cose.Key
	}{
		"ES256":    {h.sign1(), typed(&h.signer.PublicKey, cose.ES256)},
		"ES384":    {Sign1{Signer: p384, ID: cose.KeyID{1}}, typed(&p384.PublicKey, cose.ES384)},
		"EdDSA":    {Sign1{Signer: ed, ID: cose.KeyID{1}}, typed(ed.Public(), cose.EdDSA)},
		"HMAC":     {Mac0{h.mac}, h.mac},
		"Encrypt0": {Encrypt0{h.token}, typed(h.token.K, h.token.Algorithm)},
	} {
		keys[name], tokens[name] = pair.key, mustSeal(t, want, pair.p)
	}
	for made, token := range tokens {
		for taken, key := range keys {
			got, err := Open(token, Keys{Find: cose.With(key)})
			if made == taken && (err != nil || !reflect.DeepEqual(got, want)) || made != taken && !errors.Is(err, ErrProtection) {
				t.Errorf("%s with the key of %s: got %+v, %v", made, taken, got, err)
			}
		}
		if got, err := Open(token, Keys{}); !errors.Is(err, ErrProtection) {
			t.Errorf("%s without keys: got %+v, %v", made, got, err)
		}
	}
}

func TestPrivatePartsStayAtHome(t *testing.T) {
	h := newHouse(t)
	private, err := cose.NewKey(h.signer, cose.KeyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range h.protections() {
		got, err := Open(mustSeal(t, minimal(pop.Confirmation{Key: private}), p), h.keys())
		if err != nil || got.Confirmation.Key.IsPrivate() || !got.Confirmation.Key.Equal(private) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
	encoded, err := private.EncodePrivate()
	if err != nil {
		t.Fatal(err)
	}
	if c, err := ParseConfirmation(append([]byte{0xa1, 0x01}, encoded...)); err == nil {
		t.Errorf("got %+v", c)
	}
}

// TestAnyClaimsComeBack draws whole claims sets.
func TestAnyClaimsComeBack(t *testing.T) {
	h := newHouse(t)
	text := rapid.StringN(0, 20, 60)
	seconds := rapid.Int64Range(0, maxSeconds)
	rapid.Check(t, func(t *rapid.T) {
		want := &pop.Claims{
			Issuer: text.Draw(t, "iss"), Subject: text.Draw(t, "sub"), Audience: text.Draw(t, "aud"),
			Expires: time.Unix(seconds.Draw(t, "exp"), 0), NotBefore: time.Unix(seconds.Draw(t, "nbf"), 0), IssuedAt: time.Unix(seconds.Draw(t, "iat"), 0),
			ID: rapid.SliceOfN(rapid.Byte(), 1, maxID).Draw(t, "cti"), ExpiresIn: time.Duration(rapid.Int64Range(0, maxExpiresIn).Draw(t, "exi")) * time.Second,
			Profile: pop.Profile(rapid.IntRange(0, maxProfile).Draw(t, "profile")), CNonce: rapid.SliceOfN(rapid.Byte(), 0, maxCNonce).Draw(t, "cnonce"),
			Scope: aif.New(aif.Entry{Path: "/a", Methods: aif.GET}, aif.Entry{Path: "/b", Methods: aif.POST}),
			Grant: &pop.GrantRef{Epoch: rapid.Uint64Range(0, maxEpoch).Draw(t, "epoch"), Once: []uint{1}},
		}
		if rapid.Bool().Draw(t, "graded") {
			n := rapid.IntRange(0, grade.Max)
			want.Grant.Grade = grade.Grade{
				Kind: grade.Kind(rapid.IntRange(1, grade.Max).Draw(t, "kind")), Key: grade.Keeping(n.Draw(t, "key")), System: grade.System(n.Draw(t, "os")),
			}
		}
		numbers := rapid.MapOfN(rapid.Int64().Filter(func(n int64) bool { return readerOf(pop.ClaimLabel{Number: n}) == nil }), rapid.Int64(), 0, 5).Draw(t, "numbers")
		names := rapid.MapOfN(rapid.StringN(1, 10, 30), rapid.Int64(), 0, 5).Draw(t, "names")
		for label, value := range numbers {
			keep(t, want, pop.ClaimLabel{Number: label}, value)
		}
		for label, value := range names {
			keep(t, want, pop.ClaimLabel{Name: label}, value)
		}
		token, err := Seal(want, Encrypt0{h.token}, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Open(token, h.keys()); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, %v, want %+v", got, err, want)
		}
	})
}

func keep(t *rapid.T, c *pop.Claims, label pop.ClaimLabel, value int64) {
	encoded, err := encodeLabel(pop.ClaimLabel{Number: value})
	if err != nil {
		t.Fatal(err)
	}
	if c.Unknown == nil {
		c.Unknown = map[pop.ClaimLabel][]byte{}
	}
	c.Unknown[label] = encoded
}
