package cwt

import (
	"crypto/rand"
	"encoding/hex"
	"reflect"
	"testing"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/cose"
)

// rfc9679Key is the key of RFC 9679 §6, with the key id it has there.
const (
	rfc9679Key = "a50102025820" + "496bd8afadf307e5b08c64b0421bf9dc01528a344a43bda88fadd1669da253ec" +
		"2001" + "215820" + "65eda5a12577c2bae829437fe338701a10aaa375e1bb5b5de108de439c08551d" +
		"225820" + "1e52ed75701163f7f9e40ddf9f341b3dc9ba860af7e0ca7ca7e9eecd0084d19c"
	rfc9679Thumbprint = "496bd8afadf307e5b08c64b0421bf9dc01528a344a43bda88fadd1669da253ec"
)

func TestKeyThumbprint(t *testing.T) {
	key, err := cose.ParseKey(unhex(t, rfc9679Key))
	if err != nil {
		t.Fatal(err)
	}
	bare, err := cose.PublicKey(key.Public(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]*cose.Key{"as in RFC 9679 §6": key, "compressed": key.Compressed(), "without id": bare} {
		if got, err := KeyThumbprint(k); err != nil || hex.EncodeToString(got[:]) != rfc9679Thumbprint {
			t.Errorf("%s: got %x, %v, want %s", name, got, err, rfc9679Thumbprint)
		}
	}
	// From the calculator of the draft's author: {1: 4, -1: h'849B…'}.
	symmetric := cose.NewSymmetric(unhex(t, "849b5786457c1491be3a76dcea6c4271"), cose.KeyID{1})
	const want = "a2415ba0fc101d948490e9434e19e8b94172f5432b4dc924db6eddcfbc2577ed"
	if got, err := KeyThumbprint(symmetric); err != nil || hex.EncodeToString(got[:]) != want {
		t.Errorf("symmetric: got %x, %v, want %s", got, err, want)
	}
	if got, err := KeyThumbprint(new(cose.Key)); err == nil {
		t.Errorf("no key: got %x", got)
	}
}

func TestConfirmsOnlyTheKeyThatIsNamed(t *testing.T) {
	h := newHouse(t)
	key, err := cose.ParseKey(unhex(t, rfc9679Key))
	if err != nil {
		t.Fatal(err)
	}
	other, err := cose.PublicKey(&h.signer.PublicKey, key.ID())
	if err != nil {
		t.Fatal(err)
	}
	c := minimal(pop.Confirmation{Thumbprint: unhex(t, rfc9679Thumbprint)})
	got, err := Open(mustSeal(t, c, h.sign1()), h.keys())
	if err != nil || !reflect.DeepEqual(got, c) {
		t.Fatalf("got %+v, %v", got, err)
	}
	tests := []struct {
		name string
		cnf  pop.Confirmation
		want bool
	}{
		{"its thumbprint", got.Confirmation, true},
		{"the key", pop.Confirmation{Key: key}, true},
		{"the key, compressed", pop.Confirmation{Key: key.Compressed()}, true},
		{"another key under the same id", pop.Confirmation{Key: other}, false},
		{"another thumbprint", pop.Confirmation{Thumbprint: make([]byte, 32)}, false},
		{"a shortened thumbprint", pop.Confirmation{Thumbprint: got.Confirmation.Thumbprint[:31]}, false},
		{"its id alone", pop.Confirmation{KeyID: key.ID()}, false},
		{"nothing", pop.Confirmation{}, false},
	}
	for _, tt := range tests {
		if got := Confirms(tt.cnf, key); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
	if _, err := Seal(minimal(pop.Confirmation{Thumbprint: make([]byte, 31)}), h.sign1(), rand.Reader); err == nil {
		t.Error("a short thumbprint was sealed")
	}
}
