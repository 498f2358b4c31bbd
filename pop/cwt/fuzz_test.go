package cwt

import (
	"bytes"
	"reflect"
	"slices"
	"testing"

	"github.com/latchkey-ace/latchkey/pop"
)

func FuzzOpen(f *testing.F) {
	for _, name := range []string{"A_3.json", "A_4.json", "A_5.json", "A_6.json", "A_7.json"} {
		f.Add(readExample(f, name).token(f))
	}
	f.Add(readACE(f, "rfc9770-token-hash-cwt").bytes(f, "access_token"))
	h := newHouse(f)
	for _, p := range newHouse(f).protections() {
		f.Add(mustSeal(f, full(h.encrypted(f)), p))
	}
	f.Fuzz(func(t *testing.T, token []byte) {
		// The seeds that decrypt under our fixed token key are signed by nobody this house knows, or not at all.
		if c, err := Open(token, Keys{Verify: h.keys().Verify, Relaxed: true}); err == nil {
			t.Errorf("a token that nobody made was opened: %+v", c)
		}
		// What the strict reader takes, the relaxed one takes and reads in the same way.
		strict, err := Open(token, h.keys())
		if err != nil {
			return
		}
		keys := h.keys()
		keys.Relaxed = true
		if relaxed, err := Open(token, keys); err != nil || !reflect.DeepEqual(relaxed, strict) {
			t.Errorf("got %+v, %v, want %+v", relaxed, err, strict)
		}
	})
}

func FuzzParseClaims(f *testing.F) {
	for _, name := range []string{"A_3.json", "A_7.json"} {
		f.Add(unhex(f, readExample(f, name).Input.Plaintext))
	}
	f.Add(readACE(f, "rfc9203-claims-set").bytes(f, "cbor"))
	h := newHouse(f)
	for _, c := range []*pop.Claims{everything(h.encrypted(f)), everything(pop.Confirmation{OSCORE: inputMaterial()})} {
		data, err := encodeClaims(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseClaims(data)
		if err != nil {
			return
		}
		again, err := encodeClaims(c)
		if err != nil {
			t.Fatalf("claims that were read cannot be written: %v", err)
		}
		if back, err := parseClaims(again); err != nil || !reflect.DeepEqual(back, c) {
			t.Fatalf("got %+v, %v, want %+v", back, err, c)
		}
	})
}

// FuzzScan: what the fast reader takes, the strict one takes too, and both find the same.
func FuzzScan(f *testing.F) {
	for _, name := range []string{"A_3.json", "A_7.json"} {
		f.Add(unhex(f, readExample(f, name).Input.Plaintext))
	}
	f.Add(readACE(f, "rfc9203-claims-set").bytes(f, "cbor"))
	for _, text := range []string{"a201000100", "a2182901036161", "a11829a201000100", "a1180403", "a104f97e00", "a118299b0000000000000001", "a1182982818180f7"} {
		f.Add(unhex(f, text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		fast, ok := scanMap(data, new(room))
		if !ok {
			return
		}
		slow, err := decodeMap(data)
		if err != nil || len(slow) != len(fast) {
			t.Fatalf("%x: the fast reader takes %v, the strict one says %v", data, fast, err)
		}
		for _, e := range fast {
			i := slices.IndexFunc(slow, func(s field) bool { return s.label == e.label })
			if i < 0 || !bytes.Equal(slow[i].value, e.value) {
				t.Errorf("%x: label %v: got %x", data, e.label, e.value)
			}
		}
	})
}

// FuzzItem: the fast readers of single items give what the strict decoder gives.
func FuzzItem(f *testing.F) {
	for _, text := range []string{"00", "1818", "1bffffffffffffffff", "3bffffffffffffffff", "3b7fffffffffffffff", "6161", "780161", "61ff", "4101", "580101", "80", "c100", "f6"} {
		f.Add(unhex(f, text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n, errN := integer(data)
		wantN, errWantN := as[int64](data)
		s, errS := text(data)
		wantS, errWantS := as[string](data)
		b, errB := byteString(data)
		wantB, errWantB := as[[]byte](data)
		if (errN == nil) != (errWantN == nil) || (errS == nil) != (errWantS == nil) || (errB == nil) != (errWantB == nil) {
			t.Fatalf("%x: got %v %v %v, want %v %v %v", data, errN, errS, errB, errWantN, errWantS, errWantB)
		}
		if n != wantN || s != wantS || !bytes.Equal(b, wantB) {
			t.Errorf("%x: got %d %q %x, want %d %q %x", data, n, s, b, wantN, wantS, wantB)
		}
	})
}

func FuzzParseConfirmation(f *testing.F) {
	h := newHouse(f)
	for _, c := range []pop.Confirmation{h.encrypted(f), {OSCORE: inputMaterial()}, {KeyID: []byte{1}}, {Key: possessionKey()}} {
		data, err := EncodeConfirmation(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfirmation(data)
		if err != nil {
			return
		}
		if _, err := EncodeConfirmation(c); err != nil {
			t.Fatalf("a confirmation that was read cannot be written: %v", err)
		}
	})
}

func FuzzDecryptKey(f *testing.F) {
	h := newHouse(f)
	f.Add(h.encrypted(f).Encrypted)
	f.Fuzz(func(t *testing.T, data []byte) {
		opener := KeyOpener{Private: h.opener().Private}
		if key, err := DecryptKey(data, opener); err == nil {
			t.Errorf("a key that nobody encrypted to this device was opened: %v", key)
		}
	})
}
