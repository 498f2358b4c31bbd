package cose_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"slices"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

func TestKeySetsFindOneKeyOrNone(t *testing.T) {
	m := newMaterials(t)
	named := func(id byte, alg cose.Algorithm) *cose.Key {
		return mustKey(t, m.short, cose.KeyOptions{ID: cose.KeyID{id}, Algorithm: alg})
	}
	a, b, c := named(1, cose.A128GCM), named(2, cose.A128GCM), named(2, cose.AESCCM16_64_128)
	nameless := mustKey(t, m.short, cose.KeyOptions{})
	for name, tt := range map[string]struct {
		set  cose.KeySet
		alg  cose.Algorithm
		kid  cose.KeyID
		want *cose.Key
	}{
		"by id":                                {cose.KeySet{a, b, c}, cose.A128GCM, cose.KeyID{1}, a},
		"by id and algorithm":                  {cose.KeySet{a, b, c}, cose.AESCCM16_64_128, cose.KeyID{2}, c},
		"by algorithm alone":                   {cose.KeySet{a, c}, cose.AESCCM16_64_128, nil, c},
		"a key that says no algorithm":         {cose.KeySet{nameless}, cose.A128GCM, nil, nameless},
		"no set":                               {nil, cose.A128GCM, nil, nil},
		"another id":                           {cose.KeySet{a, b, c}, cose.A128GCM, cose.KeyID{3}, nil},
		"an empty id":                          {cose.KeySet{a, nameless}, cose.A128GCM, cose.KeyID{}, nameless},
		"another algorithm":                    {cose.KeySet{a, b}, cose.A256GCM, cose.KeyID{1}, nil},
		"two under one id":                     {cose.KeySet{b, b}, cose.A128GCM, cose.KeyID{2}, nil},
		"two and no id":                        {cose.KeySet{a, b}, cose.A128GCM, nil, nil},
		"a key without a name is not everyone": {cose.KeySet{nameless}, cose.A128GCM, cose.KeyID{9}, nil},
	} {
		got, err := tt.set.Find(tt.alg, tt.kid)
		if got != tt.want || (tt.want == nil) != errors.Is(err, cose.ErrKey) {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, tt.want)
		}
	}
}

// TestKeySetsKeepWhatTheyKnow: one key that cannot be used does not take the others with it (RFC 9052 §7).
func TestKeySetsKeepWhatTheyKnow(t *testing.T) {
	m := newMaterials(t)
	good := mustKey(t, &m.sign.PublicKey, cose.KeyOptions{ID: cose.KeyID{1}, Algorithm: cose.ES256})
	encoded, err := good.Encode()
	if err != nil {
		t.Fatal(err)
	}
	rsa := unhex(t, "a20103204101")
	data := slices.Concat([]byte{0x83}, rsa, encoded, []byte{0xa0})
	set, err := cose.ParseKeySet(data)
	if err != nil || len(set) != 1 || !set[0].Equal(good) {
		t.Errorf("got %v, %v, want %v", set, err, good)
	}
	back, err := set.Encode()
	if want := append([]byte{0x81}, encoded...); err != nil || !bytes.Equal(back, want) {
		t.Errorf("got %x, %v, want %x", back, err, want)
	}
	for n := range data {
		if _, err := cose.ParseKeySet(data[:n]); !errors.Is(err, cose.ErrMalformed) {
			t.Errorf("cut to %d bytes: got %v, want %v", n, err, cose.ErrMalformed)
		}
	}
	for _, bad := range []string{"80", "a0", "f6", "9fff", "c180"} {
		if set, err := cose.ParseKeySet(unhex(t, bad)); !errors.Is(err, cose.ErrMalformed) {
			t.Errorf("%s: got %v, %v, want %v", bad, set, err, cose.ErrMalformed)
		}
	}
	for name, set := range map[string]cose.KeySet{"empty": {}, "of 65": slices.Repeat(cose.KeySet{good}, 65)} {
		if data, err := set.Encode(); !errors.Is(err, cose.ErrKey) {
			t.Errorf("%s: got %x, %v, want %v", name, data, err, cose.ErrKey)
		}
	}
}

func TestPrivateKeysComeBackAsTheyWere(t *testing.T) {
	m := newMaterials(t)
	list := []any{m.sign, m.agree, m.secret}
	for _, signer := range newSigners(t) {
		list = append(list, signer)
	}
	for _, material := range list {
		key := mustKey(t, material, cose.KeyOptions{ID: cose.KeyID{1}})
		data, err := key.EncodePrivate()
		if err != nil {
			t.Fatal(err)
		}
		back, err := cose.ParsePrivateKey(data)
		if err != nil || !back.Equal(key) || back.IsPrivate() != key.IsPrivate() {
			t.Errorf("%T: got %v, %v, want %v", material, back, err, key)
		}
		if again, err := back.EncodePrivate(); err != nil || !bytes.Equal(again, data) {
			t.Errorf("%T: got %x, %v", material, again, err)
		}
		public, err := key.Encode()
		if err != nil || key.IsPrivate() && len(public) >= len(data) {
			t.Errorf("%T: the public key has %d bytes, the private one %d (%v)", material, len(public), len(data), err)
		}
		if key.IsPrivate() {
			if _, err := cose.ParsePrivateKey(public); !errors.Is(err, cose.ErrMalformed) {
				t.Errorf("%T: the public key read as a private one: %v", material, err)
			}
		}
	}
	public := mustKey(t, &m.sign.PublicKey, cose.KeyOptions{})
	if data, err := public.EncodePrivate(); !errors.Is(err, cose.ErrKey) {
		t.Errorf("a public key: got %x, %v, want %v", data, err, cose.ErrKey)
	}
}

