package aif_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/aif"
)

const figureJSON = `[["/s/temp",1],["/a/led",5],["/dtls",2]]` // RFC 9237 figure 3

func TestRFC9237FigureInJSON(t *testing.T) {
	fromJSON, err := aif.ParseJSON([]byte(figureJSON))
	if err != nil {
		t.Fatal(err)
	}
	fromCBOR, err := aif.Parse(unhex(t, load(t).Figure.CBOR))
	if err != nil || !reflect.DeepEqual(fromJSON, fromCBOR) {
		t.Errorf("got %v, want %v as in CBOR (%v)", fromJSON, fromCBOR, err)
	}
	got, err := fromJSON.EncodeJSON()
	if want := `[["/a/led",5],["/dtls",2],["/s/temp",1]]`; err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

func TestEncodeJSONWritesPathsAsTheyAre(t *testing.T) {
	got, err := aif.New(entry("/a?x=1&y", aif.GET)).EncodeJSON()
	if want := `[["/a?x=1&y",1]]`; err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	if got, err := aif.Rights(nil).EncodeJSON(); err != nil || string(got) != "[]" {
		t.Errorf("no rights: got %s, %v, want []", got, err)
	}
}

func TestParseJSONAccepts(t *testing.T) {
	tests := []struct {
		name, json string
		want       aif.Rights
	}{
		{"no rights", `[]`, nil},
		{"white space", " [ [ \"/a\" ,\n1 ] ] ", aif.Rights{entry("/a", aif.GET)}},
		{"an escaped path", `[["\u002fa?x=1\u0026y",1]]`, aif.Rights{entry("/a?x=1&y", aif.GET)}},
		{"one path twice, merged", `[["/a",1],["/a",4]]`, aif.Rights{entry("/a", aif.GET|aif.PUT)}},
		{"an entry that grants nothing", `[["/a",0]]`, nil},
		{"the dynamic example", `[["/a/make-coffee",38654705666]]`, aif.Rights{entry("/a/make-coffee", aif.POST|aif.DynamicGET|aif.DynamicDELETE)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := aif.ParseJSON([]byte(tt.json))
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %v, %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestParseJSONRefuses(t *testing.T) {
	tests := []struct{ name, json string }{
		{"nothing", ``},
		{"null", `null`},
		{"an object", `{"/a":1}`},
		{"an entry that is null", `[null]`},
		{"an entry that is an object", `[{"Path":"/a","Methods":1}]`},
		{"an entry of one", `[["/a"]]`},
		{"an entry of three", `[["/a",1,1]]`},
		{"a path that is null", `[[null,1]]`},
		{"a path that is a number", `[[1,1]]`},
		{"methods that are null", `[["/a",null]]`},
		{"methods in text", `[["/a","1"]]`},
		{"methods that are true", `[["/a",true]]`},
		{"methods with a fraction", `[["/a",1.0]]`},
		{"methods with an exponent", `[["/a",1e0]]`},
		{"methods below zero", `[["/a",-1]]`},
		{"methods that are minus zero", `[["/a",-0]]`},
		{"methods with a leading zero", `[["/a",01]]`},
		{"bit 7", `[["/a",128]]`},
		{"bit 31", `[["/a",2147483648]]`},
		{"bit 39", `[["/a",549755813888]]`},
		{"2^53 + 1", `[["/a",9007199254740993]]`},
		{"more than 64 bits", `[["/a",18446744073709551616]]`},
		{"a path in another spelling", `[["/\u002e\u002e/a",1]]`},
		{"a byte that is not UTF-8", "[[\"/a\xff\",1]]"},
		{"a lone surrogate", `[["/a\ud800",1]]`},
		{"a second value", `[] []`},
		{"a comma too many", `[["/a",1],]`},
		{"depth", strings.Repeat("[", 3000)},
		{"more than MaxJSON bytes", strings.Repeat(" ", aif.MaxJSON) + "[]"},
		{"more than MaxEntries", `[["/a",1]` + strings.Repeat(`,["/a",1]`, aif.MaxEntries) + `]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := aif.ParseJSON([]byte(tt.json)); err == nil {
				t.Errorf("got %v, want an error", got)
			}
		})
	}
}

func TestBeyond53BitsIsNamedAsSuch(t *testing.T) {
	_, err := aif.ParseJSON([]byte(`[["/a",9007199254740994]]`))
	if err == nil || !strings.Contains(err.Error(), "2^53") {
		t.Errorf("got %v, want an error that names 2^53", err)
	}
}

func TestParseJSONRefusesEveryTruncation(t *testing.T) {
	for n := range len(figureJSON) {
		if got, err := aif.ParseJSON([]byte(figureJSON[:n])); err == nil {
			t.Errorf("%d of %d bytes: got %v, want an error", n, len(figureJSON), got)
		}
	}
}

func TestEncodeJSONRefusesWhatCannotBeRead(t *testing.T) {
	for _, r := range []aif.Rights{{entry("/a", 1<<7)}, {entry("/a", 1<<53)}, {entry("a", aif.GET)}} {
		if got, err := r.EncodeJSON(); err == nil {
			t.Errorf("%v: got %s, want an error", r, got)
		}
	}
}

func FuzzParseJSON(f *testing.F) {
	f.Add([]byte(figureJSON))
	f.Add([]byte(`[["/a/make-coffee",38654705666]]`))
	f.Add([]byte(`[["/a?x=1\u0026y",1],["/a",0]]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		rights, err := aif.ParseJSON(data)
		if err != nil {
			return
		}
		encoded, err := rights.EncodeJSON()
		if err != nil {
			t.Fatalf("parsed %v, but: %v", rights, err)
		}
		again, err := aif.ParseJSON(encoded)
		if err != nil || !reflect.DeepEqual(again, rights) {
			t.Fatalf("got %v, %v, want %v", again, err, rights)
		}
		inCBOR, err := rights.Encode()
		if err != nil {
			t.Fatalf("%v has no CBOR form: %v", rights, err)
		}
		if other, err := aif.Parse(inCBOR); err != nil || !reflect.DeepEqual(other, rights) {
			t.Fatalf("in CBOR: got %v, %v, want %v", other, err, rights)
		}
	})
}
