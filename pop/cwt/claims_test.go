package cwt

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/cose"
)

func manyRights() aif.Rights {
	var entries []aif.Entry
	for i := range aif.MaxEntries {
		entries = append(entries, aif.Entry{Path: fmt.Sprintf("/%02d%s", i, strings.Repeat("x", 61)), Methods: aif.POST})
	}
	return aif.New(entries...)
}

func TestClaimsThatAreRead(t *testing.T) {
	tests := []struct {
		name, data string
		want       *pop.Claims
	}{
		{"nothing", "a0", &pop.Claims{}},
		{"an unknown number", "a1182901", &pop.Claims{Unknown: map[pop.ClaimLabel][]byte{{Number: 41}: {1}}}},
		{"an unknown name", "a163666f6f8101", &pop.Claims{Unknown: map[pop.ClaimLabel][]byte{{Name: "foo"}: {0x81, 1}}}},
		{"an unknown number that is zero or less", "a2002039fffff6", &pop.Claims{Unknown: map[pop.ClaimLabel][]byte{{}: {0x20}, {Number: -65536}: {0xf6}}}},
		{"claims in another order", "a2182901" + "036161", &pop.Claims{Audience: "a", Unknown: map[pop.ClaimLabel][]byte{{Number: 41}: {1}}}},
		{"a label in a longer head", "a1180403", &pop.Claims{Expires: time.Unix(3, 0)}},
		{"exp in a longer head", "a1041900ff", &pop.Claims{Expires: time.Unix(255, 0)}},
		{"cti in a longer head", "a107580101", &pop.Claims{ID: []byte{1}}},
		{"the thumbprint of a key", "a108a1055820" + strings.Repeat("ab", 32), &pop.Claims{Confirmation: pop.Confirmation{Thumbprint: bytes.Repeat([]byte{0xab}, 32)}}},
		{"exp at the beginning of time", "a10400", &pop.Claims{Expires: time.Unix(0, 0)}},
		{"exp is rounded down", "a104fb4000000000000000", &pop.Claims{Expires: time.Unix(2, 0)}},
		{"exp with a fraction is rounded down", "a104fb4004cccccccccccd", &pop.Claims{Expires: time.Unix(2, 0)}},
		{"nbf with a fraction is rounded up", "a105fb4004cccccccccccd", &pop.Claims{NotBefore: time.Unix(3, 0)}},
		{"iat with a fraction is rounded down", "a106f93e00", &pop.Claims{IssuedAt: time.Unix(1, 0)}},
		{"an empty cnonce is a value", "a1182740", &pop.Claims{CNonce: []byte{}}},
		{"a cnonce of 40 bytes", "a118275828" + strings.Repeat("ab", 40), &pop.Claims{CNonce: bytes.Repeat([]byte{0xab}, 40)}},
		{"a scope without rights is a value", "a1094180", &pop.Claims{Scope: aif.Rights{}}},
		{"exi of the longest", "a2074101" + "18281affffffff", &pop.Claims{ID: []byte{1}, ExpiresIn: (1<<32 - 1) * time.Second}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseClaims(unhex(t, tt.data))
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
}

func TestClaimsThatAreRefused(t *testing.T) {
	grant := func(body string) string { return "a1" + "3a00011170" + body }
	id := "0148" + strings.Repeat("00", 8)
	once := func(indexes, scope string) string {
		return "a2" + scope + "3a00011170" + "a30001" + id + "02" + indexes
	}
	ordered := "094b8282622f610182622f6202" // [["/a", 1], ["/b", 2]]
	tests := []struct{ name, data string }{
		{"empty", ""},
		{"an array", "80"},
		{"a tagged map", "d83da0"},
		{"a byte after", "a000"},
		{"the same claim twice", "a2036161036162"},
		{"a map of indefinite length", "bf036161ff"},
		{"aud in an array", "a103816161"},
		{"aud as bytes", "a1034161"},
		{"aud of nothing", "a10360"},
		{"aud of 256 bytes", "a103790100" + strings.Repeat("61", 256)},
		{"iss that is no text", "a10101"},
		{"sub that is not UTF-8", "a10261ff"},
		{"exp with tag 1", "a104c11a5612aeb0"},
		{"exp as text", "a1046131"},
		{"exp as null", "a104f6"},
		{"exp before time", "a10420"},
		{"exp after year 9999", "a1041b0000003afff44180"},
		{"exp beyond 63 bits", "a1041bffffffffffffffff"},
		{"exp as bignum", "a104c249010000000000000000"},
		{"exp as NaN", "a104f97e00"},
		{"exp as infinity", "a104f97c00"},
		{"exp as a huge float", "a104fb7fefffffffffffff"},
		{"nbf as a negative float", "a105fbbff0000000000000"},
		{"iat as bool", "a106f5"},
		{"cti as text", "a1076161"},
		{"cti of nothing", "a10740"},
		{"cti of 65 bytes", "a1075841" + strings.Repeat("00", 65)},
		{"cti as an array of numbers", "a107820102"},
		{"scope as text", "a109612f"},
		{"scope that is no AIF", "a10941a0"},
		{"scope with an unknown method", "a10948" + "8182622f611880" + "00"},
		{"profile as text", "a118266a636f61705f64746c73"},
		{"profile zero", "a1182600"},
		{"profile negative", "a1182620"},
		{"profile 65536", "a118261a00010000"},
		{"cnonce of 65 bytes", "a118275841" + strings.Repeat("00", 65)},
		{"cnonce as null", "a11827f6"},
		{"exi zero", "a2074101182800"},
		{"exi negative", "a2074101182820"},
		{"exi of 2^32", "a207410118281b0000000100000000"},
		{"exi as float", "a20741011828f93c00"},
		{"exi without cti", "a1182801"},
		{"grant of another length", grant("a20001" + "0147" + strings.Repeat("00", 7))},
		{"grant without epoch", grant("a1" + id)},
		{"grant with an unknown label", grant("a30001" + id + "0300")},
		{"grant in another order", grant("a2" + id + "0001")},
		{"grant with a long epoch", grant("a2001801" + id)},
		{"grant with epoch beyond 63 bits", grant("a2001bffffffffffffffff" + id)},
		{"grant with no indexes", grant("a30001" + id + "0280")},
		{"grant with indexes and no scope", grant("a30001" + id + "028100")},
		{"grade of nobody", grant("a30001" + id + "0383000102")},
		{"grade of two numbers", grant("a30001" + id + "03820102")},
		{"grade of four numbers", grant("a30001" + id + "038401020201")},
		{"grade beyond what can be", grant("a30001" + id + "0383100101")},
		{"grade as text", grant("a30001" + id + "036161")},
		{"grade with a long number", grant("a30001" + id + "038318010101")},
		{"grade with a byte after", grant("a30001" + id + "0383010101" + "00")},
		{"grade before indexes", "a2" + ordered + "3a00011170" + "a40001" + id + "0383010101" + "028100"},
		{"grade twice", grant("a40001" + id + "0383010101" + "0383010101")},
		{"grant with a fifth label", grant("a40001" + id + "0383010101" + "048101")},
		{"grant with a label that is text", grant("a30001" + id + "616183010101")},
		{"grant with a label below", grant("a30001" + id + "2083010101")},
		{"cnf empty", "a108a0"},
		{"index beyond the scope", once("8102", ordered)},
		{"indexes in descending order", once("820100", ordered)},
		{"an index twice", once("820000", ordered)},
		{"a negative index", once("8120", ordered)},
		{"an index that 32 bits take for 0", once("811b0000000100000000", ordered)},
		{"indexes into a scope in another order", once("8100", "094b8282622f620282622f6101")},
		{"indexes into a scope with a path twice", once("8100", "094b8282622f610182622f6102")},
		{"cnf with an unknown method only", "a108a118c84100"},
		{"cnf with a thumbprint of 31 bytes", "a108a105581f" + strings.Repeat("ab", 31)},
		{"cnf with a thumbprint as text", "a108a1057820" + strings.Repeat("61", 32)},
		{"cnf with a thumbprint and a key id", "a108a2034101055820" + strings.Repeat("ab", 32)},
		{"the same claim twice, once in a longer head", "a2036161" + "1803" + "6162"},
		{"the same claim twice within an unknown one", "a11829a201000100"},
		{"the same claim twice within cnf", "a108a203410103" + "4102"},
		{"a label that is bytes", "a1414100"},
		{"a label that is a bool", "a1f500"},
		{"a label that is empty", "a16000"},
		{"an unknown name of 256 bytes", "a1790100" + strings.Repeat("61", 256) + "00"},
		{"an unknown name that is not UTF-8", "a161ff00"},
		{"an unknown claim that is cut off", "a118294201"},
		{"33 unknown claims", "b821" + unknownClaims(33)},
		{"cnf with two methods", "a108a203410104a20041010250" + strings.Repeat("00", 16)},
		{"cnf that is no map", "a10880"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if len(tt.data)%2 == 1 {
				t.Fatalf("odd number of digits")
			}
			if got, err := parseClaims(unhex(t, tt.data)); !errors.Is(err, ErrClaims) {
				t.Errorf("got %+v, %v, want %v", got, err, ErrClaims)
			}
		})
	}
	for name, data := range map[string]string{"indexes as they should be": once("820001", ordered), "32 unknown claims": "b820" + unknownClaims(32)} {
		if _, err := parseClaims(unhex(t, data)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// unknownClaims are n entries from label 1000 on.
func unknownClaims(n int) string {
	var out strings.Builder
	for i := range n {
		fmt.Fprintf(&out, "19%04x00", 1000+i)
	}
	return out.String()
}

func TestUnknownClaimsComeBackAsTheyWere(t *testing.T) {
	h := newHouse(t)
	for name, p := range h.protections() {
		want := full(h.encrypted(t))
		want.Unknown = map[pop.ClaimLabel][]byte{
			{Number: 41}: {0x18, 0x01}, {Number: -70003}: unhex(t, "a2010261618101"), {Name: "eat_profile"}: {0x61, 'x'}, {Number: 1 << 40}: {0xf6},
		}
		got, err := Open(mustSeal(t, want, p), h.keys())
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, want)
		}
	}
}

func TestOpenedClaimsShareNoMemoryWithTheToken(t *testing.T) {
	h := newHouse(t)
	want := everything(h.encrypted(t))
	want.Unknown = map[pop.ClaimLabel][]byte{{Number: 41}: {0x44, 1, 2, 3, 4}}
	token := mustSeal(t, want, h.sign1())
	got, err := Open(token, h.keys())
	if err != nil {
		t.Fatal(err)
	}
	clear(token)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func unknown(label pop.ClaimLabel, value ...byte) map[pop.ClaimLabel][]byte {
	return map[pop.ClaimLabel][]byte{label: value}
}

func TestClaimsThatAreNotSealed(t *testing.T) {
	h := newHouse(t)
	tests := []struct {
		name   string
		change func(*pop.Claims)
	}{
		{"half a second of exi", func(c *pop.Claims) { c.ExpiresIn = 500 * time.Millisecond }},
		{"negative exi", func(c *pop.Claims) { c.ExpiresIn = -time.Second }},
		{"exi beyond 32 bits", func(c *pop.Claims) { c.ExpiresIn = time.Second << 32 }},
		{"exi without cti", func(c *pop.Claims) { c.ID = nil }},
		{"exp before 1970", func(c *pop.Claims) { c.Expires = time.Unix(-1, 0) }},
		{"exp after 9999", func(c *pop.Claims) { c.Expires = time.Unix(maxSeconds+1, 0) }},
		{"a profile without number", func(c *pop.Claims) { c.Profile = -1 }},
		{"two confirmation methods", func(c *pop.Claims) { c.Confirmation.KeyID = cose.KeyID{1} }},
		{"JWE", func(c *pop.Claims) { c.Confirmation = pop.Confirmation{JWE: "a.b.c.d.e"} }},
		{"an empty key id", func(c *pop.Claims) { c.Confirmation = pop.Confirmation{KeyID: cose.KeyID{}} }},
		{"an index beyond the scope", func(c *pop.Claims) { c.Grant.Once = []uint{2} }},
		{"indexes into an unordered scope", func(c *pop.Claims) { c.Scope[0], c.Scope[1] = c.Scope[1], c.Scope[0]; c.Grant.Once = []uint{0} }},
		{"an epoch beyond 63 bits", func(c *pop.Claims) { c.Grant.Epoch = 1 << 63 }},
		{"a scope that is none", func(c *pop.Claims) { c.Scope = aif.Rights{{Path: "door", Methods: aif.GET}} }},
		{"an audience of 256 bytes", func(c *pop.Claims) { c.Audience = strings.Repeat("a", 256) }},
		{"an audience that is not UTF-8", func(c *pop.Claims) { c.Audience = "\xff" }},
		{"a cnonce of 65 bytes", func(c *pop.Claims) { c.CNonce = make([]byte, 65) }},
		{"a thumbprint of 31 bytes", func(c *pop.Claims) { c.Confirmation = pop.Confirmation{Thumbprint: make([]byte, 31)} }},
		{"a thumbprint beside a key", func(c *pop.Claims) { c.Confirmation.Thumbprint = make([]byte, 32) }},
		{"two unknown claims under one name", func(c *pop.Claims) {
			c.Unknown = map[pop.ClaimLabel][]byte{{Name: "x"}: {0}, {Name: "x", Number: 1}: {1}}
		}},
		{"an unknown claim under a known label", func(c *pop.Claims) { c.Unknown = unknown(pop.ClaimLabel{Number: 4}, 0) }},
		{"an unknown claim under the label of an absent one", func(c *pop.Claims) { c.Unknown = unknown(pop.ClaimLabel{Number: 1}, 0x61, 'x') }},
		{"an unknown claim that is no CBOR", func(c *pop.Claims) { c.Unknown = unknown(pop.ClaimLabel{Number: 41}, 0x42, 0) }},
		{"an unknown claim of two items", func(c *pop.Claims) { c.Unknown = unknown(pop.ClaimLabel{Number: 41}, 0, 0) }},
		{"an unknown claim that closes the map", func(c *pop.Claims) { c.Unknown = unknown(pop.ClaimLabel{Number: 41}, 0, 4, 0) }},
		{"an unknown claim of nothing", func(c *pop.Claims) { c.Unknown = unknown(pop.ClaimLabel{Number: 41}) }},
		{"an unknown claim with a name beyond bounds", func(c *pop.Claims) { c.Unknown = unknown(pop.ClaimLabel{Name: strings.Repeat("n", 256)}, 0) }},
		{"an unknown claim with a broken name", func(c *pop.Claims) { c.Unknown = unknown(pop.ClaimLabel{Name: "\xff"}, 0) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := full(pop.Confirmation{OSCORE: inputMaterial()})
			tt.change(c)
			if token, err := Seal(c, Encrypt0{h.token}, rand.Reader); err == nil {
				t.Errorf("got %x", token)
			}
		})
	}
}
