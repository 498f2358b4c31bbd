package jose

import (
	"strings"
	"testing"
)

func TestTargetOf(t *testing.T) {
	tests := []struct{ raw, want string }{
		{"https://as.example/token", "https://as.example/token"},
		{"https://as.example/token?q#f", "https://as.example/token"},
		{"https://as.example/token?", "https://as.example/token"},
		{"HTTPS://AS.Example:443/token", "https://as.example/token"},
		{"http://as.example:80", "http://as.example/"},
		{"https://as.example:80/", "https://as.example:80/"},
		{"https://as.example:/", "https://as.example/"},
		{"https://as.example", "https://as.example/"},
		{"https://as.example/Token", "https://as.example/Token"},
		{"https://as.example/a%2fb%7e%41", "https://as.example/a%2Fb~A"},
		{"https://as.example/a%2Fb", "https://as.example/a%2Fb"},
		{`https://as.example/a%2Fb"`, `https://as.example/a%2Fb"`}, // a stray character makes no other escape another path
		{"https://as.example/a%2Fb^%3f", "https://as.example/a%2Fb^%3F"},
		{"https://as.example/a/../b", "https://as.example/a/../b"},
		{"https://as.example//a/", "https://as.example//a/"},
		{"https://[2001:DB8::1]:443/a", "https://[2001:db8::1]/a"},
		{"http://127.0.0.1:8080/a;b=c", "http://127.0.0.1:8080/a;b=c"},
		{"", ""},
		{"/token", ""},
		{"as.example/token", ""},
		{"https:as.example/token", ""},
		{"https:///token", ""},
		{"ftp://as.example/token", ""},
		{"coap://as.example/token", ""},
		{"https://user@as.example/token", ""},
		{"https://as.example/to ken", ""},
		{"https://as.example/to\nken", ""},
		{"https://as.example/t\u00f6ken", ""},
		{"https://as.example/%zz", ""},
		{"https://as.example/%2", ""},
		{"https://as.example:port/", ""},
		{"https://[fe80::1%25eth0]/", ""},
		{"https://ban%E2%84%AA.example/", ""}, // the Kelvin sign, whose lower case is a k
		{"https://as.example/" + strings.Repeat("a", 2048), ""},
	}
	for _, tt := range tests {
		got, err := targetOf(tt.raw)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%.64q: got %q, %v, want %q", tt.raw, got, err, tt.want)
		}
	}
}

// FuzzTargetOf: a target is its own target, has no query and no fragment, and no error repeats the URL.
func FuzzTargetOf(f *testing.F) {
	for _, s := range []string{"https://as.example/token?a#b", "http://[::1]:80/%7e%2f", "https://as.example:443"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := targetOf(raw)
		if err != nil {
			return
		}
		again, err := targetOf(got)
		if len(got) <= maxForeignText && (err != nil || again != got) || strings.ContainsAny(got, "?#") {
			t.Errorf("%q: got %q, then %q, %v", raw, got, again, err)
		}
	})
}
