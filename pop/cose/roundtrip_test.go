package cose_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/cose"
)

// operation is one way to protect content, with the way back, the key for it and another of the same kind.
type operation struct {
	name       string
	tag        cose.Tag
	seal       func() ([]byte, error)
	key, other *cose.Key
	openHeader []byte // a header that its recipient cannot protect
	fixed      bool   // the same content gives the same bytes
}

func (op operation) open(data []byte, key *cose.Key, aad []byte) ([]byte, error) {
	find := func(cose.Algorithm, cose.KeyID) (*cose.Key, error) { return key, nil }
	return openAs(op.tag, data, find, cose.Options{External: aad})
}

// operations are all structures with all algorithms, all methods for recipients and all curves.
func operations(tb testing.TB) []operation {
	tb.Helper()
	list := append(signatures(tb), symmetric(tb)...)
	for _, alg := range []cose.Algorithm{cose.A128GCM, cose.AESCCM16_128_256} {
		list = append(list, recipients(tb, cose.TagEncrypt, alg, encryptTo)...)
	}
	return append(list, recipients(tb, cose.TagMac, cose.HMAC256, macTo)...)
}

func signatures(tb testing.TB) []operation {
	tb.Helper()
	var list []operation
	others := newSigners(tb)
	for name, private := range newSigners(tb) {
		s := cose.Signer{Key: private, ID: cose.KeyID{9}}
		key, other := mustKey(tb, private.Public(), cose.KeyOptions{}), mustKey(tb, others[name].Public(), cose.KeyOptions{})
		list = append(list, operation{
			name: "Sign1 " + name, tag: cose.TagSign1, key: key, other: other, fixed: name == "EdDSA",
			seal: func() ([]byte, error) { return cose.Sign1(s, content, external, rand.Reader) },
		}, operation{
			name: "Sign twice " + name, tag: cose.TagSign, key: key, other: other, fixed: name == "EdDSA",
			seal: func() ([]byte, error) { return cose.Sign([]cose.Signer{s, s}, content, external, rand.Reader) },
		})
	}
	return list
}

func symmetric(tb testing.TB) []operation {
	tb.Helper()
	var list []operation
	for _, alg := range allAlgorithms {
		isMAC := alg == cose.HMAC256 || alg == cose.HMAC256_64
		if alg <= 0 {
			continue
		}
		size := 16
		switch alg {
		case cose.A256GCM, cose.AESCCM16_64_256, cose.AESCCM16_128_256, cose.ChaCha20Poly1305, cose.HMAC256, cose.HMAC256_64:
			size = 32
		}
		o := cose.KeyOptions{ID: cose.KeyID{7}, Algorithm: alg}
		key, other := mustKey(tb, bytes.Repeat([]byte{1}, size), o), mustKey(tb, bytes.Repeat([]byte{2}, size), o)
		if isMAC {
			list = append(list, operation{
				name: "Mac0 " + alg.String(), tag: cose.TagMac0, key: key, other: other, fixed: true,
				seal: func() ([]byte, error) { return cose.Mac0(key, content, external) },
			})
			continue
		}
		list = append(list, operation{
			name: "Encrypt0 " + alg.String(), tag: cose.TagEncrypt0, key: key, other: other,
			seal: func() ([]byte, error) { return cose.Encrypt0(key, content, external, rand.Reader) },
		})
	}
	return list
}

func recipients(tb testing.TB, tag cose.Tag, alg cose.Algorithm, protect func(cose.Content, []cose.To) ([]byte, error)) []operation {
	tb.Helper()
	var list []operation
	add := func(name string, method cose.Algorithm, to, key, other *cose.Key) {
		op := operation{name: fmt.Sprintf("%v %v, %s", tag, alg, name), tag: tag, key: key, other: other}
		op.seal = func() ([]byte, error) {
			return protect(cose.Content{Algorithm: alg, Data: content, External: external}, []cose.To{{Key: to, Algorithm: method}})
		}
		switch method {
		case cose.Direct:
			op.openHeader, op.fixed = unhex(tb, "a201250442"+"6b31"), tag == cose.TagMac
		case cose.A128KW:
			op.openHeader = unhex(tb, "a201220442"+"6b31")
		}
		list = append(list, op)
	}
	size := 16
	if alg != cose.A128GCM {
		size = 32
	}
	o := cose.KeyOptions{ID: cose.KeyID("k1")}
	for method, size := range map[cose.Algorithm]int{cose.Direct: size, cose.DirectHKDF256: 32, cose.A128KW: 16} {
		key := mustKey(tb, bytes.Repeat([]byte{1}, size), o)
		add(method.String(), method, key, key, mustKey(tb, bytes.Repeat([]byte{2}, size), o))
	}
	for name, curve := range map[string]ecdh.Curve{"P-256": ecdh.P256(), "P-384": ecdh.P384(), "X25519": ecdh.X25519()} {
		mine, err := curve.GenerateKey(rand.Reader)
		other, otherErr := curve.GenerateKey(rand.Reader)
		if err := errors.Join(err, otherErr); err != nil {
			tb.Fatal(err)
		}
		for _, method := range []cose.Algorithm{cose.ECDHESHKDF256, cose.ECDHESA128KW} {
			add(method.String()+" on "+name, method, mustKey(tb, mine.PublicKey(), o), mustKey(tb, mine, o), mustKey(tb, other, o))
		}
	}
	return list
}

