package cose_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"slices"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/cose"
)

// household are recipients that can share a message, and one key more that is none of theirs.
func household(tb testing.TB) (to []cose.To, keys cose.KeySet, stranger *cose.Key) {
	tb.Helper()
	for i, curve := range []ecdh.Curve{ecdh.P256(), ecdh.X25519()} {
		private, err := curve.GenerateKey(rand.Reader)
		if err != nil {
			tb.Fatal(err)
		}
		o := cose.KeyOptions{ID: cose.KeyID{byte(i)}}
		to = append(to, cose.To{Key: mustKey(tb, private.PublicKey(), o), Algorithm: cose.ECDHESA128KW})
		keys = append(keys, mustKey(tb, private, o))
	}
	shared := mustKey(tb, bytes.Repeat([]byte{4}, 16), cose.KeyOptions{ID: cose.KeyID("shared")})
	to = append(to, cose.To{Key: shared, Algorithm: cose.A128KW})
	keys = append(keys, shared)
	return to, keys, mustKey(tb, bytes.Repeat([]byte{5}, 16), cose.KeyOptions{ID: cose.KeyID("stranger")})
}

func TestEveryRecipientOpens(t *testing.T) {
	to, keys, stranger := household(t)
	encrypted, err := cose.Encrypt(cose.Content{Algorithm: cose.ChaCha20Poly1305, Data: content, External: external}, to, rand.Reader)
	authenticated, macErr := cose.Mac(cose.Content{Algorithm: cose.HMAC256, Data: content, External: external}, to, rand.Reader)
	if err := errors.Join(err, macErr); err != nil {
		t.Fatal(err)
	}
	o := cose.Options{External: external}
	for tag, data := range map[cose.Tag][]byte{cose.TagEncrypt: encrypted, cose.TagMac: authenticated} {
		for _, key := range keys {
			if got, err := openAs(tag, data, (cose.KeySet{key}).Find, o); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%v with %v: got %q, %v", tag, key, got, err)
			}
		}
		if _, err := openAs(tag, data, (cose.KeySet{stranger}).Find, o); !errors.Is(err, cose.ErrKey) {
			t.Errorf("%v with a stranger's key: got %v, want %v", tag, err, cose.ErrKey)
		}
	}
}