// TestBothPartsOfAKeyBelongTogether: a public part of somebody else would let a key pass for another.
func TestBothPartsOfAKeyBelongTogether(t *testing.T) {
	for name, label := range map[string]int{"ES256": 2, "ES384": 2, "EdDSA": 1} {
		mine, other := parts(t, newSigners(t)[name]), parts(t, newSigners(t)[name])
		mine[-2], mine[1] = other[-2], label
		if label == 2 {
			mine[-3] = other[-3]
		}
		if key, err := cose.ParsePrivateKey(mustMarshal(t, mine)); !errors.Is(err, cose.ErrMalformed) {
			t.Errorf("%s: got %v, %v, want %v", name, key, err, cose.ErrMalformed)
		}
		delete(mine, -2)
		delete(mine, -3)
		if _, err := cose.ParsePrivateKey(mustMarshal(t, mine)); err != nil {
			t.Errorf("%s without its public part: %v", name, err)
		}
		for what, d := range map[string]any{"short": mine[-4].([]byte)[1:], "long": append(mine[-4].([]byte), 0), "text": "d", "null": nil} {
			mine[-4] = d
			if _, err := cose.ParsePrivateKey(mustMarshal(t, mine)); !errors.Is(err, cose.ErrMalformed) {
				t.Errorf("%s with a private part that is %s: got %v, want %v", name, what, err, cose.ErrMalformed)
			}
		}
	}
	for name, d := range map[string][]byte{"zero": make([]byte, 32), "the order or more": bytes.Repeat([]byte{0xff}, 32)} {
		if _, err := cose.ParsePrivateKey(mustMarshal(t, map[int]any{1: 2, -1: 1, -4: d})); !errors.Is(err, cose.ErrMalformed) {
			t.Errorf("d of %s: got %v, want %v", name, err, cose.ErrMalformed)
		}
	}
}

func parts(tb testing.TB, material any) map[int]any {
	tb.Helper()
	data, err := mustKey(tb, material, cose.KeyOptions{}).EncodePrivate()
	if err != nil {
		tb.Fatal(err)
	}
	var m map[int]any
	if err := wire.Unmarshal(data, &m); err != nil {
		tb.Fatal(err)
	}
	return m
}

// TestSizesOfSecrets: keys of a wrong length are refused before they are used, by whichever way they come.
func TestSizesOfSecrets(t *testing.T) {
	c := cose.Content{Algorithm: cose.HMAC256, Data: content}
	for _, size := range []int{0, 15, 65} {
		key := cose.NewSymmetric(make([]byte, size), nil)
		if _, err := cose.Mac(c, []cose.To{{Key: key, Algorithm: cose.Direct}}, rand.Reader); !errors.Is(err, cose.ErrKey) {
			t.Errorf("an HMAC key of %d bytes: got %v, want %v", size, err, cose.ErrKey)
		}
		if key, err := cose.NewKey(make([]byte, size), cose.KeyOptions{}); !errors.Is(err, cose.ErrKey) {
			t.Errorf("a key of %d bytes: got %v, %v, want %v", size, key, err, cose.ErrKey)
		}
	}
	long := mustKey(t, make([]byte, 32), cose.KeyOptions{})
	if _, err := cose.Mac(c, []cose.To{{Key: long, Algorithm: cose.A128KW}}, rand.Reader); !errors.Is(err, cose.ErrKey) {
		t.Errorf("A128KW with 32 bytes: got %v, want %v", err, cose.ErrKey)
	}
	big := cose.Content{Algorithm: cose.A256GCM, Data: make([]byte, cose.MaxContent+1)}
	if _, err := cose.Encrypt(big, []cose.To{{Key: long, Algorithm: cose.Direct}}, rand.Reader); !errors.Is(err, cose.ErrMalformed) {
		t.Errorf("content of a byte too many: got %v, want %v", err, cose.ErrMalformed)
	}
	big.Data = big.Data[1:]
	data, err := cose.Encrypt(big, []cose.To{{Key: long, Algorithm: cose.Direct}}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := openAs(cose.TagEncrypt, data, cose.With(long), cose.Options{}); err != nil || len(got) != cose.MaxContent {
		t.Errorf("as much content as there may be: got %d bytes, %v", len(got), err)
	}
}
