package cose_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/sha256"
	"maps"
	"slices"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/cose"
)

// strange are keys of every kind that nobody used.
func strange(tb testing.TB) cose.FindKey {
	tb.Helper()
	seed := sha256.Sum256([]byte("a key that nobody used"))
	must := func(material any, o cose.KeyOptions) *cose.Key {
		key, err := cose.NewKey(material, o)
		if err != nil {
			tb.Fatal(err)
		}
		return key
	}
	_, public := newSigner(tb)
	private, err := ecdh.P256().NewPrivateKey(seed[:])
	if err != nil {
		tb.Fatal(err)
	}
	short, long := must(seed[:16], cose.KeyOptions{}), must(seed[:], cose.KeyOptions{BaseIV: seed[:13]})
	verify, agree, edwards := must(public, cose.KeyOptions{}), must(private, cose.KeyOptions{}), must(ed25519.NewKeyFromSeed(seed[:]), cose.KeyOptions{})
	return func(alg cose.Algorithm, kid cose.KeyID) (*cose.Key, error) {
		switch {
		case alg == cose.ES256:
			return verify, nil
		case alg == cose.EdDSA:
			return edwards, nil
		case alg == cose.ECDHESHKDF256 || alg == cose.ECDHESA128KW:
			return agree, nil
		case alg == cose.A128KW || alg == cose.A128GCM || alg == cose.AESCCM16_64_128 || alg == cose.AESCCM16_128_128 || len(kid)%2 == 1:
			return short, nil
		}
		return long, nil
	}
}

// fuzzMessage feeds one structure with the examples of it. No key is right, so nothing may be accepted.
func fuzzMessage(f *testing.F, tag cose.Tag) {
	examples := readExamples(f, "*/*.json")
	for _, name := range slices.Sorted(maps.Keys(examples)) {
		if is, item := examples[name].item(f); is == tag {
			f.Add(item)
		}
	}
	find := strange(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		_, err := openAs(tag, data, find, cose.Options{UnprotectedAlgorithm: true})
		if err == nil {
			t.Errorf("a message under a key that nobody used was accepted: %x", data)
		}
		if !bytes.Equal(before, data) {
			t.Error("the input was changed")
		}
		if bare, content, err := cose.Detach(data); err == nil {
			if whole, err := cose.Attach(bare, content); err != nil || len(whole) > len(data) {
				t.Errorf("detached and attached: got %x, %v", whole, err)
			}
		}
	})
}

func FuzzSign1(f *testing.F)    { fuzzMessage(f, cose.TagSign1) }
func FuzzSign(f *testing.F)     { fuzzMessage(f, cose.TagSign) }
func FuzzMac0(f *testing.F)     { fuzzMessage(f, cose.TagMac0) }
func FuzzMac(f *testing.F)      { fuzzMessage(f, cose.TagMac) }
func FuzzEncrypt0(f *testing.F) { fuzzMessage(f, cose.TagEncrypt0) }
func FuzzEncrypt(f *testing.F)  { fuzzMessage(f, cose.TagEncrypt) }

// keySeeds are encoded keys of every kind.
func keySeeds(tb testing.TB) [][]byte {
	seeds := [][]byte{
		unhex(tb, "a5010202423131200121"+"5820"+exampleX+"22"+"5820"+exampleY),
		unhex(tb, "a40102200121"+"5820"+exampleX+"22f4"),
		unhex(tb, "a30305010420582066"+"84523ab17337f173500e5728c628547cb37dfe68449c65f885d1b73b49eae1"),
	}
	for _, e := range readExamples(tb, "e*-examples/*-01.json") {
		_, layer := e.layer()
		layer.walk(func(l *exampleLayer) {
			if l.Key.Kty == "" {
				return
			}
			if key, err := l.Key.key(tb, nil); err == nil {
				public, _ := key.Encode()
				private, _ := key.EncodePrivate()
				seeds = append(seeds, public, private)
			}
		})
	}
	return seeds
}

func FuzzParseKey(f *testing.F) {
	for _, seed := range keySeeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		checkKey(t, data, cose.ParseKey, (*cose.Key).Encode)
		checkKey(t, data, cose.ParsePrivateKey, (*cose.Key).EncodePrivate)
	})
}

func checkKey(t *testing.T, data []byte, parse func([]byte) (*cose.Key, error), encode func(*cose.Key) ([]byte, error)) {
	key, err := parse(data)
	if err != nil {
		return
	}
	again, err := encode(key)
	if err != nil {
		t.Fatalf("a key that was read cannot be written: %v", err)
	}
	back, err := parse(again)
	if err != nil || !back.Equal(key) {
		t.Fatalf("got %v, %v, want %v", back, err, key)
	}
}

func FuzzParseKeySet(f *testing.F) {
	seeds := keySeeds(f)
	f.Add(slices.Concat([]byte{0x80 + byte(min(len(seeds), 23))}, slices.Concat(seeds[:min(len(seeds), 23)]...)))
	f.Add(append([]byte{0x81}, seeds[0]...))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := cose.ParseKeySet(data)
		if err != nil || len(set) == 0 {
			return
		}
		again, err := set.Encode()
		if err != nil {
			t.Fatalf("a set that was read cannot be written: %v", err)
		}
		back, err := cose.ParseKeySet(again)
		if err != nil || len(back) != len(set) {
			t.Fatalf("got %v, %v, want %v", back, err, set)
		}
	})
}

func FuzzUnwrap(f *testing.F) {
	f.Add(unhex(f, "d83dd083"))
	f.Add(unhex(f, "d83dd81083"))
	f.Add(unhex(f, "db000000000000003d80"))
	f.Fuzz(func(t *testing.T, data []byte) {
		tag, item, err := cose.Unwrap(data)
		if err == nil && !bytes.Equal(cose.Wrap(tag, item), data) {
			t.Errorf("%x has a second spelling", data)
		}
	})
}
