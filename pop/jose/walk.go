package jose

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// walker goes through JSON that is known to be valid, and looks for what encoding/json lets pass: names that stand twice,
// half characters, and depth.
type walker struct {
	rest []byte
}

var (
	errDepth     = errors.New("nested too deep")
	errSurrogate = errors.New("half of a surrogate pair")
)

// object reads an object and leaves its values encoded; they share memory with the text.
func (w *walker) object(depth int) (object, error) {
	o := make(object)
	err := w.list(depth, func() error {
		quoted, err := w.text()
		if err != nil {
			return err
		}
		n, err := unquote(quoted)
		if err != nil {
			return err
		}
		if _, twice := o[name(n)]; twice {
			return fmt.Errorf("member %.32q is there twice", n)
		}
		w.space()
		w.rest = w.rest[1:] // the colon
		w.space()
		from := w.rest
		if err := w.value(depth - 1); err != nil {
			return err
		}
		o[name(n)] = from[: len(from)-len(w.rest) : len(from)-len(w.rest)]
		return nil
	})
	return o, err
}

// list calls item for each member or element, from after its leading space.
func (w *walker) list(depth int, item func() error) error {
	if depth == 0 {
		return errDepth
	}
	for {
		w.rest = w.rest[1:] // the bracket or comma
		w.space()
		if c := w.rest[0]; c != '}' && c != ']' {
			if err := item(); err != nil {
				return err
			}
			w.space()
		}
		if w.rest[0] != ',' {
			w.rest = w.rest[1:]
			return nil
		}
	}
}

func (w *walker) value(depth int) error {
	switch w.rest[0] {
	case '{':
		_, err := w.object(depth)
		return err
	case '[':
		return w.list(depth, func() error { return w.value(depth - 1) })
	case '"':
		_, err := w.text()
		return err
	}
	end := bytes.IndexAny(w.rest, ",]} \t\r\n")
	if end < 0 {
		end = len(w.rest)
	}
	w.rest = w.rest[end:]
	return nil
}

// text reads a string with its quotes.
func (w *walker) text() ([]byte, error) {
	end, escaped := 1, false
	for w.rest[end] != '"' {
		if w.rest[end] == '\\' {
			escaped = true
			end++
		}
		end++
	}
	quoted := w.rest[: end+1 : end+1]
	w.rest = w.rest[end+1:]
	if escaped && !paired(quoted) {
		return nil, errSurrogate
	}
	return quoted, nil
}

// paired reports whether each escaped surrogate has its other half beside it. One alone is no character: encoding/json
// makes U+FFFD of every one, and two different names, or subjects, would be the same (RFC 7493 §2.1).
func paired(quoted []byte) bool {
	for i := 0; i < len(quoted); i++ {
		if quoted[i] != '\\' {
			continue
		}
		if i++; quoted[i] != 'u' {
			continue
		}
		unit := escapedUnit(quoted[i+1:])
		i += 4
		if !utf16.IsSurrogate(unit) {
			continue
		}
		rest := quoted[i+1:]
		if !bytes.HasPrefix(rest, []byte(`\u`)) || utf16.DecodeRune(unit, escapedUnit(rest[2:])) == utf8.RuneError {
			return false
		}
		i += 6
	}
	return true
}

// escapedUnit reads the four digits of an escape.
func escapedUnit(digits []byte) rune {
	var unit rune
	for _, d := range digits[:4] {
		unit = unit<<4 | rune(unhexDigit(d))
	}
	return unit
}

func (w *walker) space() {
	for len(w.rest) > 0 && (w.rest[0] == ' ' || w.rest[0] == '\t' || w.rest[0] == '\n' || w.rest[0] == '\r') {
		w.rest = w.rest[1:]
	}
}

// unquote gives what a string stands for, as encoding/json does.
func unquote(quoted []byte) (string, error) {
	if quoted[0] != '"' {
		return "", errNotText
	}
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1]), nil
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		return "", errNotText
	}
	return s, nil
}
