package aif_test

import (
	"reflect"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"pgregory.net/rapid"
)

func TestAllowsDrivesForbiddenAndMethodNotAllowed(t *testing.T) {
	rights := aif.New(entry("/door", aif.GET|aif.PUT), entry("/log?from=1", aif.GET), entry("/coffee", aif.DynamicGET), entry("/odd", aif.GET|1<<7))
	tests := []struct {
		name string
		path string
		m    aif.Methods
		want aif.Answer
	}{
		{"a granted method", "/door", aif.GET, aif.Allowed},
		{"two granted methods", "/door", aif.GET | aif.PUT, aif.Allowed},
		{"one of two methods is missing", "/door", aif.GET | aif.POST, aif.MethodNotAllowed},
		{"another method", "/door", aif.POST, aif.MethodNotAllowed},
		{"no method", "/door", 0, aif.MethodNotAllowed},
		{"a longer segment", "/doors", aif.GET, aif.PathUnknown},
		{"a path below", "/door/x", aif.GET, aif.PathUnknown},
		{"a path above", "/", aif.GET, aif.PathUnknown},
		{"another case", "/Door", aif.GET, aif.PathUnknown},
		{"a percent spelling", "/%64oor", aif.GET, aif.PathUnknown},
		{"a closing slash", "/door/", aif.GET, aif.PathUnknown},
		{"the same query", "/log?from=1", aif.GET, aif.Allowed},
		{"another query", "/log?from=2", aif.GET, aif.PathUnknown},
		{"no query", "/log", aif.GET, aif.PathUnknown},
		{"a dynamic right is none on the path itself", "/coffee", aif.GET, aif.MethodNotAllowed},
		{"no request has a dynamic method", "/coffee", aif.DynamicGET, aif.MethodNotAllowed},
		{"a dynamic right is none below the path", "/coffee/1", aif.GET, aif.PathUnknown},
		{"a bit without a meaning, though granted", "/odd", 1 << 7, aif.MethodNotAllowed},
		{"a method beside a bit without a meaning", "/odd", aif.GET, aif.Allowed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := rights.Allows(tt.path, tt.m); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	if got := aif.Rights(nil).Allows("/", aif.GET); got != aif.PathUnknown {
		t.Errorf("no rights: got %v, want %v", got, aif.PathUnknown)
	}
}

func TestMethodOfCode(t *testing.T) {
	want := map[codes.Code]aif.Methods{1: aif.GET, 2: aif.POST, 3: aif.PUT, 4: aif.DELETE, 5: aif.FETCH, 6: aif.PATCH, 7: aif.IPATCH}
	for code := range 256 {
		m, ok := aif.MethodOf(codes.Code(code))
		expected, known := want[codes.Code(code)]
		if ok != known || m != expected {
			t.Errorf("code %d: got %v %v, want %v %v", code, m, ok, expected, known)
		}
	}
}

func TestOnlyGetAndFetchLeaveStateAlone(t *testing.T) {
	harmless := aif.GET | aif.FETCH | aif.DynamicGET | aif.DynamicFETCH
	for bit := range 64 {
		m := aif.Methods(1) << bit
		want := m.Valid() && m&harmless == 0
		if got := m.ChangesState(); got != want {
			t.Errorf("bit %d: got %v, want %v", bit, got, want)
		}
	}
}

func TestNewMergesAndSorts(t *testing.T) {
	got := aif.New(entry("/b", aif.GET), entry("/a", aif.PUT), entry("/c", 0), entry("/b", aif.POST))
	want := aif.Rights{entry("/a", aif.PUT), entry("/b", aif.GET|aif.POST)}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestNewLeavesItsArgumentsAlone(t *testing.T) {
	in := []aif.Entry{entry("/b", aif.GET), entry("/a", aif.GET), entry("/b", aif.PUT)}
	aif.New(in...)
	want := []aif.Entry{entry("/b", aif.GET), entry("/a", aif.GET), entry("/b", aif.PUT)}
	if !reflect.DeepEqual(in, want) {
		t.Errorf("got %v, want %v", in, want)
	}
}

func TestCreatedIsWhatTheDynamicBitsSay(t *testing.T) {
	rights, err := aif.ParseText(load(t).Dynamic.Text)
	if err != nil {
		t.Fatal(err)
	}
	got := rights.Created("/a/make-coffee", "/coffee/1")
	if want := (aif.Rights{entry("/coffee/1", aif.GET|aif.DELETE)}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, path := range []string{"/a", "/a/make-coffee/x", "/coffee/1"} {
		if got := rights.Created(path, "/coffee/1"); !got.Empty() {
			t.Errorf("created from %s: got %v, want nothing", path, got)
		}
	}
	if got := got.Created("/coffee/1", "/coffee/1/x"); !got.Empty() {
		t.Errorf("created from what was created: got %v, want nothing", got)
	}
}

func TestStaticAndDynamicPartsConvert(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := aif.Methods(rapid.Uint64().Draw(t, "methods"))
		s := m.Static()
		equal(t, "there and back", s.Dynamic().OnCreated(), s)
		equal(t, "a dynamic bit is not static", s.Dynamic().Static(), 0)
		equal(t, "a static bit grants nothing on what was created", s.OnCreated(), 0)
		equal(t, "nothing is lost but what has no meaning", s|m.OnCreated().Dynamic(), m&(0x7f|0x7f<<32))
		equal(t, "both parts are valid", s.Valid() && m.OnCreated().Valid() && s.Dynamic().Valid(), true)
	})
}

func TestSetLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := drawRights(t, "a"), drawRights(t, "b"), drawRights(t, "c")
		same := func(law string, left, right aif.Rights) {
			if !reflect.DeepEqual(left, right) { // one form for one meaning, so no weaker equality is needed
				t.Errorf("%s: %v and %v", law, left, right)
			}
		}
		same("union commutes", a.Union(b), b.Union(a))
		same("intersection commutes", a.Intersect(b), b.Intersect(a))
		same("union associates", a.Union(b).Union(c), a.Union(b.Union(c)))
		same("intersection associates", a.Intersect(b).Intersect(c), a.Intersect(b.Intersect(c)))
		same("union with itself", a.Union(a), a)
		same("intersection with itself", a.Intersect(a), a)
		same("nothing added", a.Union(nil), a)
		same("nothing in common with nothing", a.Intersect(nil), nil)
		same("nothing left of itself", a.Without(a), nil)
		same("absorption", a.Union(a.Intersect(b)), a)
		same("distribution", a.Intersect(b.Union(c)), a.Intersect(b).Union(a.Intersect(c)))
		same("without twice", a.Without(b).Without(c), a.Without(b.Union(c)))
		same("without and intersection share nothing", a.Without(b).Intersect(b), nil)
		equal(t, "a subset has nothing to add", a.Subset(b), a.Union(b).Equal(b))
		equal(t, "subset is transitive", a.Intersect(b).Subset(b.Union(c)), true)
		for _, path := range paths {
			allowed := a.Allows(path, aif.GET) == aif.Allowed
			equal(t, "a subset allows no more", a.Union(b).Allows(path, aif.GET) == aif.Allowed, allowed || b.Allows(path, aif.GET) == aif.Allowed)
		}
	})
}

