package main

import (
	"io"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const redacted = "[redacted]"

// newLogger writes lines of text or JSON. Types that hold secrets hide them themselves; this is the net below: attributes
// with the name of a secret are blanked, passwords in addresses too, and no value is long.
func newLogger(w io.Writer, level, format string) *slog.Logger {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		least = slog.LevelInfo // checked by the configuration
	}
	o := &slog.HandlerOptions{Level: least, ReplaceAttr: redact}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// secretWords mark an attribute as a secret when one of them is a word of its name.
var secretWords = map[string]bool{
	"password": true, "passwd": true, "passphrase": true, "pin": true, "secret": true, "secrets": true, "token": true, "tokens": true,
	"code": true, "key": true, "keys": true, "psk": true, "assertion": true, "authorization": true, "cookie": true, "cookies": true,
	"credential": true, "credentials": true, "verifier": true, "proof": true, "dpop": true, "session": true, "nonce": true,
	"jwt": true, "cwt": true, "ticket": true, "body": true, "payload": true, "form": true, "query": true,
}

// openWords end names of things that only refer to a secret.
var openWords = map[string]bool{"id": true, "type": true, "count": true, "size": true, "kind": true, "error": true}

// userInfo is what stands before the @ of an address; words is name=value as drivers print it.
var (
	userInfo = regexp.MustCompile(`://[^/@\s"]*:[^/@\s"]*@`)
	words    = regexp.MustCompile(`(?i)\b(password|passwd|secret|client_secret|access_token|refresh_token|code|code_verifier|assertion|authorization)(["']?\s*[=:]\s*["']?)[^\s"'&,;]+`)
	schemes  = regexp.MustCompile(`(?i)\b(Bearer|Basic|DPoP)\s+[A-Za-z0-9._~+/=-]{8,}`)
)

func redact(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
		return a
	}
	a.Value = a.Value.Resolve()
	if secretName(a.Key) || slices.ContainsFunc(groups, secretName) {
		return slog.String(a.Key, redacted)
	}
	switch a.Value.Kind() {
	case slog.KindString, slog.KindAny:
		if raw, ok := a.Value.Any().([]byte); ok {
			return slog.Int(a.Key+"_bytes", len(raw))
		}
		return slog.String(a.Key, clean(a.Value.String()))
	default:
		return a
	}
}

// secretName parts a name at everything that is no letter and before capitals.
func secretName(name string) bool {
	var b strings.Builder
	before := ' '
	for _, r := range name {
		if unicode.IsUpper(r) && unicode.IsLower(before) || !unicode.IsLetter(r) {
			b.WriteByte(' ')
		}
		if unicode.IsLetter(r) {
			b.WriteRune(unicode.ToLower(r))
		}
		before = r
	}
	parts := strings.Fields(b.String())
	if len(parts) > 0 && openWords[parts[len(parts)-1]] {
		return false
	}
	for _, p := range parts {
		if secretWords[p] {
			return true
		}
	}
	return false
}

func clean(text string) string {
	text = userInfo.ReplaceAllString(text, "://"+redacted+"@")
	text = schemes.ReplaceAllString(text, "$1 "+redacted) // first: words would leave what stands after the blank
	text = words.ReplaceAllString(text, "$1$2"+redacted)
	if len(text) <= longestLogged {
		return text
	}
	cut := longestLogged
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}
