package cwt

import (
	"reflect"
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
		if c, err := Open(token, Keys{Verify: h.keys().Verify}); err == nil {
			t.Errorf("a token that nobody made was opened: %+v", c)
		}
		if _, err := Open(token, h.keys()); err != nil {
			return
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