// A key that says what content it is for is found for that, also by a recipient that says no more than direct.
func TestDirectRecipientFindsATypedKeyInASet(t *testing.T) {
	key := mustKey(t, bytes.Repeat([]byte{4}, 16), cose.KeyOptions{ID: cose.KeyID("a"), Algorithm: cose.A128GCM})
	other := mustKey(t, bytes.Repeat([]byte{5}, 16), cose.KeyOptions{ID: cose.KeyID("a"), Algorithm: cose.AESCCM16_128_128})
	data, err := cose.Encrypt(cose.Content{Algorithm: cose.A128GCM, Data: content}, []cose.To{{Key: key, Algorithm: cose.Direct}}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := openAs(cose.TagEncrypt, data, cose.KeySet{other, key}.Find, cose.Options{}); err != nil || !bytes.Equal(got, content) {
		t.Errorf("got %q, %v", got, err)
	}
}

// Layers of recipients do not multiply what a message may cost before it is known to be good.
func TestRecipientsAreBoundedInAllLayers(t *testing.T) {
	message := func(outer, inner int) []byte {
		wrapped := append(unhex(t, "8440a10122"+"5818"), make([]byte, 24)...) // A128KW under a key that recipients of its own give
		wrapped = append(wrapped, 0x80+byte(inner))
		wrapped = append(wrapped, bytes.Repeat(append(unhex(t, "8340a10122"+"5818"), make([]byte, 24)...), inner)...)
		return slices.Concat(unhex(t, "8443a10101"+"a1054c000000000000000000000000"+"50"), make([]byte, 16),
			[]byte{0x80 + byte(outer)}, bytes.Repeat(wrapped, outer))
	}
	if _, err := cose.ParseEncrypt(message(4, 3)); err != nil {
		t.Errorf("16 recipients: %v", err)
	}
	if _, err := cose.ParseEncrypt(message(4, 4)); !errors.Is(err, cose.ErrMalformed) {
		t.Errorf("20 recipients: got %v, want %v", err, cose.ErrMalformed)
	}
}

// TestDirectRecipientsAreAlone: who gets the content key itself would share it with all others (RFC 9052 §8.5).
func TestDirectRecipientsAreAlone(t *testing.T) {
	to, keys, _ := household(t)
	c := cose.Content{Algorithm: cose.A128GCM, Data: content}
	for _, alg := range []cose.Algorithm{cose.Direct, cose.DirectHKDF256, cose.ECDHESHKDF256} {
		second := cose.To{Key: keys[2], Algorithm: alg}
		if data, err := cose.Encrypt(c, append(to[:1:1], second), rand.Reader); !errors.Is(err, cose.ErrKey) {
			t.Errorf("%v beside another: got %x, %v, want %v", alg, data, err, cose.ErrKey)
		}
	}
	for name, list := range map[string][]cose.To{"none": nil, "too many": make([]cose.To, 17)} {
		if data, err := cose.Encrypt(c, list, rand.Reader); !errors.Is(err, cose.ErrKey) {
			t.Errorf("%s: got %x, %v, want %v", name, data, err, cose.ErrKey)
		}
	}
	shared := cose.To{Key: keys[2], Algorithm: cose.Direct}
	data, err := cose.Encrypt(c, []cose.To{shared}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	alone := unhex(t, "818340a201250446"+"736861726564"+"40")
	twice := unhex(t, "828340a201250446"+"736861726564"+"408340a201250446"+"736861726564"+"40")
	if !bytes.HasSuffix(data, alone) {
		t.Fatalf("got %x, want it to end in %x", data, alone)
	}
	data = append(data[:len(data)-len(alone)], twice...)
	if _, err := openAs(cose.TagEncrypt, data, cose.With(keys[2]), cose.Options{}); !errors.Is(err, cose.ErrMalformed) {
		t.Errorf("the direct recipient twice: got %v, want %v", err, cose.ErrMalformed)
	}
}

// TestReceivedRecipients are those that a sender may not make, each in a message that is else whole.
func TestReceivedRecipients(t *testing.T) {
	shared := mustKey(t, bytes.Repeat([]byte{4}, 16), cose.KeyOptions{})
	type list = []any
	type header = map[int]any
	none := []byte{}
	direct := list{none, header{1: -6}, none}
	agree := func(more header) list {
		more[1] = -25
		return list{mustMarshal(t, more), header{}, none}
	}
	for name, tt := range map[string]struct {
		recipients any
		want       error
	}{
		"one that is right":                {list{direct}, cose.ErrVerification},
		"none":                             {list{}, cose.ErrMalformed},
		"no array":                         {header{}, cose.ErrMalformed},
		"seventeen":                        {slices.Repeat(list{direct}, 17), cose.ErrMalformed},
		"of two entries":                   {list{direct[:2]}, cose.ErrMalformed},
		"of five entries":                  {list{append(direct[:3:3], list{direct}, 0)}, cose.ErrMalformed},
		"without algorithm":                {list{list{none, header{}, none}}, cose.ErrMalformed},
		"direct twice":                     {list{direct, direct}, cose.ErrMalformed},
		"direct, with a key":               {list{list{none, header{1: -6}, []byte{1}}}, cose.ErrMalformed},
		"direct, without ciphertext":       {list{list{none, header{1: -6}, nil}}, cose.ErrMalformed},
		"direct, protected":                {list{list{mustMarshal(t, header{1: -6}), header{}, none}}, cose.ErrMalformed},
		"direct, with recipients":          {list{append(direct[:3:3], list{direct})}, cose.ErrMalformed},
		"A128KW, protected":                {list{list{mustMarshal(t, header{1: -3}), header{}, make([]byte, 24)}}, cose.ErrMalformed},
		"A128KW, another key":              {list{list{none, header{1: -3}, make([]byte, 24)}}, cose.ErrVerification},
		"A128KW, nothing wrapped":          {list{list{none, header{1: -3}, none}}, cose.ErrVerification},
		"A128KW in A128KW, another key":    {list{list{none, header{1: -3}, make([]byte, 24), list{direct}}}, cose.ErrVerification},
		"three layers":                     {list{list{none, header{1: -3}, none, list{list{none, header{1: -3}, none, list{direct}}}}}, cose.ErrMalformed},
		"A256KW":                           {list{list{none, header{1: -5}, none}}, cose.ErrUnsupported},
		"an algorithm with a name":         {list{list{none, header{1: "mine"}, none}}, cose.ErrUnsupported},
		"crit in the clear":                {list{list{none, header{1: -6, 2: list{1}}, none}}, cose.ErrMalformed},
		"ECDH-ES, no ephemeral key":        {list{agree(header{})}, cose.ErrMalformed},
		"ECDH-ES, an ephemeral integer":    {list{agree(header{-1: 1})}, cose.ErrMalformed},
		"ECDH-ES, an ephemeral secret":     {list{agree(header{-1: header{1: 4, -1: make([]byte, 16)}})}, cose.ErrMalformed},
		"ECDH-ES, a point off the curve":   {list{agree(header{-1: header{1: 2, -1: 1, -2: make([]byte, 32), -3: make([]byte, 32)}})}, cose.ErrMalformed},
		"ECDH-ES, a key to verify with":    {list{agree(header{-1: header{1: 2, 4: list{2}, -1: 1, -2: unhex(t, exampleX), -3: true}})}, cose.ErrMalformed},
		"ECDH-ES, a key for ES256":         {list{agree(header{-1: header{1: 2, 3: -7, -1: 1, -2: unhex(t, exampleX), -3: true}})}, cose.ErrMalformed},
		"ECDH-ES, a reader without secret": {list{agree(header{-1: header{1: 2, -1: 1, -2: unhex(t, exampleX), -3: true}})}, cose.ErrKey},
	} {
		protected := mustMarshal(t, header{1: 1})
		data := mustMarshal(t, list{protected, header{5: make([]byte, 12)}, make([]byte, 36), tt.recipients})
		if _, err := openAs(cose.TagEncrypt, data, cose.With(shared), cose.Options{}); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
}

// TestEphemeralKeysMatch: the sender's key must be on the reader's curve and of full order.
func TestEphemeralKeysMatch(t *testing.T) {
	p256, _ := newRecipient(t)
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	low := map[int]any{1: 1, -1: 4, -2: make([]byte, 32)}
	for name, tt := range map[string]struct {
		private *ecdh.PrivateKey
		want    error
	}{"another curve": {p256, cose.ErrKey}, "low order": {x25519, cose.ErrMalformed}} {
		protected, agree := mustMarshal(t, map[int]any{1: 1}), mustMarshal(t, map[int]any{1: -25, -1: low})
		recipient := []any{agree, map[int]any{}, []byte{}}
		data := mustMarshal(t, []any{protected, map[int]any{5: make([]byte, 12)}, make([]byte, 36), []any{recipient}})
		find := cose.With(mustKey(t, tt.private, cose.KeyOptions{}))
		if _, err := openAs(cose.TagEncrypt, data, find, cose.Options{}); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
}

// TestPartiesMustAgree: what both sides know besides the key is part of what they derive.
func TestPartiesMustAgree(t *testing.T) {
	key := mustKey(t, bytes.Repeat([]byte{4}, 32), cose.KeyOptions{})
	data, err := cose.Encrypt(cose.Content{Algorithm: cose.A128GCM, Data: content}, []cose.To{{Key: key, Algorithm: cose.DirectHKDF256}}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		o    cose.Options
		want error
	}{
		"nothing more":         {cose.Options{}, nil},
		"a party's name":       {cose.Options{PartyU: cose.Party{Identity: []byte("lock")}}, cose.ErrVerification},
		"the other's name":     {cose.Options{PartyV: cose.Party{Identity: []byte("phone")}}, cose.ErrVerification},
		"another nonce":        {cose.Options{PartyU: cose.Party{Nonce: []byte{1}}}, cose.ErrKey},
		"a public addition":    {cose.Options{PublicInfo: []byte{1}}, cose.ErrVerification},
		"a private addition":   {cose.Options{PrivateInfo: []byte{1}}, cose.ErrVerification},
		"an empty private one": {cose.Options{PrivateInfo: []byte{}}, cose.ErrVerification},
	} {
		if _, err := openAs(cose.TagEncrypt, data, cose.With(key), tt.o); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
}
