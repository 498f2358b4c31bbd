package wycheproof_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"testing"

	vectors "github.com/c2sp/wycheproof"
)

// octets is a byte string that the files give in hexadecimal.
type octets []byte

func (o *octets) UnmarshalText(text []byte) (err error) {
	*o, err = hex.DecodeString(string(text))
	return err
}

// vector is what all vectors have.
type vector struct {
	ID      int `json:"tcId"`
	Comment string
	Flags   []string
	Result  string
}

// load reads a file's groups.
func load[G any](t testing.TB, name string) []G {
	t.Helper()
	data, err := fs.ReadFile(vectors.TestVectors, name)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		TestGroups []G
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return file.TestGroups
}

// counts says how many vectors ran, by result. A valid or acceptable vector that pop has no use for counts as outside.
type counts struct {
	valid, invalid, acceptable, outside int
}

// tally compares what pop did with what each vector says.
type tally struct {
	t    *testing.T
	file string
	got  counts
	// accept are the acceptable vectors that pop takes, by the flag for which it does; all others it must refuse.
	accept map[string]string
	refuse map[string]string
	taken  map[string]int
	// wrong are vectors whose result we hold to be a mistake of the file, with the reason; pop must do the opposite.
	wrong map[int]string
}

// newTally prints and checks the counts when the test ends.
func newTally(t *testing.T, file string, least counts) *tally {
	c := &tally{t: t, file: file, taken: map[string]int{}}
	t.Cleanup(func() {
		t.Logf("%s: %d valid accepted, %d invalid refused, %d acceptable decided, %d out of scope refused",
			file, c.got.valid, c.got.invalid, c.got.acceptable, c.got.outside)
		for _, decision := range slices.Sorted(maps.Keys(c.taken)) {
			t.Logf("%s: decision: %s (%d)", file, decision, c.taken[decision])
		}
		if g := c.got; g.valid < least.valid || g.invalid < least.invalid || g.acceptable < least.acceptable || g.outside < least.outside {
			t.Errorf("%s: counted %+v, when the test was written %+v", file, g, least)
		}
	})
	return c
}

// is records one verdict: err nil means that pop accepted. A vector in scope is one whose parameters pop offers.
func (c *tally) is(v vector, inScope bool, err error) {
	c.t.Helper()
	accepted := err == nil
	var want bool
	if why, ok := c.wrong[v.ID]; ok {
		c.taken[fmt.Sprintf("%d is marked %s: %s", v.ID, v.Result, why)]++
		v.Result = map[string]string{"valid": "invalid", "invalid": "valid"}[v.Result]
	}
	switch {
	case v.Result == "invalid":
		c.got.invalid++
	case !inScope:
		c.got.outside++
	case v.Result == "valid":
		c.got.valid++
		want = true
	case v.Result == "acceptable":
		c.got.acceptable++
		want = c.decide(v)
	default:
		c.t.Fatalf("%s %d: result %q", c.file, v.ID, v.Result)
	}
	if accepted != want {
		c.t.Errorf("%s %d (%s, %s %v): accepted %v, want %v; %v", c.file, v.ID, v.Result, v.Comment, v.Flags, accepted, want, err)
	}
}

// decide looks up an acceptable vector's flags, refusals first.
func (c *tally) decide(v vector) bool {
	for _, flag := range v.Flags {
		if why, ok := c.refuse[flag]; ok {
			c.taken[flag+" refused: "+why]++
			return false
		}
	}
	for _, flag := range v.Flags {
		if why, ok := c.accept[flag]; ok {
			c.taken[flag+" accepted: "+why]++
			return true
		}
	}
	c.t.Errorf("%s %d (%s %v): acceptable, and no decision was made", c.file, v.ID, v.Comment, v.Flags)
	return false
}
