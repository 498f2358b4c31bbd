package ace

import (
	"errors"
	"strings"

	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// Scope is what is asked for or granted: Words for people or binary Rights, never both. The zero value means the
// parameter is absent.
type Scope struct {
	Words  string     // action names or "/path:METHOD,…", parted by single spaces
	Rights aif.Rights // AIF in a byte string (RFC 9237 §4)
}

// Absent reports whether there is no scope at all.
func (s Scope) Absent() bool { return s.Words == "" && len(s.Rights) == 0 }

// Split gives the single words.
func (s Scope) Split() []string { return strings.Fields(s.Words) }

// String is the scope for people.
func (s Scope) String() string {
	if s.Words != "" {
		return s.Words
	}
	return s.Rights.String()
}

var (
	errWords    = errors.New("not scope words parted by single spaces")
	errNoRights = errors.New("asks for nothing")
	errBoth     = errors.New("words and rights exclude each other")
)

func parseScope(raw wire.RawMessage) (Scope, error) {
	if major(raw) == majorBytes {
		data, err := bytesOf(raw)
		if err != nil {
			return Scope{}, err
		}
		rights, err := aif.Parse(data)
		if err == nil && rights.Empty() {
			err = errNoRights
		}
		return Scope{Rights: rights}, err
	}
	words, err := textOf(raw)
	if err == nil {
		err = checkWords(words)
	}
	return Scope{Words: words}, err
}

func (s Scope) value() (any, error) {
	switch {
	case s.Words != "" && len(s.Rights) > 0:
		return nil, errBoth
	case s.Words != "":
		return s.Words, checkWords(s.Words)
	case s.Rights.Empty():
		return nil, errNoRights
	}
	return s.Rights.Encode()
}

// checkWords is scope of RFC 6749 §3.3.
func checkWords(words string) error {
	if len(words) > maxScope {
		return tooLong(len(words), maxScope)
	}
	for word := range strings.SplitSeq(words, " ") {
		if word == "" || strings.ContainsFunc(word, notScopeByte) {
			return errWords
		}
	}
	return nil
}

func notScopeByte(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }
