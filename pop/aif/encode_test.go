package aif_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

type vectors struct {
	Figure struct {
		JSON [][2]any
		CBOR string
	}
	Dynamic struct{ Text, CBOR string }
}

func load(t testing.TB) (v vectors) {
	t.Helper()
	data, err := os.ReadFile("testdata/rfc9237.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRFC9237Figures(t *testing.T) {
	v := load(t)
	got, err := aif.Parse(unhex(t, v.Figure.CBOR))
	if err != nil {
		t.Fatal(err)
	}
	var want []aif.Entry
	for _, pair := range v.Figure.JSON {
		want = append(want, entry(pair[0].(string), aif.Methods(pair[1].(float64))))
	}
	if !reflect.DeepEqual(got, aif.New(want...)) {
		t.Errorf("got %v, want %v", got, aif.New(want...))
	}
	if text := "/a/led:GET,PUT /dtls:POST /s/temp:GET"; got.String() != text {
		t.Errorf("text: got %q, want %q", got, text)
	}
	// We write in ascending order of path; the figure does not.
	encoded, err := got.Encode()
	sorted := unhex(t, "8382662f612f6c65640582652f64746c730282672f732f74656d7001")
	if err != nil || !bytes.Equal(encoded, sorted) {
		t.Errorf("encoded: got %x, %v, want %x", encoded, err, sorted)
	}
}

func TestRFC9237Dynamic(t *testing.T) {
	v := load(t)
	rights, err := aif.ParseText(v.Dynamic.Text)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := rights.Encode()
	if err != nil || !bytes.Equal(encoded, unhex(t, v.Dynamic.CBOR)) {
		t.Errorf("got %x, %v, want %s", encoded, err, v.Dynamic.CBOR)
	}
	if rights.String() != v.Dynamic.Text {
		t.Errorf("got %q, want %q", rights, v.Dynamic.Text)
	}
}

func TestParseAccepts(t *testing.T) {
	tests := []struct {
		name, cbor string
		want       aif.Rights
	}{
		{"no rights", "80", nil},
		{"an entry that grants nothing", "8182622f6100", nil},
		{"one path twice, merged", "8282622f610182622f6104", aif.Rights{entry("/a", aif.GET|aif.PUT)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := aif.Parse(unhex(t, tt.cbor))
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %v, %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	tests := []struct{ name, cbor string }{
		{"nothing", ""},
		{"null", "f6"},
		{"a map", "a0"},
		{"an entry that is null", "81f6"},
		{"an entry of one", "8181622f61"},
		{"an entry of three", "8183622f610101"},
		{"a path that is null", "8182f601"},
		{"a path in bytes", "8182422f6101"},
		{"methods that are null", "8182622f61f6"},
		{"methods that are a float", "8182622f61f93c00"},
		{"methods that are negative", "8182622f6120"},
		{"methods that are a bignum", "8182622f61c24101"},
		{"bit 7", "8182622f611880"},
		{"bit 31", "8182622f611a80000000"},
		{"bit 39", "8182622f611b0000008000000000"},
		{"bit 63", "8182622f611b8000000000000000"},
		{"a relative path", "8182616101"},
		{"an empty path", "81826001"},
		{"an indefinite array", "9f82622f6101ff"},
		{"a trailing byte", "8182622f610100"},
		{"a tag", "d9052281" + "82622f6101"},
		{"a tagged path", "8182c6622f6101"},
		{"a path that is not UTF-8", "8182622fff01"},
		{"a path of 2^64 - 1 bytes", "81827bffffffffffffffff"},
		{"a path of an indefinite length", "81827f622f61ff01"},
		{"2^63 - 1 entries", "9b7fffffffffffffff"},
		{"the number of entries in a longer head", "980182622f6101"},
		{"an entry in a longer head", "819802622f6101"},
		{"a path in a longer head", "818278022f6101"},
		{"methods in a longer head", "8182622f611801"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := aif.Parse(unhex(t, tt.cbor)); err == nil {
				t.Errorf("got %v, want an error", got)
			}
		})
	}
}

func TestParseRefusesEveryTruncation(t *testing.T) {
	whole := unhex(t, load(t).Figure.CBOR)
	for n := range whole {
		if got, err := aif.Parse(whole[:n]); err == nil {
			t.Errorf("%d of %d bytes: got %v, want an error", n, len(whole), got)
		}
	}
}

func TestPaths(t *testing.T) {
	for _, path := range []string{"/", "/a", "/a/b", "/a.b/..c", "/a:b,c", "/a%2Fb", "/100%25", "/%C3%BC", "/a?x=/../y", "/?q", "/a?", "/a?x=1&y=2%26z", "/a?x=1&&", "/a?b?c", "/" + strings.Repeat("a", 63)} {
		if err := aif.CheckPath(path); err != nil {
			t.Errorf("%q: got %v, want it accepted", path, err)
		}
	}
	for _, path := range []string{"", "a", "//", "/a//b", "//a", "/a/", "/.", "/..", "/a/./b", "/a/../b", "/a/..", "/a b", "/a\x00",
		"/a#b", "/a\"", "/a\\b", "/ü", "/%41", "/%2e%2e", "/%2E", "/a%2fb", "/a%", "/a%2", "/a%zz", "/a<b>", "/{id}", "/a?x=%31", "/a?x=y#z", "/a?x= ", "/a?%2F", "/a/?x", "?x", "/" + strings.Repeat("a", 64)} {
		if err := aif.CheckPath(path); err == nil {
			t.Errorf("%q was accepted", path)
		}
	}
}

func TestParseTextRefuses(t *testing.T) {
	for _, text := range []string{"unlock", "/door", "/door:", "/door:get", "/door:GET,", "/door:GET POST", "door:GET", "/door:GET;PUT",
		"/door:ALL", "/door:*", "/a:GET\t/b:GET", "/d//x:GET", "/door:Dynamic-", strings.Repeat(" ", aif.MaxText+1)} {
		if got, err := aif.ParseText(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}

func TestMoreEntriesThanTheBoundAreRefused(t *testing.T) {
	var many aif.Rights
	for i := range aif.MaxEntries {
		many = append(many, entry("/"+string(rune('a'+i)), aif.GET))
	}
	encoded, err := many.Encode()
	if err != nil {
		t.Fatalf("%d entries: %v", len(many), err)
	}
	if _, err := aif.Parse(encoded); err != nil {
		t.Errorf("%d entries: %v", len(many), err)
	}
	many = append(many, entry("/one-more", aif.GET))
	if _, err := many.Encode(); err == nil {
		t.Errorf("%d entries were encoded", len(many))
	}
	if _, err := aif.ParseText(many.String()); err == nil {
		t.Errorf("%d entries were read as text", len(many))
	}
	raw := append([]byte{0x80 | aif.MaxEntries + 1}, bytes.Repeat(unhex(t, "82622f6101"), aif.MaxEntries+1)...)
	if _, err := aif.Parse(raw); err == nil {
		t.Errorf("%d equal entries were read", aif.MaxEntries+1)
	}
}

func TestEncodeRefusesUnknownBitsAndPaths(t *testing.T) {
	for _, r := range []aif.Rights{{entry("/a", 1<<7)}, {entry("/a", 1<<39)}, {entry("a", aif.GET)}} {
		if got, err := r.Encode(); err == nil {
			t.Errorf("%v: got %x, want an error", r, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	v := load(f)
	f.Add(unhex(f, v.Figure.CBOR))
	f.Add(unhex(f, v.Dynamic.CBOR))
	f.Add([]byte{0x80})
	f.Fuzz(func(t *testing.T, data []byte) {
		rights, err := aif.Parse(data)
		if err != nil {
			return
		}
		if err := wire.UnmarshalDeterministic(data, new(any)); err != nil {
			t.Fatalf("parsed %v, but the strict decoder says: %v", rights, err)
		}
		encoded, err := rights.Encode()
		if err != nil {
			t.Fatalf("parsed %v, but: %v", rights, err)
		}
		again, err := aif.Parse(encoded)
		if err != nil || !reflect.DeepEqual(again, rights) {
			t.Fatalf("got %v, %v, want %v", again, err, rights)
		}
	})
}

func FuzzParseText(f *testing.F) {
	f.Add("/a/led:GET,PUT /dtls:POST /s/temp:GET")
	f.Add(load(f).Dynamic.Text)
	f.Fuzz(func(t *testing.T, text string) {
		rights, err := aif.ParseText(text)
		if err != nil {
			return
		}
		again, err := aif.ParseText(rights.String())
		if err != nil || !reflect.DeepEqual(again, rights) {
			t.Fatalf("got %v, %v, want %v", again, err, rights)
		}
	})
}
