package aif_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/plgd-dev/go-coap/v3/message"
)

// options makes a request's Uri-Path and Uri-Query options; those that begin with "?" are queries.
func options(words ...string) (out message.Options) {
	out = append(out, message.Option{ID: message.URIHost, Value: []byte("lock")})
	for _, word := range words {
		id := message.URIPath
		if query, ok := strings.CutPrefix(word, "?"); ok {
			id, word = message.URIQuery, query
		}
		out = append(out, message.Option{ID: id, Value: []byte(word)})
	}
	return append(out, message.Option{ID: message.Accept, Value: []byte{60}})
}

func TestLocal(t *testing.T) {
	tests := []struct {
		name    string
		options message.Options
		want    string
	}{
		{"no option", nil, "/"},
		{"a path", options("a", "led"), "/a/led"},
		{"a path and a query", options("log", "?from=1"), "/log?from=1"},
		{"two arguments", options("log", "?from=1", "?to=2"), "/log?from=1&to=2"},
		{"an empty argument", options("log", "?"), "/log?"},
		{"two empty arguments", options("log", "?", "?"), "/log?&"},
		{"a query of the root", options("?q"), "/?q"},
		{"RFC 7252 section 6.5: nothing that stands for itself", options("-._~!$&'()*+,;=:@"), "/-._~!$&'()*+,;=:@"},
		{"a slash within a segment", options("a/led"), "/a%2Fled"},
		{"a question mark within a segment", options("log?from=1"), "/log%3Ffrom=1"},
		{"a percent sign is not an escape", options("%61"), "/%2561"},
		{"bytes beyond ASCII", options("ü"), "/%C3%BC"},
		{"bytes that are no text", options("\x00\xff"), "/%00%FF"},
		{"an ampersand within an argument", options("log", "?from=1&to=2"), "/log?from=1%26to=2"},
		{"slash and question mark within an argument", options("log", "?a/b?c"), "/log?a/b?c"},
		{"dots in an argument", options("log", "?.."), "/log?.."},
		{"three dots", options("..."), "/..."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := aif.Local(tt.options)
			if !ok || got != tt.want {
				t.Errorf("got %q %v, want %q", got, ok, tt.want)
			}
			if err := aif.CheckPath(got); err != nil {
				t.Errorf("no right can name it: %v", err)
			}
		})
	}
	for _, words := range [][]string{{""}, {"a", ""}, {"", "a"}, {"."}, {".."}, {"a", "..", "b"}} {
		if got, ok := aif.Local(options(words...)); ok {
			t.Errorf("segments %q: got %q, want none", words, got)
		}
	}
}

func TestNoOtherRequestReachesARight(t *testing.T) {
	rights := aif.New(entry("/a", aif.GET), entry("/log?from=1&to=2", aif.GET))
	for _, words := range [][]string{{"a"}, {"log", "?from=1", "?to=2"}} {
		if local, _ := aif.Local(options(words...)); rights.Allows(local, aif.GET) != aif.Allowed {
			t.Errorf("%q is %s: not allowed", words, local)
		}
	}
	for _, words := range [][]string{
		{"ab"}, {"a", "b"}, {"A"}, {"%61"}, {"a?"}, {"a", "?"}, {"a\x00"}, {"a "}, {"a;v=1"}, {},
		{"log"}, {"log", "?from=1"}, {"log", "?to=2", "?from=1"}, {"log", "?from=1&to=2"}, {"log?from=1", "?to=2"},
		{"log", "?from=1", "?to=2", "?"}, {"log", "?from=1", "?to=2", "?all"}, {"log", "?from=01", "?to=2"}, {"log", "?FROM=1", "?to=2"},
	} {
		local, _ := aif.Local(options(words...))
		if got := rights.Allows(local, aif.GET); got != aif.PathUnknown {
			t.Errorf("%q is %s: %v", words, local, got)
		}
	}
}

// FuzzLocal holds that two requests with one spelling have the same options, and that every spelling but a long one can
// stand in a right.
func FuzzLocal(f *testing.F) {
	f.Add([]byte("a\x00led"), []byte("from=1\x00to=2"))
	f.Add([]byte("a/b?c"), []byte("x&y"))
	f.Add([]byte(""), []byte(""))
	f.Fuzz(func(t *testing.T, path, query []byte) {
		request := split(message.URIPath, path)
		request = append(request, split(message.URIQuery, query)...)
		local, ok := aif.Local(request)
		if !ok {
			return
		}
		if err := aif.CheckPath(local); err != nil && len(local) <= aif.MaxPath {
			t.Fatalf("%q from %v: %v", local, request, err)
		}
		if back := unspell(t, local); !equalOptions(back, request) {
			t.Fatalf("%q stands for %v and for %v", local, request, back)
		}
	})
}

func split(id message.OptionID, words []byte) (out message.Options) {
	if len(words) == 0 {
		return nil
	}
	for word := range bytes.SplitSeq(words, []byte{0}) {
		out = append(out, message.Option{ID: id, Value: word})
	}
	return out
}

// unspell is RFC 7252 §6.4 steps 8 and 9.
func unspell(t *testing.T, local string) (out message.Options) {
	path, query, hasQuery := strings.Cut(local, "?")
	if path != "/" {
		for segment := range strings.SplitSeq(path[1:], "/") {
			out = append(out, message.Option{ID: message.URIPath, Value: decode(t, segment)})
		}
	}
	if hasQuery {
		for argument := range strings.SplitSeq(query, "&") {
			out = append(out, message.Option{ID: message.URIQuery, Value: decode(t, argument)})
		}
	}
	return out
}

func decode(t *testing.T, s string) (out []byte) {
	for s != "" {
		if s[0] != '%' {
			out, s = append(out, s[0]), s[1:]
			continue
		}
		out, s = append(out, unhex(t, strings.ToLower(s[1:3]))...), s[3:]
	}
	return out
}

func equalOptions(a, b message.Options) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].ID != b[i].ID || !bytes.Equal(a[i].Value, b[i].Value) {
			return false
		}
	}
	return true
}
