package jose

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// slowParse is parseTo by the standard library alone, token by token.
func slowParse(data []byte, depth int) (object, error) {
	var o object
	if !utf8.Valid(data) {
		return nil, errUTF8
	}
	if err := json.Unmarshal(data, &o); err != nil || o == nil {
		return nil, errNotObject
	}
	if halves.Match(pairs.ReplaceAll(escapes.ReplaceAll(data, []byte("_")), []byte("_"))) {
		return nil, errSurrogate
	}
	return o, slowWalk(json.NewDecoder(bytes.NewReader(data)), depth)
}

// Escapes of other characters, whole pairs and what is then left of surrogates.
var (
	escapes = regexp.MustCompile(`\\[^u]`)
	pairs   = regexp.MustCompile(`\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}`)
	halves  = regexp.MustCompile(`\\u[dD][89a-fA-F]`)
)

func slowWalk(d *json.Decoder, depth int) error {
	d.UseNumber()
	token, err := d.Token()
	if err != nil {
		return errNotObject
	}
	open, nested := token.(json.Delim)
	if !nested {
		return nil
	}
	if depth == 0 {
		return errDepth
	}
	seen := make(map[string]bool)
	for d.More() {
		if open == '{' {
			key, err := d.Token()
			if err != nil {
				return errNotObject
			}
			text, _ := key.(string)
			if seen[text] {
				return errors.New("twice")
			}
			seen[text] = true
		}
		if err := slowWalk(d, depth-1); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

func checkParse(t *testing.T, data []byte) {
	t.Helper()
	for _, depth := range []int{1, maxDepth, maxForeignDepth} {
		got, err := parseTo(data, depth)
		want, wantErr := slowParse(data, depth)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%q to depth %d: got %v, want %v", data, depth, err, wantErr)
		}
		if err == nil && !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: got %s, want %s", data, got, want)
		}
	}
}

var parseSeeds = []string{
	`{}`, ` { } `, `{"a":1}`, "{\n\t\"a\" : 1 ,\r\"b\" : [ 1 , { \"c\" : null } , \"]\" ] }", `{"a":"\"}","b":"\\"}`, `{"a\u0062":1,"ab":2}`,
	`{"":1,"":2}`, `{"a":{"b":1,"b":2}}`, `{"a":[{"b":1},{"b":2}]}`, `{"a":1}x`, `[{}]`, `null`, `"a"`, `{"a":-1.5e3}`, `{"a":tru}`, `{"\ud800":1}`, `{"a":"\udc00"}`,
	`{"a":["\uD83D\uDE00\u0041"]}`, `{"a":"\ud83d\u0041"}`, `{"a":"\ud83d\ud83d\ude00"}`, `{"a":"\ud83d"}`, `{"a":"\\ud83d"}`, `{"a":"\ud83d\n\ude00"}`, `{"\ufffd":"\uD7FF\ue000"}`,
	`{"a":[[[[[[[[1]]]]]]]]}`, `{"a":[]}`, `{"a":[1,]}`, "", " ", "{\"a\":\"\xff\"}", "\ufeff{}",
}

func TestParseIsWhatTheStandardLibrarySays(t *testing.T) {
	for _, s := range parseSeeds {
		checkParse(t, []byte(s))
	}
	for depth := range 12 {
		checkParse(t, []byte(`{"a":`+strings.Repeat(`{"b":[`, depth)+strings.Repeat(`]}`, depth)+`}`))
	}
}

// FuzzParse holds the fast reader against the slow one.
func FuzzParse(f *testing.F) {
	for _, s := range parseSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) { checkParse(t, data) })
}
