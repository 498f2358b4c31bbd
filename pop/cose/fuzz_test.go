package cose_test

import (
	"bytes"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/cose"
)

func FuzzParseKey(f *testing.F) {
	f.Add(unhex(f, "a5010202423131200121"+"5820"+exampleX+"22"+"5820"+exampleY))
	f.Add(unhex(f, "a40102200121"+"5820"+exampleX+"22f4"))
	f.Add(unhex(f, "a30305010420582066"+"84523ab17337f173500e5728c628547cb37dfe68449c65f885d1b73b49eae1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := cose.ParseKey(data)
		if err != nil {
			return
		}
		again, err := key.Encode()
		if err != nil {
			t.Fatalf("a key that was read cannot be written: %v", err)
		}
		back, err := cose.ParseKey(again)
		if err != nil || !back.Equal(key) {
			t.Fatalf("got %v, %v, want %v", back, err, key)
		}
	})
}

func FuzzOpenEncrypt0(f *testing.F) {
	for _, e := range readExamples(f, "encrypted-tests/*.json") {
		f.Add(unhex(f, e.Output.CBOR)[1:])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		key := newSymmetric(cose.A128GCM)
		if _, err := cose.OpenEncrypt0(data, cose.Only(key), nil); err == nil {
			t.Error("a message under a key nobody used was opened")
		}
	})
}

func FuzzVerifySign1(f *testing.F) {
	for _, e := range readExamples(f, "sign1-tests/*.json") {
		f.Add(unhex(f, e.Output.CBOR)[1:])
	}
	_, public := newSigner(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := cose.ParseSign1(data); err == nil {
			_ = m.CheckCanonical()
		}
		if _, err := cose.VerifySign1(data, findPublic(public), nil); err == nil {
			t.Error("a message of a key nobody used was verified")
		}
	})
}

func FuzzOpenEncrypt(f *testing.F) {
	for _, e := range readExamples(f, "ecdh-direct-examples/p256-hkdf-256-*.json") {
		f.Add(unhex(f, e.Output.CBOR)[2:])
	}
	private, _ := newRecipient(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := cose.OpenEncrypt(data, findPrivate(private), nil); err == nil {
			t.Error("a message to a key nobody knows was opened")
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