func TestSetAlgebra(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawRights(t, "a"), drawRights(t, "b")
		union, both := a.Union(b), a.Intersect(b)
		rest := a.Without(b)
		for _, path := range paths {
			ma, mb := a.Methods(path), b.Methods(path)
			equal(t, "union", union.Methods(path), ma|mb)
			equal(t, "intersection", both.Methods(path), ma&mb)
			equal(t, "difference", rest.Methods(path), ma&^mb)
		}
		equal(t, "a within union", a.Subset(union), true)
		equal(t, "intersection within b", both.Subset(b), true)
		equal(t, "subset of each other", a.Equal(b), a.Subset(b) && b.Subset(a))
		equal(t, "subset means nothing is left", a.Subset(b), rest.Empty())
		equal(t, "union of the parts", rest.Union(both).Equal(a), true)
	})
}

func TestCodecsGiveBackWhatTheyTook(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rights := drawRights(t, "rights")
		encoded, err := rights.Encode()
		if err != nil {
			t.Fatal(err)
		}
		fromCBOR, err := aif.Parse(encoded)
		if err != nil || !reflect.DeepEqual(fromCBOR, rights) {
			t.Fatalf("cbor: got %v, %v, want %v", fromCBOR, err, rights)
		}
		asJSON, err := rights.EncodeJSON()
		if err != nil {
			t.Fatal(err)
		}
		fromJSON, err := aif.ParseJSON(asJSON)
		if err != nil || !reflect.DeepEqual(fromJSON, rights) {
			t.Fatalf("json: got %v, %v, want %v", fromJSON, err, rights)
		}
		fromText, err := aif.ParseText(rights.String())
		if err != nil || !reflect.DeepEqual(fromText, rights) {
			t.Fatalf("text: got %v, %v, want %v", fromText, err, rights)
		}
	})
}

var paths = []string{"/", "/a", "/ab", "/a/b", "/a?x=1&y", "/z:z,z", "/%3C"}

func drawRights(t *rapid.T, label string) aif.Rights {
	all := aif.Methods(0x7f | 0x7f<<32)
	var entries []aif.Entry
	for range rapid.IntRange(0, 8).Draw(t, label+" entries") {
		path := rapid.SampledFrom(paths).Draw(t, label+" path")
		bits := rapid.Uint64().Draw(t, label+" methods")
		entries = append(entries, entry(path, aif.Methods(bits)&all))
	}
	return aif.New(entries...)
}

func entry(path string, m aif.Methods) aif.Entry { return aif.Entry{Path: path, Methods: m} }

func equal[T comparable](t interface{ Errorf(string, ...any) }, what string, got, want T) {
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