func TestRoundTrip(t *testing.T) {
	for _, op := range operations(t) {
		t.Run(op.name, func(t *testing.T) {
			data, err := op.seal()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := op.open(data, op.key, external); err != nil || !bytes.Equal(got, content) {
				t.Errorf("got %q, %v, want %q", got, err, content)
			}
			if _, err := op.open(data, op.key, nil); !errors.Is(err, cose.ErrVerification) {
				t.Errorf("without external data: got %v, want %v", err, cose.ErrVerification)
			}
			if _, err := op.open(data, op.other, external); !errors.Is(err, cose.ErrVerification) {
				t.Errorf("with another key: got %v, want %v", err, cose.ErrVerification)
			}
			if _, err := op.open(data, nil, external); !errors.Is(err, cose.ErrKey) {
				t.Errorf("without a key: got %v, want %v", err, cose.ErrKey)
			}
			if again, err := op.seal(); err != nil || bytes.Equal(again, data) != op.fixed {
				t.Errorf("sealed again: the same bytes %t, %v, want %t", bytes.Equal(again, data), err, op.fixed)
			}
			checkDetached(t, op, data)
		})
	}
}

// checkDetached sends the content by another way.
func checkDetached(t *testing.T, op operation, data []byte) {
	t.Helper()
	bare, detached, err := cose.Detach(data)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := op.open(bare, op.key, external); !errors.Is(err, cose.ErrMalformed) {
		t.Errorf("detached: got %v, want %v", err, cose.ErrMalformed)
	}
	if whole, err := cose.Attach(bare, detached); err != nil || !bytes.Equal(whole, data) {
		t.Errorf("attached again: got %x, %v, want %x", whole, err, data)
	}
	changed, err := cose.Attach(bare, append(bytes.Clone(detached), 0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := op.open(changed, op.key, external); !errors.Is(err, cose.ErrVerification) {
		t.Errorf("with other content: got %v, want %v", err, cose.ErrVerification)
	}
}

// TestDamagedMessagesAreRefused cuts at every byte and flips every bit. Only in the header of a recipient that cannot
// protect it (RFC 9053 §6.1.1, §6.2.1) may a bit go unnoticed, and even there the content stays what it was.
func TestDamagedMessagesAreRefused(t *testing.T) {
	for _, op := range operations(t) {
		t.Run(op.name, func(t *testing.T) {
			data, err := op.seal()
			if err != nil {
				t.Fatal(err)
			}
			for n := range data {
				if _, err := op.open(data[:n], op.key, external); !errors.Is(err, cose.ErrMalformed) {
					t.Errorf("cut to %d bytes: got %v, want %v", n, err, cose.ErrMalformed)
				}
			}
			from := bytes.LastIndex(data, op.openHeader) // at the end if there is none
			if from < 0 {
				t.Fatalf("no %x in %x", op.openHeader, data)
			}
			step := 1
			switch {
			case strings.Contains(op.name, "384"):
				step = 19 // the same code as on P-256, on a curve that takes five times as long
			case strings.Contains(op.name, "25519"):
				step = 5
			}
			for bit := 0; bit < 8*len(data); bit += step {
				damaged := bytes.Clone(data)
				damaged[bit/8] ^= 1 << (bit % 8)
				got, err := op.open(damaged, op.key, external)
				if at := bit/8 - from; err == nil && (at < 0 || at >= len(op.openHeader) || !bytes.Equal(got, content)) {
					t.Errorf("bit %d flipped: accepted %x", bit, damaged)
				}
			}
			if _, err := op.open(append(bytes.Clone(data), 0), op.key, external); !errors.Is(err, cose.ErrMalformed) {
				t.Errorf("a byte more: got %v, want %v", err, cose.ErrMalformed)
			}
		})
	}
}
